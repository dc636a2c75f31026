import { Kysely } from 'kysely'
import { Catalog } from './catalog.ts'
import { CommitOutcomeUnknownError, DatabaseUnavailableError } from './errors.ts'
import { FilePages } from './file-pages.ts'
import { mysqlAddressOf } from './mysql-address.ts'
import { IndexSnapshot } from './index-snapshot.ts'
import { MysqlConnection, type MysqlValue } from './mysql-connection.ts'
import { MysqlControl } from './mysql-control.ts'
import { MysqlCounters } from './mysql-counters.ts'
import { PooledMysqlDialect } from './mysql-dialect.ts'
import { ConnectionLostError } from './mysql-error.ts'
import { MysqlFileIndex } from './mysql-file-index.ts'
import { MysqlLeases } from './mysql-leases.ts'
import { MysqlMoves } from './mysql-moves.ts'
import { MysqlPool } from './mysql-pool.ts'
import { MysqlRoutes } from './mysql-routes.ts'
import { mysqlTimeoutsOf, type MysqlTimeouts } from './mysql-timeouts.ts'
import { AccessIndex } from './access-index.ts'
import { Jobs } from './jobs.ts'
import { Library } from './library.ts'
import { Uploads } from './uploads.ts'
import { MovePages } from './move-pages.ts'
import { refuseRestoring } from './restore-mark.ts'
import { RestoreTarget } from './restore-target.ts'
import { SchemaGate } from './schema-gate.ts'
import { adoptCluster, checkSchemaVersion, migrate } from './schema-version.ts'
import type { Control } from './control.ts'
import { TrashSwitch } from './trash-switch.ts'
import type { Counters } from './counters.ts'
import type { Database, OpenOptions } from './database.ts'
import type { Execute } from './execute-driver.ts'
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

export const POOL_SIZE_DEFAULT = 6
const MIGRATION_TIMEOUT_MS = 60_000
/** Of one page. */
const SNAPSHOT_TIMEOUT_MS = 60_000

/** A MySQL or MariaDB server, or a Galera cluster of them. */
export class MysqlDatabase implements Database {
  readonly engine = 'mysql'
  readonly files: MysqlFileIndex
  readonly routes: Routes
  readonly counters: Counters
  readonly leases: Leases
  readonly moves: Moves
  readonly control: Control
  readonly library: Library
  readonly uploads: Uploads
  readonly access: AccessIndex
  readonly jobs: Jobs
  readonly #pool: MysqlPool
  readonly #catalog: Catalog

  constructor(pool: MysqlPool, timeouts: MysqlTimeouts) {
    this.#pool = pool
    const dialect = new PooledMysqlDialect(readerOf(pool, timeouts.writeMs))
    const queries = new Kysely<Schema>({ dialect })
    this.#catalog = new Catalog(queries)
    this.control = new MysqlControl(pool, queries, timeouts)
    const libraryGate = new SchemaGate(queries, LIBRARY_SCHEMA_VERSION)
    this.access = new AccessIndex(this.control, new SchemaGate(queries, ACCESS_SCHEMA_VERSION))
    const pages = new FilePages(queries)
    this.library = new Library(this.control, libraryGate, pages)
    this.jobs = new Jobs(this.control, new SchemaGate(queries, JOBS_SCHEMA_VERSION))
    this.files = new MysqlFileIndex(pool, pages, new TrashSwitch(this.control, libraryGate), timeouts)
    this.routes = new MysqlRoutes(pool, this.#catalog, timeouts)
    this.counters = new MysqlCounters(pool, timeouts)
    this.leases = new MysqlLeases(pool, timeouts)
    this.uploads = new Uploads(this.control, new SchemaGate(queries, UPLOADS_SCHEMA_VERSION))
    const gate = new SchemaGate(queries, MOVES_SCHEMA_VERSION)
    this.moves = new MysqlMoves(pool, new MovePages(queries, gate), gate, timeouts)
  }

  clusterId(): Promise<string> {
    return this.#catalog.clusterId()
  }

  async ping(timeoutMs: number): Promise<void> {
    await this.#pool.run(connection => connection.command('SELECT 1'), { timeoutMs, isWrite: false })
  }

  async close(): Promise<void> {
    await this.files.close()
    await this.#pool.close()
  }
}

/** Pages and sums may take as long as a write, and are read causally: what sweeps and checks must not overlook a row. */
function readerOf(pool: MysqlPool, timeoutMs: number): Execute {
  return async (sql, parameters) => {
    const values = parameters as MysqlValue[]
    const rows = await pool.run(connection => connection.selectCausally(sql, values), {
      timeoutMs,
      isWrite: false
    })
    return { rows, changes: 0 }
  }
}

/** For what is done by one, statement by statement: schema, and an index that is filled. */
function writerOf(pool: MysqlPool, timeoutMs: number): Execute {
  return async (sql, parameters) => {
    const result = await pool.run(connection => connection.change(sql, parameters as MysqlValue[]), {
      timeoutMs,
      isWrite: true
    })
    return Array.isArray(result) ? { rows: result, changes: 0 } : { rows: [], changes: result.affectedRows }
  }
}

function poolOf(urls: readonly string[], options: OpenOptions): MysqlPool {
  return new MysqlPool({
    addresses: urls.map(mysqlAddressOf),
    size: options.poolSize ?? POOL_SIZE_DEFAULT,
    connectTimeoutMs: mysqlTimeoutsOf(options).connectMs,
    onEvent: options.onEvent ?? (() => {})
  })
}

export async function openMysqlDatabase(urls: readonly string[], options: OpenOptions): Promise<Database> {
  const pool = poolOf(urls, options)
  const timeouts = mysqlTimeoutsOf(options)
  // Each address gets its chance, and the one that takes us the time to answer.
  const openMs = timeouts.connectMs * urls.length + timeouts.readMs
  try {
    const dialect = new PooledMysqlDialect(readerOf(pool, openMs))
    const queries = new Kysely<Schema>({ dialect })
    await checkSchemaVersion(queries)
    if (!options.duringRestore) await refuseRestoring(queries)
  } catch (error) {
    await pool.close()
    throw error
  }
  return new MysqlDatabase(pool, timeouts)
}

export async function migrateMysqlDatabase(
  urls: readonly string[],
  options: OpenOptions,
  clusterId?: string
): Promise<{ from: number; to: number }> {
  const pool = poolOf(urls, { ...options, poolSize: 1 })
  const timeoutMs = options.connectTimeoutMs ?? MIGRATION_TIMEOUT_MS
  const execute = writerOf(pool, Math.max(timeoutMs, MIGRATION_TIMEOUT_MS))
  try {
    await pool.run(connection => connection.command('SELECT 1'), { timeoutMs, isWrite: false })
    const queries = new Kysely<Schema>({ dialect: new PooledMysqlDialect(execute) })
    const versions = await migrate(queries, 'mysql')
    if (clusterId !== undefined) await adoptCluster(queries, clusterId)
    return versions
  } catch (error) {
    if (!(error instanceof CommitOutcomeUnknownError)) throw error
    throw new DatabaseUnavailableError(`${error.message}; migrating again is safe`, { cause: error })
  } finally {
    await pool.close()
  }
}

/** One transaction that sees one moment, on one connection: lost, it cannot be had again. */
export async function openMysqlSnapshot(
  urls: readonly string[],
  options: OpenOptions
): Promise<IndexSnapshot> {
  const connection = await openOne(urls, mysqlTimeoutsOf(options).connectMs)
  const execute: Execute = async (sql, parameters) => {
    const late = (): void => connection.destroy(new Error(`no answer in ${SNAPSHOT_TIMEOUT_MS} ms`))
    const timer = setTimeout(late, SNAPSHOT_TIMEOUT_MS)
    try {
      return { rows: await connection.select(sql, parameters as MysqlValue[]), changes: 0 }
    } catch (cause) {
      if (!(cause instanceof ConnectionLostError)) throw cause
      throw new DatabaseUnavailableError(cause.message, { cause })
    } finally {
      clearTimeout(timer)
    }
  }
  try {
    await connection.command('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ')
    // After everything that the cluster has acknowledged.
    if (connection.isGalera) await connection.command('SET SESSION wsrep_sync_wait=1')
    await connection.command('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY')
    if (connection.isGalera) await connection.command('SET SESSION wsrep_sync_wait=0')
    const queries = new Kysely<Schema>({ dialect: new PooledMysqlDialect(execute) })
    await checkSchemaVersion(queries)
    await refuseRestoring(queries)
    return new IndexSnapshot('mysql', queries, async () => connection.end())
  } catch (error) {
    connection.end()
    throw error
  }
}

export async function openMysqlRestoreTarget(
  urls: readonly string[],
  options: OpenOptions
): Promise<RestoreTarget> {
  const pool = poolOf(urls, { ...options, poolSize: 1 })
  const dialect = new PooledMysqlDialect(writerOf(pool, MIGRATION_TIMEOUT_MS))
  return new RestoreTarget('mysql', new Kysely<Schema>({ dialect }), () => pool.close())
}

async function openOne(urls: readonly string[], timeoutMs: number): Promise<MysqlConnection> {
  let last: unknown
  for (const address of urls.map(mysqlAddressOf)) {
    const connection = new MysqlConnection(address)
    const timer = setTimeout(() => connection.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs)
    try {
      await connection.open()
      return connection
    } catch (error) {
      connection.destroy(error as Error)
      last = error
    } finally {
      clearTimeout(timer)
    }
  }
  throw new DatabaseUnavailableError((last as Error).message, { cause: last })
}
