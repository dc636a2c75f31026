import { Kysely } from 'kysely'
import { Catalog } from './catalog.ts'
import { CommitOutcomeUnknownError, DatabaseUnavailableError } from './errors.ts'
import { FilePages } from './file-pages.ts'
import { mysqlAddressOf } from './mysql-address.ts'
import { MysqlCounters } from './mysql-counters.ts'
import { PooledMysqlDialect } from './mysql-dialect.ts'
import { MysqlFileIndex } from './mysql-file-index.ts'
import { MysqlLeases } from './mysql-leases.ts'
import { MysqlMoves } from './mysql-moves.ts'
import { MysqlPool } from './mysql-pool.ts'
import { MysqlRoutes } from './mysql-routes.ts'
import { mysqlTimeoutsOf, type MysqlTimeouts } from './mysql-timeouts.ts'
import { MovePages } from './move-pages.ts'
import { SchemaGate } from './schema-gate.ts'
import { adoptCluster, checkSchemaVersion, migrate } from './schema-version.ts'
import type { Counters } from './counters.ts'
import type { Database, OpenOptions } from './database.ts'
import type { Execute } from './execute-driver.ts'
import type { Leases } from './leases.ts'
import type { Moves } from './moves.ts'
import type { MysqlValue } from './mysql-connection.ts'
import type { Routes } from './routes.ts'
import { MOVES_SCHEMA_VERSION, type Schema } from './schema.ts'

export const POOL_SIZE_DEFAULT = 6
const MIGRATION_TIMEOUT_MS = 60_000

/** A MySQL or MariaDB server, or a Galera cluster of them. */
export class MysqlDatabase implements Database {
  readonly engine = 'mysql'
  readonly files: MysqlFileIndex
  readonly routes: Routes
  readonly counters: Counters
  readonly leases: Leases
  readonly moves: Moves
  readonly #pool: MysqlPool
  readonly #catalog: Catalog

  constructor(pool: MysqlPool, timeouts: MysqlTimeouts) {
    this.#pool = pool
    const dialect = new PooledMysqlDialect(readerOf(pool, timeouts.writeMs))
    const queries = new Kysely<Schema>({ dialect })
    this.#catalog = new Catalog(queries)
    this.files = new MysqlFileIndex(pool, new FilePages(queries), timeouts)
    this.routes = new MysqlRoutes(pool, this.#catalog, timeouts)
    this.counters = new MysqlCounters(pool, timeouts)
    this.leases = new MysqlLeases(pool, timeouts)
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
    await checkSchemaVersion(new Kysely({ dialect }))
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
  const execute: Execute = async (sql, parameters) => {
    const result = await pool.run(connection => connection.change(sql, parameters as MysqlValue[]), {
      timeoutMs: Math.max(timeoutMs, MIGRATION_TIMEOUT_MS),
      isWrite: true
    })
    return Array.isArray(result) ? { rows: result, changes: 0 } : { rows: [], changes: result.affectedRows }
  }
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
