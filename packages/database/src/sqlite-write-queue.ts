import { CommitOutcomeUnknownError, DatabaseUnavailableError } from './errors.ts'
import { ThreadCalls, ThreadLostError } from './thread-calls.ts'
import { errorOfFault, isThreadFault } from './thread-fault.ts'
import type { DatabaseEvent } from './database.ts'
import type { SqliteBatch, SqliteWrite } from './sqlite-write.ts'
import type { SqliteWriterData } from './sqlite-writer.ts'

/** Batches at the writing thread: one it works on, one that waits there, so that it never idles. */
const BATCHES_IN_FLIGHT_MAX = 2
/** Rows of one batch; they hold the lock that other processes wait for. */
const BATCH_ROWS_MAX = 512
/** Rows that wait here when the disk is slower than the callers; more are refused. */
export const WAITING_ROWS_MAX = 16_384
/** The thread gives up waiting for other processes a little before its caller gives up on it. */
const BUSY_SHARE = 0.8

interface Waiting {
  write: SqliteWrite
  durable: boolean
  rows: number
  sinceMs: number
  resolve: (answer: unknown) => void
  reject: (error: Error) => void
}

/**
 * Gathers the writes of a moment and has the writing thread commit them as one transaction.
 *
 * Writes of one process are performed in the order of their calls.
 */
export class SqliteWriteQueue {
  readonly #thread: ThreadCalls
  readonly #timeoutMs: number
  readonly #waiting: Waiting[] = []
  #waitingRows = 0
  #batchesInFlight = 0
  #isScheduled = false
  #isClosed = false
  #onIdle: (() => void) | undefined

  constructor(path: string, timeoutMs: number, onEvent: (event: DatabaseEvent) => void) {
    const data: SqliteWriterData = { path, busyTimeoutMs: timeoutMs * BUSY_SHARE }
    this.#thread = new ThreadCalls('sqlite-writer', data, onEvent)
    this.#timeoutMs = timeoutMs
  }

  /**
   * @throws {DatabaseUnavailableError} nothing was written.
   * @throws {CommitOutcomeUnknownError} it may have been.
   */
  write(write: SqliteWrite, durable = true, rows = 1): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(new DatabaseUnavailableError('the database is closed'))
    if (this.#waitingRows + rows > WAITING_ROWS_MAX) {
      return Promise.reject(
        new DatabaseUnavailableError(`${WAITING_ROWS_MAX} rows wait to be written already`)
      )
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ write, durable, rows, sinceMs: performance.now(), resolve, reject })
      this.#waitingRows += rows
      if (this.#isScheduled) return
      this.#isScheduled = true
      setImmediate(() => {
        this.#isScheduled = false
        this.#send()
      })
    })
  }

  /** Performs what was accepted, then ends the thread. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#waiting.length > 0 || this.#batchesInFlight > 0) {
      await new Promise<void>(resolve => (this.#onIdle = resolve))
    }
    await this.#thread.close(this.#timeoutMs)
  }

  #send(): void {
    while (this.#waiting.length > 0 && this.#batchesInFlight < BATCHES_IN_FLIGHT_MAX) {
      this.#batchesInFlight++
      void this.#perform(this.#take()).then(() => {
        this.#batchesInFlight--
        this.#send()
      })
    }
    if (this.#waiting.length === 0 && this.#batchesInFlight === 0) this.#onIdle?.()
  }

  #take(): Waiting[] {
    let count = 0
    let rows = 0
    for (const waiting of this.#waiting) {
      if (count > 0 && rows + waiting.rows > BATCH_ROWS_MAX) break
      rows += waiting.rows
      count++
    }
    this.#waitingRows -= rows
    return this.#waiting.splice(0, count)
  }

  async #perform(taken: Waiting[]): Promise<void> {
    const expiredMs = performance.now() - this.#timeoutMs
    const batch = taken.filter(waiting => {
      if (waiting.sinceMs > expiredMs) return true
      waiting.reject(new DatabaseUnavailableError(`SQLite had no time for it in ${this.#timeoutMs} ms`))
      return false
    })
    if (batch.length === 0) return
    const message: SqliteBatch = {
      durable: batch.some(waiting => waiting.durable),
      writes: batch.map(waiting => waiting.write)
    }
    try {
      const answers = (await this.#thread.call(message, this.#timeoutMs)) as unknown[]
      for (const [index, waiting] of batch.entries()) {
        const answer = answers[index]
        if (isThreadFault(answer)) waiting.reject(errorOfFault(answer))
        else waiting.resolve(answer)
      }
    } catch (error) {
      const failure = failureOf(error)
      for (const waiting of batch) waiting.reject(failure)
    }
  }
}

function failureOf(error: unknown): Error {
  if (error instanceof ThreadLostError) return new CommitOutcomeUnknownError(error.message, { cause: error })
  return error instanceof Error ? error : new Error(String(error))
}
