import type { Database, OpenOptions } from './database.ts'
import { DatabaseUnavailableError } from './errors.ts'

/**
 * Opens a database that has been migrated.
 *
 * @param urls `sqlite:/absolute/path/index.db` or `mysql://user:password@host:port/database`; of a list
 *             (MySQL only) each address is tried in turn.
 * @throws {DatabaseUnavailableError} nothing answers.
 * @throws {SchemaVersionError} not migrated, or newer than this program.
 */
export async function openDatabase(
  urls: string | readonly string[],
  options: OpenOptions = {}
): Promise<Database> {
  void options
  throw new DatabaseUnavailableError(`no engine for ${typeof urls}`)
}

/** Brings the schema up to date; safe when several run it at once. Returns versions (migrations applied). */
export async function migrateDatabase(
  urls: string | readonly string[],
  options: OpenOptions = {}
): Promise<{ from: number; to: number }> {
  void options
  throw new DatabaseUnavailableError(`no engine for ${typeof urls}`)
}
