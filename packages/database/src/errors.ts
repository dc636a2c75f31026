// Plain errors with a code: the servers map them to their own. No message holds an address with a password.

/** The database cannot be reached or does not answer in time. Nothing is known to have been written. */
export class DatabaseUnavailableError extends Error {
  readonly code = 'DATABASE_UNAVAILABLE'
  override readonly name = 'DatabaseUnavailableError'
}

/** The connection was lost while a commit was under way, and a fresh read could not settle it. */
export class CommitOutcomeUnknownError extends Error {
  readonly code = 'COMMIT_OUTCOME_UNKNOWN'
  override readonly name = 'CommitOutcomeUnknownError'
}

/** The schema is older or newer than this program can work with. */
export class SchemaVersionError extends Error {
  readonly code = 'SCHEMA_VERSION'
  override readonly name = 'SchemaVersionError'
}

/** The database takes no writes: a read-only replica, or a file that may not be written. */
export class ReadOnlyDatabaseError extends Error {
  readonly code = 'DATABASE_READ_ONLY'
  override readonly name = 'ReadOnlyDatabaseError'
}

/** An index that a backup is not put into, or that nobody may use before a restore has come to its end. */
export class RestoreRefusedError extends Error {
  readonly code = 'RESTORE_REFUSED'
  override readonly name = 'RestoreRefusedError'
}
