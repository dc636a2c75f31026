/** How long clients of one kind had to wait for the next success, and what failed meanwhile. */

export interface KindReport {
  readonly count: number
  /** Between two successes of anybody; up to now, where none followed. */
  readonly longestGapMs: number
  /** When that one ended, in milliseconds since the meter was made. */
  readonly gapEndMs: number
  /** The longest that one operation took, successful or not. */
  readonly slowestMs: number
  /** How often what went wrong. */
  readonly failures: Readonly<Record<string, number>>
}

export class GapMeter {
  readonly #bornMs = performance.now()
  #lastMs = this.#bornMs
  #longestGapMs = 0
  #gapEndMs = 0
  #slowestMs = 0
  #count = 0
  #failures: Record<string, number> = {}

  /** @param code of the failure; undefined: it succeeded */
  ended(startMs: number, code: string | undefined): void {
    const nowMs = performance.now()
    this.#slowestMs = Math.max(this.#slowestMs, nowMs - startMs)
    if (code !== undefined) {
      this.#failures[code] = (this.#failures[code] ?? 0) + 1
      return
    }
    this.#noteGap(nowMs)
    this.#lastMs = nowMs
    this.#count++
  }

  /** Since the last report. A gap that goes on belongs to both. */
  report(): KindReport {
    this.#noteGap(performance.now())
    const report = {
      count: this.#count,
      longestGapMs: this.#longestGapMs,
      gapEndMs: this.#gapEndMs,
      slowestMs: this.#slowestMs,
      failures: this.#failures
    }
    this.#longestGapMs = 0
    this.#slowestMs = 0
    this.#count = 0
    this.#failures = {}
    return report
  }

  #noteGap(nowMs: number): void {
    if (nowMs - this.#lastMs <= this.#longestGapMs) return
    this.#longestGapMs = nowMs - this.#lastMs
    this.#gapEndMs = nowMs - this.#bornMs
  }
}
