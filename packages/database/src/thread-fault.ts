import { CommitOutcomeUnknownError, DatabaseUnavailableError, ReadOnlyDatabaseError } from './errors.ts'

/** An error on its way between threads: structured clones lose the class and the code. */
export interface ThreadFault {
  fault: 'unavailable' | 'read-only' | 'outcome-unknown' | 'other'
  text: string
}

export function threadFaultOf(error: unknown): ThreadFault {
  const text = error instanceof Error ? error.message : String(error)
  if (error instanceof DatabaseUnavailableError) return { fault: 'unavailable', text }
  if (error instanceof ReadOnlyDatabaseError) return { fault: 'read-only', text }
  if (error instanceof CommitOutcomeUnknownError) return { fault: 'outcome-unknown', text }
  return { fault: 'other', text }
}

export function isThreadFault(value: unknown): value is ThreadFault {
  return typeof value === 'object' && value !== null && 'fault' in value
}

export function errorOfFault({ fault, text }: ThreadFault): Error {
  if (fault === 'unavailable') return new DatabaseUnavailableError(text)
  if (fault === 'read-only') return new ReadOnlyDatabaseError(text)
  if (fault === 'outcome-unknown') return new CommitOutcomeUnknownError(text)
  return new Error(text)
}
