/**
 * Files of uploads that are under way, in a folder that all members of the group see and no start clears away:
 *
 *   <store>/.parts/<folder>/content                the bytes, each where it will be
 *   <store>/.parts/<folder>/<upload>-<token>       those from somewhere on, of a writer who could not know that the one before was gone
 *   <store>/.parts/<folder>/joined-<token>         what is being joined
 */
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { UploadPiece, UploadRow } from '@tributary/database'
import { PARTS_FOLDER, withoutMark } from './part-folder.ts'
import { makeStoreDirectory } from './store-directory.ts'
import type { Store } from './store.ts'

export const CONTENT_FILE = 'content'

/** So long at most until a mount sees what another member wrote, and how large the file is by that. */
const SEEN_MS_MAX = 2_500
const SEEN_LOOK_MS = 100

export function partPath(folder: string, file: string): string {
  return join(PARTS_FOLDER, folder, file)
}

/** The file that bytes are appended to now. */
export function currentPiece({ layout }: UploadRow): UploadPiece {
  return layout.pieces.at(-1)!
}

/** Looks again, on a volume that others write to as well, until what was acknowledged is to be seen, or it is too late. */
export async function untilSeen<T>(
  { volume }: Store,
  look: () => Promise<T>,
  isSeen: (seen: T) => boolean
): Promise<T> {
  const endMs = performance.now() + SEEN_MS_MAX
  for (;;) {
    const seen = await look()
    if (volume.local || isSeen(seen) || performance.now() > endMs) return seen
    await new Promise(resolve => setTimeout(resolve, SEEN_LOOK_MS))
  }
}

/** Opens a file of a folder that a row has, for writing at any place; makes both, durably, where they are not there. */
export async function openPart(store: Store, folder: string, file: string): Promise<FileHandle> {
  const path = store.absolute(partPath(folder, file))
  await withoutMark(store, folder)
  return store.volume.run('part', async () => {
    try {
      return await open(path, 'r+')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
    await makeStoreDirectory(store.root, join(PARTS_FOLDER, folder))
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644)
    if (store.durable) {
      try {
        for (const directory of [join(PARTS_FOLDER, folder), PARTS_FOLDER, '.']) {
          await syncDirectory(store.absolute(directory))
        }
      } catch (error) {
        await handle.close()
        throw error
      }
    }
    return handle
  })
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  await handle.sync().finally(() => handle.close())
}
