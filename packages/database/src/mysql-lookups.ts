import { DatabaseUnavailableError } from './errors.ts'
import { fileRowOfRecord } from './file-record.ts'
import { stillPatient } from './mysql-patience.ts'
import type { FileKey, FileRow } from './file-index.ts'
import type { MysqlPool } from './mysql-pool.ts'

export const SELECT_FILES = `SELECT application, user, file, generation, nonce, state, trashed_until_ms, size_bytes,
  crc32, group_name, store, path, name, media_type, stored_at_ms FROM files`
export const KEY_IS = 'application = ? AND user = ? AND file = ?'

/** Keys in one statement. */
const KEYS_MAX = 64
/** Statements under way: enough to keep the server busy, few enough that keys gather meanwhile. */
const STATEMENTS_MAX = 2
/** Keys that wait for a statement; more are refused. */
const WAITING_MAX = 20_000
const STATEMENT_SIZES = [1, 2, 4, 8, 16, 32, KEYS_MAX]

/** One text per size, so that a connection prepares seven statements, not sixty-four. Read by the primary key's ranges. */
const STATEMENTS = new Map(
  STATEMENT_SIZES.map(size => [size, `${SELECT_FILES} WHERE ${Array(size).fill(`(${KEY_IS})`).join(' OR ')}`])
)

interface Waiting {
  key: FileKey
  sinceMs: number
  resolve: (row: FileRow | undefined) => void
  reject: (error: Error) => void
}

/** Look-ups of one moment, answered by one statement. */
export class MysqlLookups {
  readonly #pool: MysqlPool
  readonly #timeoutMs: number
  readonly #isCausal: boolean
  #waiting: Waiting[] = []
  #statements = 0
  #isScheduled = false

  constructor(pool: MysqlPool, timeoutMs: number, isCausal: boolean) {
    this.#pool = pool
    this.#timeoutMs = timeoutMs
    this.#isCausal = isCausal
  }

  find(key: FileKey): Promise<FileRow | undefined> {
    if (this.#waiting.length >= WAITING_MAX) {
      return Promise.reject(new DatabaseUnavailableError(`${WAITING_MAX} look-ups wait already`))
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ key, sinceMs: performance.now(), resolve, reject })
      if (this.#isScheduled) return
      this.#isScheduled = true
      setImmediate(() => {
        this.#isScheduled = false
        this.#send()
      })
    })
  }

  #send(): void {
    while (this.#waiting.length > 0 && this.#statements < STATEMENTS_MAX) {
      const batch = this.#waiting.splice(0, KEYS_MAX)
      this.#statements++
      void this.#answer(batch).then(() => {
        this.#statements--
        this.#send()
      })
    }
  }

  async #answer(taken: Waiting[]): Promise<void> {
    const { calls: batch, leftMs } = stillPatient(taken, this.#timeoutMs)
    if (batch.length === 0) return
    const size = STATEMENT_SIZES.find(each => each >= batch.length)!
    const values: Buffer[] = []
    for (let index = 0; index < size; index++) {
      const { application, user, file } = batch[Math.min(index, batch.length - 1)]!.key
      values.push(Buffer.from(application), Buffer.from(user), Buffer.from(file))
    }
    try {
      const records = await this.#pool.run(
        connection => {
          const statement = STATEMENTS.get(size)!
          return this.#isCausal
            ? connection.selectCausally(statement, values)
            : connection.select(statement, values)
        },
        { timeoutMs: leftMs, isWrite: false }
      )
      const rows = new Map<string, FileRow>()
      for (const record of records) {
        const row = fileRowOfRecord(record as never)
        rows.set(keyTextOf(row), row)
      }
      for (const { key, resolve } of batch) resolve(rows.get(keyTextOf(key)))
    } catch (error) {
      for (const { reject } of batch) reject(error as Error)
    }
  }
}

/** One text per key: NUL is in none of the parts. */
export function keyTextOf({ application, user, file }: FileKey): string {
  return `${application}\0${user}\0${file}`
}
