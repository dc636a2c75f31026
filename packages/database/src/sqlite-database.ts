import { existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Kysely } from 'kysely'
import { untilFree } from './busy-wait.ts'
import { Catalog } from './catalog.ts'
import { DatabaseUnavailableError, SchemaVersionError } from './errors.ts'
import { FilePages } from './file-pages.ts'
import { IndexSnapshot } from './index-snapshot.ts'
import { AccessIndex } from './access-index.ts'
import { Jobs } from './jobs.ts'
import { Library } from './library.ts'
import { Uploads } from './uploads.ts'
import { MovePages } from './move-pages.ts'
import { refuseRestoring } from './restore-mark.ts'
import { RestoreTarget } from './restore-target.ts'
import { SchemaGate } from './schema-gate.ts'
import { adoptCluster, migrate, checkSchemaVersion } from './schema-version.ts'
import {
  isBusy,
  openForMigration,
  openReader,
  sqliteErrorOf,
  type DatabaseSync
} from './sqlite-connection.ts'
import { SqliteControl } from './sqlite-control.ts'
import { SqliteCounters } from './sqlite-counters.ts'
import { NodeSqliteDialect } from './sqlite-dialect.ts'
import { executeSync } from './sqlite-execute.ts'
import { SqliteFileIndex } from './sqlite-file-index.ts'
import { SqliteLeases } from './sqlite-leases.ts'
import { SqliteMoves } from './sqlite-moves.ts'
import { SqliteRoutes } from './sqlite-routes.ts'
import { SqliteWriteQueue } from './sqlite-write-queue.ts'
import { ThreadCalls, ThreadLostError } from './thread-calls.ts'
import { errorOfFault, isThreadFault } from './thread-fault.ts'
import type { Control } from './control.ts'
import { TrashSwitch } from './trash-switch.ts'
import type { Counters } from './counters.ts'
import type { Database, OpenOptions } from './database.ts'
import type { ExecuteResult } from './execute-driver.ts'
import type { FileIndex } from './file-index.ts'
import type { Leases } from './leases.ts'
import type { Moves } from './moves.ts'
import type { Routes } from './routes.ts'
import {
  ACCESS_SCHEMA_VERSION,
  JOBS_SCHEMA_VERSION,
  LIBRARY_SCHEMA_VERSION,
  MOVES_SCHEMA_VERSION,
  UPLOADS_SCHEMA_VERSION,
  type Schema
} from './schema.ts'
import type { SqliteReaderData } from './sqlite-reader.ts'

const QUERY_TIMEOUT_MS = 5_000
const WRITE_TIMEOUT_MS = 10_000
const MIGRATION_TIMEOUT_MS = 60_000
/** The reading thread gives up waiting for a lock a little before its caller gives up on it. */
const BUSY_SHARE = 0.8

/** One file that all processes of the machine share: reads on the caller's thread, writes and pages on two others. */
export class SqliteDatabase implements Database {
  readonly engine = 'sqlite'
  readonly files: FileIndex
  readonly routes: Routes
  readonly counters: Counters
  readonly leases: Leases
  readonly moves: Moves
  readonly control: Control
  readonly library: Library
  readonly uploads: Uploads
  readonly access: AccessIndex
  readonly jobs: Jobs
  readonly #connection: DatabaseSync
  readonly #queue: SqliteWriteQueue
  readonly #reader: ThreadCalls
  readonly #catalog: Catalog
  readonly #timeoutMs: number
  #closed: Promise<void> | undefined

  constructor(path: string, connection: DatabaseSync, options: OpenOptions) {
    const onEvent = options.onEvent ?? (() => {})
    this.#timeoutMs = options.queryTimeoutMs ?? QUERY_TIMEOUT_MS
    this.#connection = connection
    this.#queue = new SqliteWriteQueue(path, options.writeTimeoutMs ?? WRITE_TIMEOUT_MS, onEvent)
    const readerData: SqliteReaderData = { path, busyTimeoutMs: this.#timeoutMs * BUSY_SHARE }
    this.#reader = new ThreadCalls('sqlite-reader', readerData, onEvent)
    const queries = new Kysely<Schema>({
      dialect: new NodeSqliteDialect((sql, parameters) => this.#executeElsewhere(sql, parameters))
    })
    this.#catalog = new Catalog(queries)
    this.control = new SqliteControl(this.#queue, queries)
    const libraryGate = new SchemaGate(queries, LIBRARY_SCHEMA_VERSION)
    this.access = new AccessIndex(this.control, new SchemaGate(queries, ACCESS_SCHEMA_VERSION))
    const pages = new FilePages(queries)
    this.library = new Library(this.control, libraryGate, pages)
    this.jobs = new Jobs(this.control, new SchemaGate(queries, JOBS_SCHEMA_VERSION))
    const trash = new TrashSwitch(this.control, libraryGate)
    this.files = new SqliteFileIndex(connection, this.#queue, pages, trash, this.#timeoutMs)
    this.routes = new SqliteRoutes(connection, this.#queue, this.#catalog, this.#timeoutMs)
    this.counters = new SqliteCounters(this.#queue)
    this.leases = new SqliteLeases(this.#queue)
    this.uploads = new Uploads(this.control, new SchemaGate(queries, UPLOADS_SCHEMA_VERSION))
    const gate = new SchemaGate(queries, MOVES_SCHEMA_VERSION)
    this.moves = new SqliteMoves(this.#queue, new MovePages(queries, gate), gate)
  }

  clusterId(): Promise<string> {
    return this.#catalog.clusterId()
  }

  async ping(timeoutMs: number): Promise<void> {
    if (this.#closed) throw new DatabaseUnavailableError('the database is closed')
    try {
      await untilFree(() => this.#connection.exec('SELECT count(*) FROM meta'), timeoutMs)
    } catch (error) {
      throw new DatabaseUnavailableError('SQLite does not answer', { cause: error })
    }
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close())
  }

  async #close(): Promise<void> {
    await this.#reader.close(this.#timeoutMs)
    await this.#queue.close()
    this.#connection.close()
  }

  async #executeElsewhere(sql: string, parameters: readonly unknown[]): Promise<ExecuteResult> {
    let answer: unknown
    try {
      answer = await this.#reader.call([sql, parameters], this.#timeoutMs)
    } catch (cause) {
      if (cause instanceof ThreadLostError) throw new DatabaseUnavailableError(cause.message, { cause })
      throw cause
    }
    if (isThreadFault(answer)) throw errorOfFault(answer)
    return answer as ExecuteResult
  }
}

/** @throws {SchemaVersionError} there is no file, or not of a schema that this program knows. */
export async function openSqliteDatabase(path: string, options: OpenOptions): Promise<Database> {
  if (!existsSync(path)) throw new SchemaVersionError(`there is no ${path}: run \`tributary db migrate\``)
  const timeoutMs = options.queryTimeoutMs ?? QUERY_TIMEOUT_MS
  let connection: DatabaseSync | undefined
  try {
    const opened = (connection = await untilFree(() => openReader(path), timeoutMs))
    const queries = directQueries(opened, timeoutMs)
    await checkSchemaVersion(queries)
    if (!options.duringRestore) await refuseRestoring(queries)
    return new SqliteDatabase(path, opened, options)
  } catch (error) {
    connection?.close()
    throw isBusy(error)
      ? new DatabaseUnavailableError(`${path} is busy`, { cause: error })
      : sqliteErrorOf(error)
  }
}

/** Makes the file where there is none; its folder must be there. */
export async function migrateSqliteDatabase(
  path: string,
  clusterId?: string
): Promise<{ from: number; to: number }> {
  let connection: DatabaseSync | undefined
  try {
    const opened = (connection = await untilFree(() => openForMigration(path), MIGRATION_TIMEOUT_MS))
    const queries = directQueries(opened, MIGRATION_TIMEOUT_MS)
    const versions = await migrate(queries, 'sqlite')
    if (clusterId !== undefined) await adoptCluster(queries, clusterId)
    await syncFolder(dirname(path))
    return versions
  } catch (error) {
    throw sqliteErrorOf(error)
  } finally {
    connection?.close()
  }
}

/** A read transaction sees the file as it was at its first read; writers go on beside it. */
export async function openSqliteSnapshot(path: string): Promise<IndexSnapshot> {
  if (!existsSync(path)) throw new SchemaVersionError(`there is no ${path}`)
  let connection: DatabaseSync | undefined
  try {
    const opened = (connection = await untilFree(() => openReader(path), QUERY_TIMEOUT_MS))
    const queries = directQueries(opened, QUERY_TIMEOUT_MS)
    opened.exec('BEGIN')
    await checkSchemaVersion(queries)
    await refuseRestoring(queries)
    return new IndexSnapshot('sqlite', queries, async () => opened.close())
  } catch (error) {
    connection?.close()
    throw sqliteErrorOf(error)
  }
}

export async function openSqliteRestoreTarget(path: string): Promise<RestoreTarget> {
  const opened = await untilFree(() => openForMigration(path), MIGRATION_TIMEOUT_MS)
  return new RestoreTarget('sqlite', directQueries(opened, MIGRATION_TIMEOUT_MS), async () => opened.close())
}

function directQueries(connection: DatabaseSync, timeoutMs: number): Kysely<Schema> {
  const dialect = new NodeSqliteDialect((sql, parameters) =>
    untilFree(() => executeSync(connection, sql, parameters), timeoutMs)
  )
  return new Kysely<Schema>({ dialect })
}

/** A new file's name is durable only once its folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
