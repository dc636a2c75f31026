import { invariant, UnavailableError } from '@tributary/protocol'

interface Range {
  next: number
  /** One after the last. */
  end: number
}

/** Ids of one key that are reserved and not handed out: ranges in the order they were reserved. */
export class IdStock {
  readonly #ranges: Range[] = []
  #count = 0
  /** Ids below it are not handed out any more; see `raise`. */
  #floor = 0

  get count(): number {
    return this.#count
  }

  get floor(): number {
    return this.#floor
  }

  /** The next id, or -1 where there is none. */
  take(): number {
    const range = this.#ranges[0]
    if (!range) return -1
    this.#count--
    const id = range.next++
    if (range.next === range.end) this.#ranges.shift()
    return id
  }

  /** The first of `count` consecutive ids, or -1: the oldest range that is long enough is used. */
  takeRun(count: number): number {
    for (const [at, range] of this.#ranges.entries()) {
      if (range.end - range.next < count) continue
      const first = range.next
      range.next += count
      this.#count -= count
      if (range.next === range.end) this.#ranges.splice(at, 1)
      return first
    }
    return -1
  }

  /**
   * Adds a reserved block; ids below the floor are left out.
   *
   * @throws {UnavailableError} IDS_EXHAUSTED: beyond 2^53 - 1 numbers are no longer exact.
   */
  add(first: bigint, count: number): void {
    if (first + BigInt(count) > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new UnavailableError('IDS_EXHAUSTED', `the counter has reached ${first}`)
    }
    const next = Math.max(Number(first), this.#floor)
    const end = Number(first) + count
    if (next >= end) return
    this.#count += end - next
    const last = this.#ranges.at(-1)
    if (last?.end === next) last.end = end
    else this.#ranges.push({ next, end })
  }

  /** Drops every id below `atLeast`, now and of blocks that are still on their way. */
  raise(atLeast: number): void {
    this.#floor = Math.max(this.#floor, atLeast)
    for (let at = this.#ranges.length - 1; at >= 0; at--) {
      const range = this.#ranges[at]!
      const next = Math.min(range.end, Math.max(range.next, this.#floor))
      this.#count -= next - range.next
      range.next = next
      if (next === range.end) this.#ranges.splice(at, 1)
    }
    invariant(this.#count >= 0, 'the count follows the ranges')
  }
}
