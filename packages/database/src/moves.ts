import { assertFileKey, assertGroup } from './file-row.ts'
import { invariant } from './invariant.ts'
import type { Move } from './file-index.ts'

/** Moves of one page at most. */
export const MOVES_PAGE_MAX = 1_000

/**
 * Files on their way between groups, and old copies that are still to go. A note comes before the switch (FileIndex.move)
 * and stays until the old copy is gone, so that a crash leaves no copy that nobody knows of.
 *
 * Every method rejects with SchemaVersionError on a database of schema 1, and as FileIndex does otherwise.
 */
export interface Moves {
  /**
   * Notes that the file is about to get its new place. An earlier note of the same old place is replaced, and with it
   * the switch that it would have allowed; one whose switch has happened stays.
   */
  note(move: Move): Promise<void>

  /** Takes back a note whose switch has not happened: from then on it cannot. */
  withdraw(toStore: string, toPath: string): Promise<void>

  /** Switched, with the old copy at its place still: to be put aside. In path order. */
  toPark(store: string, limit: number): Promise<Move[]>

  /** Notes that the old copy was put aside at this time. */
  park(store: string, path: string, atMs: number): Promise<void>

  /** Old copies that were put aside before this time. */
  toRemove(store: string, parkedBeforeMs: number, limit: number): Promise<Move[]>

  /** The old copy is gone, or never was one. */
  remove(store: string, path: string): Promise<void>

  /** The move whose old place this is. */
  find(store: string, path: string): Promise<Move | undefined>

  /** Old copies of a group that are still to go. */
  count(group: string): Promise<number>

  /** The group is gone, and its disks with it: nobody is to look for old copies there. */
  forgetGroup(group: string): Promise<void>
}

export function assertMove(move: Move): void {
  assertFileKey(move)
  assertGroup(move.group)
  assertGroup(move.toGroup)
  invariant(move.store !== move.toStore || move.path !== move.toPath, 'a move has two places')
}
