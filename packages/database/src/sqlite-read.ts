import { untilFree } from './busy-wait.ts'
import { DatabaseUnavailableError } from './errors.ts'
import { isBusy, sqliteErrorOf, type DatabaseSync, type StatementSync } from './sqlite-connection.ts'
import type { SQLInputValue, SQLOutputValue } from './sqlite-connection.ts'

/** One prepared look-up on the caller's thread: an answer at once, a promise only where the file is locked. */
export class SqliteRead {
  readonly #database: DatabaseSync
  readonly #statement: StatementSync
  readonly #timeoutMs: number

  constructor(database: DatabaseSync, sql: string, timeoutMs: number) {
    this.#database = database
    this.#statement = database.prepare(sql)
    this.#statement.setReturnArrays(true)
    this.#timeoutMs = timeoutMs
  }

  get<T>(
    values: SQLInputValue[],
    decode: (row: SQLOutputValue[]) => T
  ): T | undefined | Promise<T | undefined> {
    const attempt = (): T | undefined => {
      const row = this.#statement.get(...values) as unknown as SQLOutputValue[] | undefined
      return row && decode(row)
    }
    try {
      return attempt()
    } catch (error) {
      if (!this.#database.isOpen)
        throw new DatabaseUnavailableError('the database is closed', { cause: error })
      if (!isBusy(error)) throw sqliteErrorOf(error)
      return untilFree(attempt, this.#timeoutMs).catch((cause: unknown) => {
        throw sqliteErrorOf(cause)
      })
    }
  }
}
