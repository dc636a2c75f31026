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
  type InsertOutcome,
  type Move
} from './file-index.ts'
export { MOVES_PAGE_MAX, type Moves } from './moves.ts'
export { REGION_BYTES_MAX, type GroupRow, type Routes, type UserKey } from './routes.ts'
export { COUNTER_KEY_BYTES_MAX, RESERVE_COUNT_MAX, type Counters } from './counters.ts'
export type { Leases } from './leases.ts'
export { insertNew, statement, type ChangeOutcome, type Control, type ControlStatement } from './control.ts'
export type { AccessIndex } from './access-index.ts'
export type { RulesRow, SigningKeyRow, TokenRow } from './access.ts'
export type { AuditRow } from './audit.ts'
export type { PlaySumRow } from './plays.ts'
export type { ShareRow } from './shares.ts'
export type { DeliveryRow, WebhookRow } from './webhooks.ts'
export { JOB_ATTEMPTS_MAX, type JobsQuestion, type Jobs, type NewJob } from './jobs.ts'
export type { Job } from './job-row.ts'
export { kindOf, type FilmFindings, type GoneFilm, type Library } from './library.ts'
export {
  UPLOAD_METADATA_BYTES_MAX,
  type OpenUploads,
  type UploadKind,
  type UploadLayout,
  type UploadPiece,
  type UploadRow,
  type Uploads
} from './uploads.ts'
export type { LibraryFilm, LibraryPage, LibraryQuestion } from './library-pages.ts'
export {
  CommitOutcomeUnknownError,
  DatabaseUnavailableError,
  ReadOnlyDatabaseError,
  RestoreRefusedError,
  SchemaVersionError
} from './errors.ts'
export { inspectDatabase, inspectRedis, type DatabaseInspection, type RedisInspection } from './inspection.ts'
export { checkRedisUrl } from './redis-address.ts'
export { migrateDatabase, openDatabase, openRestoreTarget, openSnapshot } from './open-database.ts'
export type { CounterValue, FilmTitle, IndexSnapshot, UserRoute } from './index-snapshot.ts'
export type { KeptRecord } from './kept-tables.ts'
export type { RestoreTarget } from './restore-target.ts'
export { wireErrorOf } from './wire-error.ts'
