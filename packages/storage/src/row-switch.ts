/** Switching the row of a file from the group that it leaves to the store that has a copy now. */
import type { FileIndex, FileRow, Move, Moves } from '@tributary/database'
import { formatFileKey, OutcomeUnknownError, RejectedError } from '@tributary/protocol'
import { databaseError, type EntryOutcome } from './index-entry.ts'

/** A file of another group that is being stored here. */
export interface AdoptedFile {
  /** As it was before; its generation, times and labels stay. */
  row: FileRow
  moves: Moves
}

/**
 * Notes the move and switches the row; never rejects. `refused` means for certain that the row is not switched, and will
 * not be: the copy may go.
 */
export async function switchRow(
  files: FileIndex,
  { row: from, moves }: AdoptedFile,
  to: FileRow
): Promise<EntryOutcome> {
  const move = moveOf(from, to)
  const stored = async (): Promise<EntryOutcome> => {
    let now: FileRow | undefined
    try {
      now = await files.find(to, { causal: true })
    } catch {
      // It is switched; what it was when it was fetched has to do.
    }
    // It may have come into the trash, or out of it, meanwhile.
    return { kind: 'stored', row: now && isAt(now, to) ? now : to }
  }
  try {
    await moves.note(move)
  } catch (error) {
    // Noted or not, nobody has asked for the switch.
    return { kind: 'refused', error: databaseError(error) }
  }
  try {
    if (await files.move(move)) return await stored()
  } catch (error) {
    return settle(files, moves, move, to, error)
  }
  return settle(files, moves, move, to, undefined)
}

export function moveOf(from: FileRow, to: FileRow): Move {
  const { application, user, file, generation, group, store, path } = from
  return {
    application,
    user,
    file,
    generation,
    group,
    store,
    path,
    toGroup: to.group,
    toStore: to.store,
    toPath: to.path
  }
}

/** With the note taken back no switch can come any more: what the index then says is what it is. */
async function settle(
  files: FileIndex,
  moves: Moves,
  move: Move,
  to: FileRow,
  cause: unknown
): Promise<EntryOutcome> {
  let found: FileRow | undefined
  try {
    await moves.withdraw(move.toStore, move.toPath)
    found = await files.find(to, { causal: true })
  } catch {
    const text = `the index did not say whether ${formatFileKey(to)} was moved`
    return { kind: 'unknown', error: new OutcomeUnknownError(text, { cause }) }
  }
  if (found && isAt(found, to)) return { kind: 'stored', row: found }
  if (cause !== undefined) return { kind: 'refused', error: databaseError(cause) }
  return { kind: 'refused', error: whyNot(found, to) }
}

function whyNot(found: FileRow | undefined, to: FileRow): RejectedError {
  const name = formatFileKey(to)
  if (!found || found.state === 'deleting')
    return new RejectedError('FILE_NOT_FOUND', `${name} was deleted meanwhile`)
  if (found.generation !== to.generation) {
    return new RejectedError('GENERATION_MISMATCH', `${name} was deleted and uploaded anew meanwhile`)
  }
  return new RejectedError('WRONG_GROUP', `${name} was moved to group ${found.group} by somebody else`)
}

/** The row is that of this very copy. */
export function isAt(row: FileRow, place: { generation: string; store: string; path: string }): boolean {
  return row.generation === place.generation && row.store === place.store && row.path === place.path
}
