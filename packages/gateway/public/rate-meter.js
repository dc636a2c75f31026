// Bytes per second over the last moments: steady enough to read, quick enough to be true.

const WINDOW_MS = 5_000
const SAMPLE_MS = 250

export class RateMeter {
  #samples = []

  /** @param nowMs  monotonic */
  add(doneBytes, nowMs) {
    const last = this.#samples.at(-1)
    if (last && nowMs - last.atMs < SAMPLE_MS) return
    this.#samples.push({ atMs: nowMs, doneBytes })
    while (this.#samples.length > 2 && nowMs - this.#samples[0].atMs > WINDOW_MS) this.#samples.shift()
  }

  /** 0 until there is something to tell. */
  get bytesPerS() {
    const [first] = this.#samples
    const last = this.#samples.at(-1)
    if (!first || last.atMs - first.atMs < SAMPLE_MS) return 0
    return ((last.doneBytes - first.doneBytes) * 1000) / (last.atMs - first.atMs)
  }
}
