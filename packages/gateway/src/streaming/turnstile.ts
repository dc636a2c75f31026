import { HttpProblem } from '../problem.ts'

/** Lets so many through at a time, has some wait in line, and sends the others away. */
export class Turnstile {
  readonly #insideMax: number
  readonly #lineMax: number
  readonly #busy: string
  readonly #line: (() => void)[] = []
  #inside = 0

  /** @param busy  what those are told that are sent away */
  constructor({ insideMax, lineMax, busy }: { insideMax: number; lineMax: number; busy: string }) {
    this.#insideMax = insideMax
    this.#lineMax = lineMax
    this.#busy = busy
  }

  get inside(): number {
    return this.#inside
  }

  /** @throws {HttpProblem} 503: too many wait already. */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inside < this.#insideMax) this.#inside++
    else {
      if (this.#line.length >= this.#lineMax) throw new HttpProblem(503, this.#busy, ['Retry-After', '2'])
      await new Promise<void>(resolve => this.#line.push(resolve))
    }
    try {
      return await work()
    } finally {
      const next = this.#line.shift()
      if (next) next()
      else this.#inside--
    }
  }
}
