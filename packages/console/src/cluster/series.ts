/** Figures of the last minutes, for the plots. */

/** Seconds that a plot shows. */
export const SHOWN_S = 300
const SAMPLES_MAX = 1_000

/** Points in time, in seconds, and a value for each, of one or more lines. */
export class Series {
  readonly #times: number[] = []
  readonly #lines: number[][]

  constructor(lines: number) {
    this.#lines = Array.from({ length: lines }, () => [])
  }

  /** @param atS  UNIX time; an older one than the last is passed over: events may come twice. */
  add(atS: number, values: readonly number[]): void {
    const last = this.#times.at(-1)
    if (last !== undefined && atS <= last) return
    this.#times.push(atS)
    this.#lines.forEach((line, index) => line.push(values[index] ?? 0))
    while (this.#times.length > SAMPLES_MAX || this.#times[0]! < atS - SHOWN_S) {
      this.#times.shift()
      for (const line of this.#lines) line.shift()
    }
  }

  /** As uPlot takes it. */
  get data(): [number[], ...number[][]] {
    return [[...this.#times], ...this.#lines.map(line => [...line])]
  }
}
