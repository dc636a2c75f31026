/** A block that is used up faster than this makes the next one twice as long … */
export const BLOCK_TIME_MS_MIN = 500
/** … and one that lasts longer than this makes it half as long again. */
export const BLOCK_TIME_MS_MAX = 10_000
/** Growth ends here: a crash skips at most about twice so many ids of a key. */
export const BLOCK_IDS_MAX = 10_000

/**
 * How many ids of one key are reserved at a time: the configured step, and more while ids are asked for so fast
 * that the database would be written to all the time.
 */
export class BlockSize {
  readonly #step: number
  #ids: number
  #reservedAtMs = -Infinity

  /** @param step Never less than this, also where it is above BLOCK_IDS_MAX. */
  constructor(step: number) {
    this.#step = step
    this.#ids = step
  }

  /** Ids to reserve now. Called once per block. */
  next(nowMs: number): number {
    const lastedMs = nowMs - this.#reservedAtMs
    this.#reservedAtMs = nowMs
    if (lastedMs < BLOCK_TIME_MS_MIN) this.#ids = Math.max(this.#step, Math.min(this.#ids * 2, BLOCK_IDS_MAX))
    else if (lastedMs > BLOCK_TIME_MS_MAX) this.#ids = Math.max(this.#step, Math.floor(this.#ids / 2))
    return this.#ids
  }
}
