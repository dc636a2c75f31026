import { OutcomeUnknownError, UnavailableError } from '@tributary/protocol'
import { CommitOutcomeUnknownError, DatabaseUnavailableError, ReadOnlyDatabaseError } from './errors.ts'

/**
 * What a caller on the wire is told of a failing database; anything else is returned as it is.
 *
 * @param resend  whether the caller may simply ask again after a commit of unknown outcome: `safe`, it counts as not
 *                made; `ask-first`, the caller has to learn that it is unknown.
 */
export function wireErrorOf(error: unknown, resend: 'safe' | 'ask-first'): unknown {
  if (error instanceof CommitOutcomeUnknownError && resend === 'ask-first') {
    return new OutcomeUnknownError('the database did not say whether it was done', { cause: error })
  }
  const isExpected =
    error instanceof DatabaseUnavailableError ||
    error instanceof CommitOutcomeUnknownError ||
    error instanceof ReadOnlyDatabaseError
  if (!isExpected) return error
  return new UnavailableError('DATABASE_UNAVAILABLE', 'the database does not answer', { cause: error })
}
