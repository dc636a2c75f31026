/** Rows of uploads going into the index, and what the outcome means to the uploader. */
import { CommitOutcomeUnknownError, wireErrorOf, type FileIndex, type FileRow } from '@tributary/database'
import {
  formatFileKey,
  OutcomeUnknownError,
  RejectedError,
  TributaryError,
  UnavailableError
} from '@tributary/protocol'

/** `stored`: the row is there. `repeated`: this very upload (same nonce) had been stored before, as `row`. */
export type EntryOutcome =
  | { kind: 'stored'; row: FileRow }
  | { kind: 'repeated'; row: FileRow }
  /** Another file has the name; ours is not in the index, for certain. */
  | { kind: 'refused'; error: TributaryError }
  /** It may or may not be in the index: its file must stay. */
  | { kind: 'unknown'; error: TributaryError }

/**
 * Enters rows in one transaction; never rejects. One outcome per row, in order.
 *
 * @param refusal Why none may be entered any more.
 */
export async function enterRows(
  files: FileIndex,
  rows: readonly FileRow[],
  durable: boolean,
  refusal?: TributaryError
): Promise<EntryOutcome[]> {
  if (refusal) return rows.map(() => ({ kind: 'refused', error: refusal }))
  try {
    const outcomes = await files.insert(rows, { durable })
    return outcomes.map((outcome, at) =>
      outcome.inserted ? { kind: 'stored', row: rows[at]! } : taken(rows[at]!, outcome.existing)
    )
  } catch (error) {
    if (error instanceof CommitOutcomeUnknownError)
      return Promise.all(rows.map(row => settle(files, row, error)))
    const failure = databaseError(error)
    return rows.map(() => ({ kind: 'refused', error: failure }))
  }
}

/** What a failure of the database means to the peer whose request needed it. */
export function databaseError(error: unknown): TributaryError {
  const known = wireErrorOf(error, 'ask-first')
  if (known instanceof TributaryError) return known
  return new UnavailableError('INTERNAL', 'the index failed', { cause: error })
}

function taken(row: FileRow, existing: FileRow | undefined): EntryOutcome {
  if (existing?.nonce === row.nonce && existing.state === 'stored' && existing.sizeBytes === row.sizeBytes) {
    return { kind: 'repeated', row: existing }
  }
  return { kind: 'refused', error: fileExists(row) }
}

export function fileExists(key: { application: string; user: string; file: string }): RejectedError {
  return new RejectedError('FILE_EXISTS', `file exists already: ${formatFileKey(key)}`)
}

async function settle(files: FileIndex, row: FileRow, cause: unknown): Promise<EntryOutcome> {
  try {
    const found = await files.find(row, { causal: true })
    if (found?.generation === row.generation) return { kind: 'stored', row }
    if (found) return taken(row, found)
    // Not there now, but a commit still under way could bring it: only a row of ours can be trusted.
  } catch {
    // said below
  }
  return {
    kind: 'unknown',
    error: new OutcomeUnknownError('the index did not say whether the upload was recorded', { cause })
  }
}
