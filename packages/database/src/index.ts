export type { CacheOptions, Database, DatabaseEvent, OpenOptions } from './database.ts'
export {
  INSERT_ROWS_MAX,
  PAGE_ROWS_MAX,
  type FileIndex,
  type FileKey,
  type FileRow,
  type FileState,
  type FindOptions,
  type InsertOptions,
  type InsertOutcome
} from './file-index.ts'
export type { GroupRow, Routes } from './routes.ts'
export { COUNTER_KEY_BYTES_MAX, RESERVE_COUNT_MAX, type Counters } from './counters.ts'
export type { Leases } from './leases.ts'
export {
  CommitOutcomeUnknownError,
  DatabaseUnavailableError,
  ReadOnlyDatabaseError,
  SchemaVersionError
} from './errors.ts'
export { migrateDatabase, openDatabase } from './open-database.ts'
export { checkRedisUrl } from './redis-address.ts'
export { wireErrorOf } from './wire-error.ts'
