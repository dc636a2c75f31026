import { invariant } from './invariant.ts'
import type { Database, OpenOptions } from './database.ts'
import type { IndexSnapshot } from './index-snapshot.ts'
import type { RestoreTarget } from './restore-target.ts'

// Engines are loaded when they are asked for: a driver that is not used costs a process tens of megabytes and a
// quarter of a second of its start.
const sqlite = () => import('./sqlite-database.ts')
const mysql = () => import('./mysql-database.ts')

const SQLITE = /^sqlite:(\/\/)?(?<path>\/.+)$/

/**
 * Opens a database that has been migrated.
 *
 * @param urls `sqlite:/absolute/path/index.db` or `mysql://user:password@host:port/database`; of a list
 *             (MySQL only) each address is tried in turn.
 * @throws {DatabaseUnavailableError} nothing answers.
 * @throws {SchemaVersionError} not migrated, or newer than this program.
 * @throws {ReadOnlyDatabaseError} it takes no writes.
 * @throws {RestoreRefusedError} a backup is being put into it.
 */
export async function openDatabase(
  urls: string | readonly string[],
  options: OpenOptions = {}
): Promise<Database> {
  const path = sqlitePathOf(urls)
  const onEvent = options.onEvent ?? (() => {})
  if (path !== undefined) {
    // A look-up in the file takes 10 µs, one in Redis 25 and a promise.
    if (options.cache) onEvent({ level: 'info', text: 'cache: not used, SQLite is faster' })
    return (await sqlite()).openSqliteDatabase(path, options)
  }
  const database = await (await mysql()).openMysqlDatabase(listOf(urls), options)
  if (!options.cache) return database
  try {
    const clusterId = await database.clusterId()
    const [{ CachedDatabase }, { RedisCache }] = await Promise.all([
      import('./cached-database.ts'),
      import('./redis-cache.ts')
    ])
    return new CachedDatabase(database, new RedisCache(options.cache.redisUrl, onEvent), clusterId)
  } catch (error) {
    await database.close()
    throw error
  }
}

export interface MigrateOptions extends OpenOptions {
  /** Makes an index without rows that of this cluster; see adoptCluster. */
  clusterId?: string
}

/** Brings the schema up to date; safe when several run it at once. Answers the schema's versions. */
export async function migrateDatabase(
  urls: string | readonly string[],
  options: MigrateOptions = {}
): Promise<{ from: number; to: number }> {
  const path = sqlitePathOf(urls)
  return path === undefined
    ? (await mysql()).migrateMysqlDatabase(listOf(urls), options, options.clusterId)
    : (await sqlite()).migrateSqliteDatabase(path, options.clusterId)
}

/**
 * The whole index as it is now, while servers go on. Close it soon: until then the database keeps what changes.
 *
 * @throws {DatabaseUnavailableError | SchemaVersionError | RestoreRefusedError}
 */
export async function openSnapshot(
  urls: string | readonly string[],
  options: OpenOptions = {}
): Promise<IndexSnapshot> {
  const path = sqlitePathOf(urls)
  return path === undefined
    ? (await mysql()).openMysqlSnapshot(listOf(urls), options)
    : (await sqlite()).openSqliteSnapshot(path)
}

/**
 * Brings the schema up to date and makes the index that of `clusterId`, to be filled from a backup.
 *
 * @throws {SchemaVersionError} it holds another cluster's files, or is newer than this program.
 */
export async function openRestoreTarget(
  urls: string | readonly string[],
  clusterId: string,
  options: OpenOptions = {}
): Promise<RestoreTarget> {
  await migrateDatabase(urls, { ...options, clusterId })
  const path = sqlitePathOf(urls)
  return path === undefined
    ? (await mysql()).openMysqlRestoreTarget(listOf(urls), options)
    : (await sqlite()).openSqliteRestoreTarget(path)
}

/** The path of a SQLite address; undefined where the addresses are MySQL's. */
function sqlitePathOf(urls: string | readonly string[]): string | undefined {
  const list = listOf(urls)
  invariant(list.length > 0, 'a database has an address')
  const path = SQLITE.exec(list[0] ?? '')?.groups?.['path']
  invariant(path === undefined || list.length === 1, 'SQLite is one file, not a list')
  return path
}

function listOf(urls: string | readonly string[]): readonly string[] {
  return typeof urls === 'string' ? [urls] : urls
}
