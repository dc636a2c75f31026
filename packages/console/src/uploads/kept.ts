/** What is known of uploads of an earlier visit, put together. Knows neither page nor browser. */
import type { Interrupted } from './queue.ts'

/** What makes a file the same one, and says where it was to go. */
export interface Wanted {
  readonly name: string
  readonly sizeBytes: number
  readonly lastModified: number
  readonly application: string
  readonly user: string
}

/** A file that the browser can find again. */
export interface Kept extends Wanted {
  /** Of the page that has its upload in its queue. */
  readonly page: string
}

export function keyOf({ application, user, name, sizeBytes, lastModified }: Wanted): string {
  return JSON.stringify([application, user, name, sizeBytes, lastModified])
}

/**
 * @param interrupted  what was begun, and the server still has
 * @param unsettled    what was begun, and of which the server has not said anything
 * @param kept         files at hand
 * @param isOpen       whether the page of that name still is: it goes on with its uploads itself
 * @returns what can be gone on with. What was not begun is among it if its file is at hand.
 */
export function joinKept(
  interrupted: readonly Interrupted[],
  unsettled: readonly Wanted[],
  kept: readonly Kept[],
  isOpen: (page: string) => boolean
): Interrupted[] {
  const files = new Map(kept.map(file => [keyOf(file), file]))
  const joined: Interrupted[] = []
  for (const upload of interrupted) {
    const file = files.get(keyOf(upload))
    files.delete(keyOf(upload))
    if (file && isOpen(file.page)) continue
    joined.push({ ...upload, isKept: file !== undefined })
  }
  // It may be there in part: begun anew, it would be stored twice.
  for (const upload of unsettled) files.delete(keyOf(upload))
  for (const { page, name, sizeBytes, lastModified, application, user } of files.values()) {
    if (isOpen(page)) continue
    joined.push({ name, sizeBytes, lastModified, application, user, doneBytes: 0, isKept: true })
  }
  return joined
}
