/** Bytes per second over the last moments: steady enough to read, quick enough to be true. */

const WINDOW_MS = 5_000
const SAMPLE_MS = 250

export class RateMeter {
  readonly #samples: { atMs: number; doneBytes: number }[] = []

  /** @param nowMs  monotonic */
  add(doneBytes: number, nowMs: number): void {
    const last = this.#samples.at(-1)
    if (last && nowMs - last.atMs < SAMPLE_MS) return
    this.#samples.push({ atMs: nowMs, doneBytes })
    while (this.#samples.length > 2 && nowMs - this.#samples[0]!.atMs > WINDOW_MS) this.#samples.shift()
  }

  /** After a pause nothing of before counts. */
  clear(): void {
    this.#samples.length = 0
  }

  /** 0 until there is something to tell. */
  get bytesPerS(): number {
    const first = this.#samples[0]
    const last = this.#samples.at(-1)
    if (!first || !last || last.atMs - first.atMs < SAMPLE_MS) return 0
    return ((last.doneBytes - first.doneBytes) * 1000) / (last.atMs - first.atMs)
  }
}
