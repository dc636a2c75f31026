import {
  CommitOutcomeUnknownError,
  DatabaseUnavailableError,
  ReadOnlyDatabaseError
} from '@tributary/database'
import { UnavailableError } from '@tributary/protocol'

/**
 * What a caller on the wire is told of a failing database; anything else is returned as it is. A user whose tie to a
 * group has an unknown outcome finds it made, or makes it, when asking again.
 */
export function wireErrorOf(error: unknown): unknown {
  const isExpected =
    error instanceof DatabaseUnavailableError ||
    error instanceof CommitOutcomeUnknownError ||
    error instanceof ReadOnlyDatabaseError
  if (!isExpected) return error
  return new UnavailableError('DATABASE_UNAVAILABLE', 'the database does not answer', { cause: error })
}

/** The database cannot be asked right now, so caches may answer in its place. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof UnavailableError && error.code === 'DATABASE_UNAVAILABLE'
}
