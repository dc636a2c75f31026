/** How often somebody may do something. Memory is bounded: of those that are forgotten the longest idle go first. */
import { LRUCache } from 'lru-cache'
import type { Clock } from '@tributary/runtime'

interface Bucket {
  tokens: number
  atMs: number
}

const KEYS_MAX = 20_000

export class TokenBuckets {
  readonly #clock: Clock
  readonly #buckets: LRUCache<string, Bucket>

  constructor(clock: Clock, keysMax = KEYS_MAX) {
    this.#clock = clock
    this.#buckets = new LRUCache({ max: keysMax })
  }

  /**
   * Takes one of what `key` may have: `perS` come in a second, and at most `burst` are kept.
   *
   * @returns 0: it may; else the seconds after which it may.
   */
  take(key: string, perS: number, burst: number): number {
    const nowMs = this.#clock.monotonicMs()
    let bucket = this.#buckets.get(key)
    if (!bucket) this.#buckets.set(key, (bucket = { tokens: burst, atMs: nowMs }))
    bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) / 1_000) * perS)
    bucket.atMs = nowMs
    if (bucket.tokens >= 1) {
      bucket.tokens -= 1
      return 0
    }
    return (1 - bucket.tokens) / perS
  }
}
