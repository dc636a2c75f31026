/** How slow the machine was, all along: measured every few seconds, asked for any stretch of time. */

/** Between two measurements. */
export const PACE_EVERY_MS = 4_000

export class Pace {
  readonly #samples: { readonly ms: number; readonly slowness: number }[] = []

  /** @param ms on the clock of `performance.now()` */
  add(ms: number, slowness: number): void {
    this.#samples.push({ ms, slowness })
  }

  /** What was measured in this time, and just before and after it: on average, as a wait is a sum of moments. 1: idle, or unknown. */
  between(startMs: number, endMs: number): number {
    const within = this.#samples.filter(
      ({ ms }) => ms >= startMs - PACE_EVERY_MS && ms <= endMs + PACE_EVERY_MS
    )
    return within.length === 0 ? 1 : within.reduce((sum, { slowness }) => sum + slowness, 0) / within.length
  }

  get mean(): number {
    return this.between(-Infinity, Infinity)
  }

  get worst(): number {
    return Math.max(1, ...this.#samples.map(({ slowness }) => slowness))
  }
}
