import { CommitOutcomeUnknownError, DatabaseUnavailableError } from './errors.ts'
import { fileRowOfRecord } from './file-record.ts'
import { FILE_STATES, hexOfUuid } from './file-row.ts'
import { INSERT_ROWS_MAX, type FileRow, type InsertOutcome } from './file-index.ts'
import { stillPatient } from './mysql-patience.ts'
import { KEY_IS, keyTextOf, SELECT_FILES, type MysqlLookups } from './mysql-lookups.ts'
import type { MysqlConnection, MysqlValue } from './mysql-connection.ts'
import type { MysqlPool } from './mysql-pool.ts'

/** Statements under way; rows gather meanwhile, and two overlap one's commit with the other's work. */
const STATEMENTS_MAX = 2
/** Rows that wait for a statement; more are refused. */
const WAITING_ROWS_MAX = 16_384
/** Rows are padded to one of these with copies of the last one, which do nothing: few texts to prepare. */
const STATEMENT_SIZES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, INSERT_ROWS_MAX]

const ROW = `(${Array(15).fill('?').join(', ')})`
const STATEMENTS = new Map(
  STATEMENT_SIZES.map(size => [
    size,
    `INSERT INTO files (application, user, file, generation, nonce, state, trashed_until_ms, size_bytes, crc32,
       group_name, store, path, name, media_type, stored_at_ms)
     VALUES ${Array(size).fill(ROW).join(', ')} ON DUPLICATE KEY UPDATE state = state`
  ])
)

interface Waiting {
  rows: readonly FileRow[]
  sinceMs: number
  resolve: (outcomes: InsertOutcome[]) => void
  reject: (error: Error) => void
}

/** Rows of one moment, inserted by one statement that commits by itself. */
export class MysqlInserts {
  readonly #pool: MysqlPool
  readonly #causalLookups: MysqlLookups
  readonly #timeoutMs: number
  readonly #waiting: Waiting[] = []
  #waitingRows = 0
  #statements = 0
  #isScheduled = false
  #isClosed = false
  #onIdle: (() => void) | undefined

  constructor(pool: MysqlPool, causalLookups: MysqlLookups, timeoutMs: number) {
    this.#pool = pool
    this.#causalLookups = causalLookups
    this.#timeoutMs = timeoutMs
  }

  /** @param rows at most INSERT_ROWS_MAX. */
  insert(rows: readonly FileRow[]): Promise<InsertOutcome[]> {
    if (this.#isClosed) return Promise.reject(new DatabaseUnavailableError('the database is closed'))
    if (this.#waitingRows + rows.length > WAITING_ROWS_MAX) {
      return Promise.reject(
        new DatabaseUnavailableError(`${WAITING_ROWS_MAX} rows wait to be written already`)
      )
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ rows, sinceMs: performance.now(), resolve, reject })
      this.#waitingRows += rows.length
      if (this.#isScheduled) return
      this.#isScheduled = true
      setImmediate(() => {
        this.#isScheduled = false
        this.#send()
      })
    })
  }

  /** Refuses new rows; resolves when those that were accepted have their outcome. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#waiting.length === 0 && this.#statements === 0) return
    await new Promise<void>(resolve => (this.#onIdle = resolve))
  }

  #send(): void {
    while (this.#waiting.length > 0 && this.#statements < STATEMENTS_MAX) {
      this.#statements++
      void this.#perform(this.#take()).then(() => {
        this.#statements--
        this.#send()
      })
    }
    if (this.#waiting.length === 0 && this.#statements === 0) this.#onIdle?.()
  }

  #take(): Waiting[] {
    let count = 0
    let rows = 0
    for (const waiting of this.#waiting) {
      if (count > 0 && rows + waiting.rows.length > INSERT_ROWS_MAX) break
      rows += waiting.rows.length
      count++
    }
    this.#waitingRows -= rows
    return this.#waiting.splice(0, count)
  }

  async #perform(taken: Waiting[]): Promise<void> {
    const { calls, leftMs } = stillPatient(taken, this.#timeoutMs)
    if (calls.length === 0) return
    const rows = calls.flatMap(call => call.rows)
    try {
      const outcomes = await this.#insert(rows, leftMs)
      let at = 0
      for (const call of calls) call.resolve(outcomes.slice(at, (at += call.rows.length)))
    } catch (error) {
      if (error instanceof CommitOutcomeUnknownError) {
        await Promise.all(calls.map(call => this.#settle(call, error)))
      } else if (calls.length > 1 && !(error instanceof DatabaseUnavailableError)) {
        // One of them is wrong: each gets a statement of its own, so that it fails alone.
        for (const call of calls) await this.#perform([call])
      } else {
        for (const call of calls) call.reject(error as Error)
      }
    }
  }

  #insert(rows: FileRow[], timeoutMs: number): Promise<InsertOutcome[]> {
    return this.#pool.run(
      async connection => {
        if ((await insertInto(connection, rows)) === rows.length)
          return rows.map(() => ({ inserted: true }) as const)
        const found = await findAll(connection, rows)
        // What was in the way and is not there has been deleted through another node of a cluster, and this one had yet to
        // hear of it. Now it has: names that are free are taken.
        const freed = rows.filter(row => !found.has(keyTextOf(row)))
        if (freed.length > 0) {
          await insertInto(connection, freed)
          for (const [name, row] of await findAll(connection, freed)) found.set(name, row)
        }
        return outcomesOf(rows, found)
      },
      { timeoutMs, isWrite: true }
    )
  }

  /** The connection was lost under the commit: one fresh look says what became of it, if it says anything. */
  async #settle(call: Waiting, unknown: CommitOutcomeUnknownError): Promise<void> {
    try {
      const found = await Promise.all(call.rows.map(row => this.#causalLookups.find(row)))
      // A row that is not there may still be on its way in.
      if (found.includes(undefined)) return call.reject(unknown)
      const rows = new Map((found as FileRow[]).map(row => [keyTextOf(row), row]))
      call.resolve(outcomesOf(call.rows, rows))
    } catch {
      call.reject(unknown)
    }
  }
}

/** @returns how many of them were not there */
async function insertInto(connection: MysqlConnection, rows: readonly FileRow[]): Promise<number> {
  // Several servers insert at once: rows locked in one order cannot lock each other out.
  const sorted = rows.length === 1 ? rows : rows.toSorted(byKey)
  const size = STATEMENT_SIZES.find(each => each >= sorted.length)!
  const values: MysqlValue[] = []
  for (let index = 0; index < size; index++) pushValues(values, sorted[Math.min(index, sorted.length - 1)]!)
  const { affectedRows } = await connection.change(STATEMENTS.get(size)!, values)
  return affectedRows
}

async function findAll(connection: MysqlConnection, rows: readonly FileRow[]): Promise<Map<string, FileRow>> {
  const found = new Map<string, FileRow>()
  const statement = `${SELECT_FILES} WHERE ${Array(rows.length).fill(`(${KEY_IS})`).join(' OR ')}`
  const keys = rows.flatMap(row => [
    Buffer.from(row.application),
    Buffer.from(row.user),
    Buffer.from(row.file)
  ])
  for (const record of await connection.selectCausally(statement, keys)) {
    const row = fileRowOfRecord(record as never)
    found.set(keyTextOf(row), row)
  }
  return found
}

function outcomesOf(rows: readonly FileRow[], found: Map<string, FileRow>): InsertOutcome[] {
  return rows.map(row => {
    const existing = found.get(keyTextOf(row))
    return existing?.generation === row.generation ? { inserted: true } : { inserted: false, existing }
  })
}

function byKey(a: FileRow, b: FileRow): number {
  const [one, other] = [keyTextOf(a), keyTextOf(b)]
  return one < other ? -1 : one > other ? 1 : 0
}

function pushValues(values: MysqlValue[], row: FileRow): void {
  values.push(
    Buffer.from(row.application),
    Buffer.from(row.user),
    Buffer.from(row.file),
    Buffer.from(row.generation, 'hex'),
    Buffer.from(row.nonce, 'hex'),
    FILE_STATES.indexOf(row.state),
    row.trashedUntilMs,
    row.sizeBytes,
    row.crc32,
    Buffer.from(row.group),
    Buffer.from(hexOfUuid(row.store), 'hex'),
    Buffer.from(row.path),
    Buffer.from(row.name),
    Buffer.from(row.mediaType),
    row.storedAtMs
  )
}
