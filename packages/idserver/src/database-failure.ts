import {
  CommitOutcomeUnknownError,
  DatabaseUnavailableError,
  ReadOnlyDatabaseError
} from '@tributary/database'
import { UnavailableError } from '@tributary/protocol'

/**
 * What a caller on the wire is told of a failing database; anything else is returned as it is. A reservation whose
 * outcome is unknown loses ids at worst, so it counts as not made.
 */
export function wireErrorOf(error: unknown): unknown {
  const isExpected =
    error instanceof DatabaseUnavailableError ||
    error instanceof CommitOutcomeUnknownError ||
    error instanceof ReadOnlyDatabaseError
  if (!isExpected) return error
  return new UnavailableError('DATABASE_UNAVAILABLE', 'the database does not answer', { cause: error })
}
