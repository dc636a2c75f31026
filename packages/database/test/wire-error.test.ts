import { equal, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { OutcomeUnknownError, RejectedError, UnavailableError } from '@tributary/protocol'
import {
  CommitOutcomeUnknownError,
  DatabaseUnavailableError,
  ReadOnlyDatabaseError,
  wireErrorOf
} from '../src/index.ts'

describe('what a failure of the database means on the wire', () => {
  it('is that it does not answer, where nothing was written', () => {
    for (const cause of [
      new DatabaseUnavailableError('mysql 10.0.0.1'),
      new ReadOnlyDatabaseError('replica')
    ]) {
      for (const resend of ['safe', 'ask-first'] as const) {
        const error = wireErrorOf(cause, resend)
        ok(error instanceof UnavailableError)
        equal(error.code, 'DATABASE_UNAVAILABLE')
        equal(error.cause, cause)
        ok(!error.message.includes(cause.message))
      }
    }
  })

  it('is unknown after a commit that may have been made, but where asking again is safe', () => {
    const cause = new CommitOutcomeUnknownError('lost')
    const unknown = wireErrorOf(cause, 'ask-first')
    ok(unknown instanceof OutcomeUnknownError)
    equal(unknown.cause, cause)
    const again = wireErrorOf(cause, 'safe')
    ok(again instanceof UnavailableError)
    equal(again.code, 'DATABASE_UNAVAILABLE')
  })

  it('leaves every other error as it is', () => {
    for (const error of [new TypeError('ours'), new RejectedError('FILE_EXISTS', 'taken'), undefined]) {
      equal(wireErrorOf(error, 'safe'), error)
      equal(wireErrorOf(error, 'ask-first'), error)
    }
  })
})
