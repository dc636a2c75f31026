import { invariant } from './invariant.ts'
import { migrateSqliteDatabase, openSqliteDatabase } from './sqlite-database.ts'
import type { Database, OpenOptions } from './database.ts'

const SQLITE = /^sqlite:(\/\/)?(?<path>\/.+)$/

/**
 * Opens a database that has been migrated.
 *
 * @param urls `sqlite:/absolute/path/index.db` or `mysql://user:password@host:port/database`; of a list
 *             (MySQL only) each address is tried in turn.
 * @throws {DatabaseUnavailableError} nothing answers.
 * @throws {SchemaVersionError} not migrated, or newer than this program.
 * @throws {ReadOnlyDatabaseError} it takes no writes.
 */
export async function openDatabase(
  urls: string | readonly string[],
  options: OpenOptions = {}
): Promise<Database> {
  return openSqliteDatabase(sqlitePathOf(urls)!, options)
}

/** Brings the schema up to date; safe when several run it at once. Answers the schema's versions. */
export async function migrateDatabase(
  urls: string | readonly string[],
  _options: OpenOptions = {}
): Promise<{ from: number; to: number }> {
  return migrateSqliteDatabase(sqlitePathOf(urls)!)
}

/** The path of a SQLite address; undefined where the addresses are MySQL's. */
function sqlitePathOf(urls: string | readonly string[]): string | undefined {
  const list = typeof urls === 'string' ? [urls] : urls
  const path = SQLITE.exec(list[0] ?? '')?.groups?.['path']
  invariant(path === undefined || list.length === 1, 'SQLite is one file, not a list')
  return path
}
