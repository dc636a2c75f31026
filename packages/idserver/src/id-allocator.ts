import { RESERVE_COUNT_MAX, wireErrorOf, type Counters } from '@tributary/database'
import { UnavailableError } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import { BlockSize } from './block-size.ts'
import { IdStock } from './id-stock.ts'

/** Keys whose ids are held in memory. Beyond it the one refilled longest ago is forgotten, which skips its ids. */
export const KEYS_MAX = 10_000
/** Callers that wait for ids of one key; a further one is refused as OVERLOADED. */
export const WAITERS_MAX = 10_000
/** Reservations under way in the database, of all keys together; a further one is refused as OVERLOADED. */
export const RESERVATIONS_MAX = 256
/** Longest wait for ids. */
export const WAIT_MS_MAX = 1_800

interface Waiter {
  resolve: (id: number) => void
  reject: (error: unknown) => void
}

interface Shelf {
  readonly key: string
  readonly stock: IdStock
  readonly size: BlockSize
  readonly waiters: Waiter[]
  refilling: boolean
  /** Ids left at which the next block is fetched. */
  refillAt: number
}

export interface AllocatorCounts {
  /** Ids handed out. */
  ids: number
  /** Blocks reserved. */
  blocks: number
  /** Reservations that failed. */
  failures: number
  keys: number
}

export interface IdAllocatorOptions {
  counters: Counters
  clock: Clock
  /** Ids per block. */
  step: number
  keysMax?: number
  waitersMax?: number
  waitMsMax?: number
  /** A fault behind a refill that nobody waits for. */
  onFault?: (error: unknown) => void
}

/**
 * Ids, unique per key, from memory. What is in memory was reserved in the database before, in a block of its own: a
 * crash skips ids and never repeats one, and any number of allocators may share the database. The next block is
 * fetched when half of the last one is used, one fetch per key at a time.
 */
export class IdAllocator {
  readonly #counters: Counters
  readonly #clock: Clock
  readonly #step: number
  readonly #keysMax: number
  readonly #waitersMax: number
  readonly #waitMsMax: number
  readonly #onFault: (error: unknown) => void
  /** In the order of their last refill. */
  readonly #shelves = new Map<string, Shelf>()
  #reservations = 0
  #ids = 0
  #blocks = 0
  #failures = 0

  constructor(options: IdAllocatorOptions) {
    this.#counters = options.counters
    this.#clock = options.clock
    this.#step = options.step
    this.#keysMax = options.keysMax ?? KEYS_MAX
    this.#waitersMax = options.waitersMax ?? WAITERS_MAX
    this.#waitMsMax = options.waitMsMax ?? WAIT_MS_MAX
    this.#onFault = options.onFault ?? (() => {})
  }

  get counts(): AllocatorCounts {
    return { ids: this.#ids, blocks: this.#blocks, failures: this.#failures, keys: this.#shelves.size }
  }

  /**
   * The next id of `key`: at once from memory, else a promise of at most WAIT_MS_MAX.
   *
   * @param key One character per byte, 1 to 64 of them.
   * @returns 0 to 2^53 - 1.
   * @throws {UnavailableError} DATABASE_UNAVAILABLE, OVERLOADED, IDS_EXHAUSTED: nothing was handed out.
   */
  next(key: string): number | Promise<number> {
    const shelf = this.#shelves.get(key) ?? this.#newShelf(key)
    const { stock } = shelf
    if (shelf.waiters.length === 0) {
      const id = stock.take()
      if (id >= 0) {
        this.#ids++
        if (stock.count <= shelf.refillAt && !shelf.refilling) this.#refill(shelf)
        return id
      }
    }
    return this.#wait(shelf)
  }

  /**
   * The first of `count` consecutive ids, from memory where they are there, else out of a block of their own.
   *
   * @param count 1 to RESERVE_COUNT_MAX.
   * @throws as `next`.
   */
  run(key: string, count: number): number | Promise<number> {
    const shelf = this.#shelves.get(key) ?? this.#newShelf(key)
    const first = shelf.waiters.length === 0 ? shelf.stock.takeRun(count) : -1
    if (first < 0) return this.#runOfItsOwn(shelf, count)
    this.#ids += count
    if (shelf.stock.count <= shelf.refillAt && !shelf.refilling) this.#refill(shelf)
    return first
  }

  /**
   * From now on ids of `key` are at least `atLeast`, here at once. Other ID servers on the same database must be
   * told as well: what they hold in memory is theirs.
   *
   * @throws {UnavailableError} DATABASE_UNAVAILABLE
   */
  async raise(key: string, atLeast: number): Promise<void> {
    const shelf = this.#shelves.get(key) ?? this.#newShelf(key)
    shelf.stock.raise(atLeast)
    await this.#reserving(() => this.#counters.raise(key, BigInt(atLeast)))
  }

  async #runOfItsOwn(shelf: Shelf, count: number): Promise<number> {
    const block = new IdStock()
    block.add(await this.#reserving(() => this.#reserve(shelf, count)), count)
    this.#blocks++
    this.#ids += count
    return block.take()
  }

  #newShelf(key: string): Shelf {
    if (this.#shelves.size >= this.#keysMax) this.#forgetOne()
    const shelf: Shelf = {
      key,
      stock: new IdStock(),
      size: new BlockSize(this.#step),
      waiters: [],
      refilling: false,
      refillAt: -1
    }
    this.#shelves.set(key, shelf)
    return shelf
  }

  #forgetOne(): void {
    for (const shelf of this.#shelves.values()) {
      if (shelf.refilling || shelf.waiters.length > 0) continue
      this.#shelves.delete(shelf.key)
      return
    }
    throw new UnavailableError('OVERLOADED', `ids of ${this.#keysMax} keys are being fetched`)
  }

  #wait(shelf: Shelf): Promise<number> {
    if (shelf.waiters.length >= this.#waitersMax) {
      throw new UnavailableError('OVERLOADED', `${this.#waitersMax} callers wait for ids of this key`)
    }
    return new Promise((resolve, reject) => {
      shelf.waiters.push({ resolve, reject })
      if (!shelf.refilling) this.#refill(shelf)
    })
  }

  #refill(shelf: Shelf): void {
    shelf.refilling = true
    // The order of the map is the order of forgetting; touching it here keeps it off the path of every request.
    this.#shelves.delete(shelf.key)
    this.#shelves.set(shelf.key, shelf)
    const demand = Math.min(shelf.waiters.length, RESERVE_COUNT_MAX)
    const count = Math.max(shelf.size.next(this.#clock.monotonicMs()), demand)
    this.#reserving(() => this.#reserve(shelf, count)).then(
      first => this.#refilled(shelf, first, count),
      error => this.#failed(shelf, error)
    )
  }

  #refilled(shelf: Shelf, first: bigint, count: number): void {
    shelf.refilling = false
    try {
      shelf.stock.add(first, count)
    } catch (error) {
      return this.#failed(shelf, error)
    }
    this.#blocks++
    shelf.refillAt = Math.floor(count / 2)
    let served = 0
    while (served < shelf.waiters.length && shelf.stock.count > 0) {
      shelf.waiters[served++]!.resolve(shelf.stock.take())
    }
    shelf.waiters.splice(0, served)
    this.#ids += served
    if (shelf.waiters.length > 0 || shelf.stock.count <= shelf.refillAt) this.#refill(shelf)
  }

  #failed(shelf: Shelf, error: unknown): void {
    shelf.refilling = false
    const waiters = shelf.waiters.splice(0)
    // While there are ids left, the next request tries again; it must not do so at every single one.
    shelf.refillAt = Math.floor(Math.min(shelf.refillAt, shelf.stock.count) / 2)
    for (const waiter of waiters) waiter.reject(error)
    if (waiters.length === 0 && !(error instanceof UnavailableError)) this.#onFault(error)
  }

  /** A block whose first id is not below what `raise` was told, even where the database did not hear of it. */
  async #reserve(shelf: Shelf, count: number): Promise<bigint> {
    for (;;) {
      const first = await this.#counters.reserve(shelf.key, count)
      const floor = BigInt(shelf.stock.floor)
      if (first >= floor) return first
      await this.#counters.raise(shelf.key, floor)
    }
  }

  /** One errand to the database, bounded in number and in time. */
  async #reserving<T>(call: () => Promise<T>): Promise<T> {
    if (this.#reservations >= RESERVATIONS_MAX) {
      this.#failures++
      throw new UnavailableError('OVERLOADED', `${RESERVATIONS_MAX} reservations are under way`)
    }
    this.#reservations++
    let timer: NodeJS.Timeout | undefined
    try {
      const silence = new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          reject(new UnavailableError('DATABASE_UNAVAILABLE', 'the database does not answer in time'))
        }, this.#waitMsMax)
      })
      return await Promise.race([call(), silence])
    } catch (error) {
      this.#failures++
      throw wireErrorOf(error, 'safe')
    } finally {
      clearTimeout(timer)
      this.#reservations--
    }
  }
}
