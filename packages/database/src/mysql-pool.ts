import { setTimeout as sleep } from 'node:timers/promises'
import { CommitOutcomeUnknownError, DatabaseUnavailableError, ReadOnlyDatabaseError } from './errors.ts'
import { MysqlConnection } from './mysql-connection.ts'
import { ConnectionLostError, errnoOf, isReadOnlyErrno, kindOf, UnfitNodeError } from './mysql-error.ts'
import type { MysqlAddress } from './mysql-address.ts'
import type { DatabaseEvent } from './database.ts'

export interface MysqlPoolOptions {
  addresses: readonly MysqlAddress[]
  size: number
  connectTimeoutMs: number
  onEvent: (event: DatabaseEvent) => void
}

export interface RunOptions {
  timeoutMs: number
  /** A write whose answer was lost may have been carried out; a read cannot have been. */
  isWrite: boolean
}

/** What a piece of work is told: whether an earlier attempt may have been carried out without our knowing. */
export type Work<T> = (connection: MysqlConnection, isResent: boolean) => Promise<T>

/** Calls that wait for a connection; more are refused. */
const WAITERS_MAX = 10_000
/** Between two rounds over all addresses when none of them took us. */
const RECONNECT_MS = 100
/** Before a transaction that lost a conflict is tried again; random, or the same two meet again. */
const CONFLICT_MS_MAX = 20

interface Waiter {
  resolve: (connection: MysqlConnection) => void
  reject: (error: Error) => void
}

/**
 * Connections to one of several addresses: the one that worked last, else the next one that takes us and is
 * fit. Every call has a deadline, until which it is tried again; a connection that missed it is cut, because
 * nothing could tell its late answer from the next one's.
 */
export class MysqlPool {
  readonly #options: MysqlPoolOptions
  readonly #idle: MysqlConnection[] = []
  readonly #busy = new Set<MysqlConnection>()
  readonly #waiters = new Set<Waiter>()
  #addressIndex = 0
  #connecting = 0
  #isDown = false
  #closed: Promise<void> | undefined
  /** Calls in progress. */
  #runs = 0
  #isEnded = false
  #onIdle: (() => void) | undefined
  readonly #cutReconnecting = new AbortController()
  #lastError: Error | undefined

  constructor(options: MysqlPoolOptions) {
    this.#options = options
  }

  /**
   * Runs `work` on a connection, again where that helps. Work must be safe to repeat.
   *
   * @throws {DatabaseUnavailableError} nothing was done.
   * @throws {CommitOutcomeUnknownError} a write that may have been done.
   * @throws {ReadOnlyDatabaseError} the servers that answer take no writes.
   */
  async run<T>(work: Work<T>, options: RunOptions): Promise<T> {
    if (this.#closed) throw new DatabaseUnavailableError('the database is closed')
    this.#runs++
    try {
      return await this.#runUntilDeadline(work, options)
    } finally {
      if (--this.#runs === 0) this.#onIdle?.()
    }
  }

  async #runUntilDeadline<T>(work: Work<T>, { timeoutMs, isWrite }: RunOptions): Promise<T> {
    const deadline = performance.now() + timeoutMs
    let isResent = false
    let last: Error | undefined
    for (;;) {
      const leftMs = deadline - performance.now()
      if (leftMs <= 0) throw this.#failureOf(last, isResent, timeoutMs)
      let connection: MysqlConnection
      try {
        connection = await this.#acquire(leftMs)
      } catch (error) {
        throw last ? this.#failureOf(last, isResent, timeoutMs) : error
      }
      const timer = setTimeout(
        () => {
          connection.destroy(new Error(`no answer in ${timeoutMs} ms`))
          this.#nextAddress()
        },
        Math.max(1, deadline - performance.now())
      )
      try {
        return await work(connection, isResent)
      } catch (error) {
        last = error as Error
        if (error instanceof ConnectionLostError) {
          isResent ||= isWrite
          this.#dropIdle(last)
        } else {
          const kind = kindOf(errnoOf(error) ?? 0)
          if (kind === 'unfit-node') {
            connection.destroy(last)
            this.#dropIdle(last)
            this.#nextAddress()
          } else if (kind !== 'transient') throw error
          await sleep(Math.random() * CONFLICT_MS_MAX)
        }
      } finally {
        clearTimeout(timer)
        this.#release(connection)
      }
    }
  }

  /** Refuses new calls, lets those in progress finish or reach their deadline, then closes. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close())
  }

  async #close(): Promise<void> {
    if (this.#runs > 0) await new Promise<void>(resolve => (this.#onIdle = resolve))
    this.#isEnded = true
    this.#cutReconnecting.abort()
    for (const connection of this.#idle.splice(0)) connection.end()
  }

  #acquire(timeoutMs: number): Promise<MysqlConnection> {
    for (let idle = this.#idle.pop(); idle; idle = this.#idle.pop()) {
      if (idle.isLost) continue
      this.#busy.add(idle)
      return Promise.resolve(idle)
    }
    if (this.#waiters.size >= WAITERS_MAX) {
      return Promise.reject(
        new DatabaseUnavailableError(`${WAITERS_MAX} calls wait for the database already`)
      )
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter)
        reject(this.#failureOf(this.#lastError, false, timeoutMs))
      }, timeoutMs)
      const waiter: Waiter = {
        resolve: connection => (clearTimeout(timer), resolve(connection)),
        reject: error => (clearTimeout(timer), reject(error))
      }
      this.#waiters.add(waiter)
      this.#grow()
    })
  }

  #release(connection: MysqlConnection): void {
    this.#busy.delete(connection)
    if (!connection.isLost) this.#offer(connection)
    else if (this.#waiters.size > 0) this.#grow()
  }

  #offer(connection: MysqlConnection): void {
    for (const waiter of this.#waiters) {
      this.#waiters.delete(waiter)
      this.#busy.add(connection)
      waiter.resolve(connection)
      return
    }
    if (this.#isEnded) connection.end()
    else this.#idle.push(connection)
  }

  /** Opens as many connections as calls wait; while no address takes us, one attempt goes for all of them. */
  #grow(): void {
    const size = this.#isDown ? 1 : this.#options.size
    while (
      !this.#isEnded &&
      this.#connecting < this.#waiters.size &&
      this.#connecting + this.#busy.size + this.#idle.length < size
    ) {
      this.#connecting++
      void this.#connect().finally(() => {
        this.#connecting--
        if (this.#waiters.size > 0) this.#grow()
      })
    }
  }

  /** One round over all addresses. */
  async #connect(): Promise<void> {
    const { addresses, onEvent } = this.#options
    const errors: Error[] = []
    for (let tried = 0; tried < addresses.length && !this.#isEnded; tried++) {
      const index = this.#addressIndex
      const address = addresses[index]!
      try {
        const connection = await this.#open(address)
        if (this.#isDown) onEvent({ level: 'info', text: `database: connected to ${address.label}` })
        this.#isDown = false
        this.#offer(connection)
        return
      } catch (error) {
        errors.push(error as Error)
        // Another attempt may have moved on already.
        if (this.#addressIndex === index) this.#nextAddress()
      }
    }
    if (this.#isEnded) return
    const error = (this.#lastError = worstOf(errors))
    if (!this.#isDown) onEvent({ level: 'error', text: `database: ${error.message}` })
    this.#isDown = true
    if (errors.every(each => kindOf(errnoOf(each) ?? 0) === 'refused')) {
      this.#rejectWaiters(new DatabaseUnavailableError(error.message, { cause: error }))
    }
    await sleep(RECONNECT_MS, undefined, { signal: this.#cutReconnecting.signal }).catch(() => {})
  }

  async #open(address: MysqlAddress): Promise<MysqlConnection> {
    const timeoutMs = this.#options.connectTimeoutMs
    const connection = new MysqlConnection(address)
    const timer = setTimeout(() => connection.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs)
    try {
      await connection.open()
      return connection
    } catch (error) {
      connection.destroy(error as Error)
      // Why the server hung up says more than that it did.
      const { cause } = error as Error
      throw errnoOf(cause ?? {}) === undefined ? error : cause
    } finally {
      clearTimeout(timer)
    }
  }

  #nextAddress(): void {
    this.#addressIndex = (this.#addressIndex + 1) % this.#options.addresses.length
  }

  /** A server that fell silent on one connection would cost every other one its deadline as well. */
  #dropIdle(reason: Error): void {
    for (const connection of this.#idle.splice(0)) connection.destroy(reason)
  }

  #rejectWaiters(error: Error): void {
    for (const waiter of this.#waiters) waiter.reject(error)
    this.#waiters.clear()
  }

  #failureOf(cause: Error | undefined, isUnknown: boolean, timeoutMs: number): Error {
    const why = cause?.message ?? 'all connections are busy'
    const text = `the database gave no answer in ${Math.round(timeoutMs)} ms: ${why}`
    if (isUnknown) return new CommitOutcomeUnknownError(text, { cause })
    const isReadOnly =
      cause instanceof UnfitNodeError ? cause.isReadOnly : isReadOnlyErrno(errnoOf(cause ?? {}))
    return isReadOnly
      ? new ReadOnlyDatabaseError(text, { cause })
      : new DatabaseUnavailableError(text, { cause })
  }
}

/** Of several addresses' errors the one that tells most: a server that answered knows more than a silent one. */
function worstOf(errors: Error[]): Error {
  return (
    errors.find(error => error instanceof UnfitNodeError) ??
    errors.find(error => errnoOf(error) !== undefined) ??
    errors[0] ??
    new Error('no address')
  )
}
