import { fileRowOfRecord } from './file-record.ts'
import type { FileKey, FileRow } from './file-index.ts'
import type { MysqlPool } from './mysql-pool.ts'

export const SELECT_FILES = `SELECT application, user, file, generation, nonce, state, trashed_until_ms, size_bytes,
  crc32, group_name, store, path, name, media_type, stored_at_ms FROM files`
export const KEY_IS = 'application = ? AND user = ? AND file = ?'

/** Keys in one statement. */
const KEYS_MAX = 64
/** Statements under way: enough to keep the server busy, few enough that keys gather meanwhile. */
const STATEMENTS_MAX = 2
/** Keys that wait; more are refused by the pool's own bound long before memory matters. */
const STATEMENT_SIZES = [1, 2, 4, 8, 16, 32, KEYS_MAX]

/** One text per size, so that a connection prepares seven statements, not sixty-four. Read by the primary key's ranges. */
const STATEMENTS = new Map(
  STATEMENT_SIZES.map(size => [size, `${SELECT_FILES} WHERE ${Array(size).fill(`(${KEY_IS})`).join(' OR ')}`])
)

interface Waiting {
  key: FileKey
  resolve: (row: FileRow | undefined) => void
  reject: (error: unknown) => void
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
    return new Promise((resolve, reject) => {
      this.#waiting.push({ key, resolve, reject })
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

  async #answer(batch: Waiting[]): Promise<void> {
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
        { timeoutMs: this.#timeoutMs, isWrite: false }
      )
      const rows = new Map<string, FileRow>()
      for (const record of records) {
        const row = fileRowOfRecord(record as never)
        rows.set(keyTextOf(row), row)
      }
      for (const { key, resolve } of batch) resolve(rows.get(keyTextOf(key)))
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }
}

/** One text per key: NUL is in none of the parts. */
export function keyTextOf({ application, user, file }: FileKey): string {
  return `${application}\0${user}\0${file}`
}
