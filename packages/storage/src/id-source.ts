/**
 * Ids of a store, fetched ahead from the ID servers in blocks, so that an upload does not wait for one. Ids that a
 * crash leaves unused are lost, which is allowed.
 */
import {
  COMMANDS,
  decodeInt64,
  encodeFrame,
  encodeIdKey,
  extension,
  UnavailableError,
  type Address
} from '@tributary/protocol'
import type { Lease, PeerPool } from '@tributary/transport'

/** First block; doubled while uploads use them up quickly, up to BLOCK_MAX. */
const BLOCK_MIN = 32
const BLOCK_MAX = 2_048
/** A block used up within this time was too small. */
const BLOCK_MS_MIN = 500
/** Single requests in flight to a legacy ID server. */
const LEGACY_BATCH = 16
const CALL_TIMEOUT_MS = 1_000
/** An upload waits so long for an id before it is refused. */
export const ID_WAIT_MS = 3_000
const RETRY_MS = 200

export class IdSource {
  readonly #pool: PeerPool
  readonly #servers: readonly Address[]
  readonly #key: string
  #ids: { next: number; end: number }[] = []
  #available = 0
  #block = BLOCK_MIN
  #refilledMs = -Infinity
  #refilling: Promise<void> | undefined
  #preferred = 0
  #closed = false

  /** @param key The store's UUID, the same for all members that share the store. */
  constructor(pool: PeerPool, servers: readonly Address[], key: string) {
    this.#pool = pool
    this.#servers = servers
    this.#key = key
  }

  /** Ids at hand. */
  get available(): number {
    return this.#available
  }

  /** One id, when there is one at hand. */
  take(): number | undefined {
    const block = this.#ids[0]
    if (!block) {
      void this.#refill()
      return undefined
    }
    const id = block.next++
    if (block.next === block.end) this.#ids.shift()
    this.#available--
    if (this.#available <= this.#block / 2) void this.#refill()
    return id
  }

  /**
   * One id, waited for.
   *
   * @throws {UnavailableError} ID_SERVER_UNAVAILABLE after ID_WAIT_MS.
   */
  async next(): Promise<number> {
    await this.ensure(1)
    return this.take()!
  }

  /** Resolves when `count` ids can be taken in this very turn of the event loop. */
  async ensure(count: number): Promise<void> {
    const endMs = performance.now() + ID_WAIT_MS
    while (this.#available < count) {
      if (this.#closed) throw new UnavailableError('SHUTTING_DOWN', 'the storage server is shutting down')
      const before = this.#available
      await this.#refill()
      if (this.#available > before) continue
      if (performance.now() > endMs) {
        throw new UnavailableError('ID_SERVER_UNAVAILABLE', 'no ID server gives an id')
      }
      await new Promise(resolve => setTimeout(resolve, RETRY_MS))
    }
  }

  /**
   * Ids below `atLeast` are on disk already: they are not to be given out. Every ID server is told, as each has ids of
   * its own in memory. Passed over are those that cannot be reached, which start above `atLeast` once another was told,
   * and legacy ones, which cannot be told.
   *
   * @throws {Error} The failure of one that was reached, or of all of them; UnavailableError where all are legacy.
   */
  async raise(atLeast: number): Promise<void> {
    const frame = encodeFrame(COMMANDS.ID_RAISE.code, extension.idRaise.encode({ key: this.#key, atLeast }))
    const outcomes = await Promise.allSettled(this.#servers.map(server => this.#tell(server, frame)))
    const isTold = outcomes.some(outcome => outcome.status === 'fulfilled' && outcome.value === 'told')
    let failure: unknown = new UnavailableError('ID_SERVER_UNAVAILABLE', 'no ID server knows ID_RAISE')
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') throw outcome.reason
      if (outcome.value !== 'told' && outcome.value !== 'legacy') failure = outcome.value.unreachable
    }
    if (!isTold) throw failure
  }

  async #tell(server: Address, frame: Buffer): Promise<'told' | 'legacy' | { unreachable: unknown }> {
    for (;;) {
      let lease: Lease
      try {
        lease = await this.#pool.lease(server, { timeoutMs: CALL_TIMEOUT_MS })
      } catch (unreachable) {
        return { unreachable }
      }
      try {
        if (!lease.ours) return 'legacy'
        await lease.connection.call(frame, { timeoutMs: CALL_TIMEOUT_MS })
        return 'told'
      } catch (error) {
        // A connection that was used before may have died with its server since; whether it has, a new one tells.
        if (!lease.reused || lease.connection.alive) throw error
      } finally {
        lease.release()
      }
    }
  }

  close(): void {
    this.#closed = true
  }

  #refill(): Promise<void> {
    return (this.#refilling ??= this.#fetch().finally(() => {
      this.#refilling = undefined
    }))
  }

  async #fetch(): Promise<void> {
    const nowMs = performance.now()
    if (nowMs - this.#refilledMs < BLOCK_MS_MIN) this.#block = Math.min(BLOCK_MAX, this.#block * 2)
    this.#refilledMs = nowMs
    try {
      await this.#ask(server => this.#fetchFrom(server))
    } catch {
      // Told to whoever runs out, by ensure().
    }
  }

  async #fetchFrom(server: Address): Promise<void> {
    const lease = await this.#pool.lease(server, { timeoutMs: CALL_TIMEOUT_MS })
    const options = { timeoutMs: CALL_TIMEOUT_MS }
    try {
      if (lease.ours) {
        const request = extension.idBlock.encode({ key: this.#key, count: this.#block })
        const reply = await lease.connection.call(encodeFrame(COMMANDS.ID_BLOCK.code, request), options)
        const { first, count } = extension.idBlockReply.decode(reply)
        this.#add(first, count)
        return
      }
      const frame = encodeFrame(COMMANDS.ID_GET.code, encodeIdKey(this.#key))
      for (let asked = 0; asked < LEGACY_BATCH; asked++) {
        this.#add(Number(decodeInt64(await lease.connection.call(frame, options))), 1) // one at a time, as they serve
      }
    } finally {
      lease.release()
    }
  }

  #add(first: number, count: number): void {
    if (count === 0) return
    this.#ids.push({ next: first, end: first + count })
    this.#available += count
  }

  async #ask<T>(call: (server: Address) => Promise<T>): Promise<T> {
    let failure: unknown
    for (let tried = 0; tried < this.#servers.length; tried++) {
      const at = (this.#preferred + tried) % this.#servers.length
      try {
        const result = await call(this.#servers[at]!)
        this.#preferred = at
        return result
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }
}
