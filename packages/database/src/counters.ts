import { invariant } from './invariant.ts'

/** Length of a counter's key in bytes of UTF-8: the wire's 64 bytes, even if each was read as one character. */
export const COUNTER_KEY_BYTES_MAX = 128

/** Values in one reservation. */
export const RESERVE_COUNT_MAX = 1_000_000

/** 64-bit counters, from 0. */
export interface Counters {
  /**
   * Reserves `count` consecutive values of `key` and returns the first. One atomic statement, durable
   * before it resolves: any number of servers may share the database, and no value is handed out twice.
   *
   * @param key   1..COUNTER_KEY_BYTES_MAX bytes of UTF-8, compared byte for byte.
   * @param count 1..RESERVE_COUNT_MAX.
   * @throws {DatabaseUnavailableError} a block may be lost; asking again is safe.
   */
  reserve(key: string, count: number): Promise<bigint>

  /** Raises the counter so that the next value is at least `atLeast`; never lowers it. */
  raise(key: string, atLeast: bigint): Promise<void>
}

export function assertCounterKey(key: string): void {
  const bytes = Buffer.byteLength(key)
  invariant(
    bytes >= 1 && bytes <= COUNTER_KEY_BYTES_MAX,
    `a counter's key has 1..${COUNTER_KEY_BYTES_MAX} bytes`
  )
}

export function assertCount(count: number): void {
  const isInRange = Number.isInteger(count) && count >= 1 && count <= RESERVE_COUNT_MAX
  invariant(isInRange, `a reservation is of 1..${RESERVE_COUNT_MAX} values`)
}
