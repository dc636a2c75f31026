/** How long clients of one kind had to wait for the next success, and what failed meanwhile. */

/** Shorter ones are nobody's business, and not listed one by one. */
const LISTED_GAP_MS = 1_000

export interface Gap {
  readonly ms: number
  /** How long before the report it ended; 0: it goes on. */
  readonly endedMsAgo: number
}

export interface KindReport {
  readonly count: number
  /** Between two successes of anybody; up to now, where none followed. */
  readonly longestGapMs: number
  /** Every gap of a second or more, as they came. */
  readonly gaps: readonly Gap[]
  /** The longest that one operation took, successful or not. */
  readonly slowestMs: number
  /** How often what went wrong. */
  readonly failures: Readonly<Record<string, number>>
}

export class GapMeter {
  readonly #nowMs: () => number
  #lastMs: number
  #longestGapMs = 0
  #gaps: { ms: number; endMs: number }[] = []
  #slowestMs = 0
  #count = 0
  #failures: Record<string, number> = {}

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
    this.#lastMs = nowMs()
  }

  /** @param code of the failure; undefined: it succeeded */
  ended(startMs: number, code: string | undefined): void {
    const nowMs = this.#nowMs()
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
    const nowMs = this.#nowMs()
    this.#noteGap(nowMs)
    const report = {
      count: this.#count,
      longestGapMs: this.#longestGapMs,
      gaps: this.#gaps.map(({ ms, endMs }) => ({ ms, endedMsAgo: nowMs - endMs })),
      slowestMs: this.#slowestMs,
      failures: this.#failures
    }
    this.#longestGapMs = 0
    this.#gaps = []
    this.#slowestMs = 0
    this.#count = 0
    this.#failures = {}
    return report
  }

  #noteGap(endMs: number): void {
    const ms = endMs - this.#lastMs
    this.#longestGapMs = Math.max(this.#longestGapMs, ms)
    if (ms >= LISTED_GAP_MS) this.#gaps.push({ ms, endMs })
  }
}
