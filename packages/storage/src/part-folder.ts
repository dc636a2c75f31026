/**
 * Removing a folder of uploads that nobody has any more, while others may begin to use it again in the same moment, on this
 * member or another. A lock that one forgets would not do: whoever removes may be frozen between his last look at the index
 * and the removal. So he moves the folder *into his mark*, and that fails for good once the mark was taken away:
 *
 *   <store>/.parts/<folder>.sweep/<token>/   the mark: somebody is about to remove the folder
 *   <store>/.parts/<token>.swept/            a mark that was taken away, and what lies in it: it goes
 *
 *   who removes:  mark · look that no row has the folder · move it into the mark · take the mark away · remove that
 *   who writes:   row in the index · wait until there is no mark, or take it away · open the file
 *
 * A mark made after the writer's look finds his row. One made before was taken away: by who made it, and then the folder had
 * been moved before the writer opened it; or by somebody else, and then it cannot be moved any more.
 */
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Store } from './store.ts'
import { randomHex } from './upload-record.ts'

export const PARTS_FOLDER = '.parts'
/** Who removes needs some calls and a look at the index. After that he stands still, or is dead. */
const MARK_WAIT_MS = 3_000
const MARK_LOOK_MS = 50
/** Another mount of a volume believes for so long in a name that was moved (GlusterFS: 1 s). */
const REMOTE_NAMES_MS = 1_500
/** A mark that old has nobody who works on it. */
const MARK_AGE_MS = 60_000

/**
 * @param isUsed Looks, causally, whether a row has the folder.
 * @returns false: it is used, or somebody else is at it; the next sweep tries again.
 */
export async function removeUnused(
  store: Store,
  folder: string,
  isUsed: () => Promise<boolean>
): Promise<boolean> {
  const token = randomHex()
  const place = store.absolute(join(PARTS_FOLDER, folder))
  const own = join(markOf(store, folder), token)
  if (!(await isThere(store, place))) return true
  if (!(await madeMark(store, folder))) return false
  let isMoved = false
  try {
    await store.volume.run('parts', () => mkdir(own))
    if (await isUsed()) return false
    await store.volume.run('parts', () => rename(place, join(own, 'parts')))
    isMoved = true
    return true
  } catch (error) {
    // The mark was taken away, or another one has moved the folder.
    if (isMissing(error)) return false
    throw error
  } finally {
    // Whoever writes there waits for the mark to go. Nobody waits here: if we die first, he takes it away.
    if (isMoved && !store.volume.local)
      setTimeout(() => store.volume.chore(() => takeAway(store, folder)), REMOTE_NAMES_MS).unref()
    else await takeAway(store, folder)
  }
}

/** Resolves when nobody can remove the folder any more of a row that is in the index. */
export async function withoutMark(store: Store, folder: string): Promise<void> {
  const endMs = performance.now() + MARK_WAIT_MS
  while (await isThere(store, markOf(store, folder))) {
    if (performance.now() < endMs) {
      await sleep(MARK_LOOK_MS)
      continue
    }
    await takeAway(store, folder)
    if (!store.volume.local) await sleep(REMOTE_NAMES_MS)
  }
}

/** Folders that have been there for so long. What somebody left who was about to remove one goes. */
export async function foldersOlderThan(store: Store, ageMs: number, nowMs: number): Promise<string[]> {
  const old: string[] = []
  const names = await store.volume.run('parts', () => readdirOrNone(store.absolute(PARTS_FOLDER)))
  for (const name of names) {
    const path = store.absolute(join(PARTS_FOLDER, name))
    if (SWEPT_NAME.test(name)) await removeAll(store, path)
    const isMark = MARK_NAME.test(name)
    if (!isMark && !FOLDER_NAME.test(name)) continue
    const mtimeMs = await store.volume
      .run('parts', () => stat(path))
      .then(
        stats => stats.mtimeMs,
        (error: unknown) => {
          if (isMissing(error)) return undefined
          throw error
        }
      )
    if (mtimeMs === undefined) continue
    if (isMark && nowMs - mtimeMs > MARK_AGE_MS) await takeAway(store, name.slice(0, FOLDER_NAME_LENGTH))
    else if (!isMark && nowMs - mtimeMs > ageMs) old.push(name)
  }
  return old
}

const FOLDER_NAME_LENGTH = 32
const FOLDER_NAME = /^[0-9a-f]{32}$/
const MARK_NAME = /^[0-9a-f]{32}\.sweep$/
const SWEPT_NAME = /^[0-9a-f]{32}\.swept$/

function markOf(store: Store, folder: string): string {
  return store.absolute(join(PARTS_FOLDER, `${folder}.sweep`))
}

/** @returns false: somebody else's is there. */
async function madeMark(store: Store, folder: string): Promise<boolean> {
  try {
    await store.volume.run('parts', () => mkdir(markOf(store, folder)))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return false
  }
}

/** In one step it is no mark any more; what lies in it goes after that. */
async function takeAway(store: Store, folder: string): Promise<void> {
  const swept = store.absolute(join(PARTS_FOLDER, `${randomHex()}.swept`))
  try {
    await store.volume.run('parts', () => rename(markOf(store, folder), swept))
  } catch (error) {
    if (isMissing(error)) return
    throw error
  }
  await removeAll(store, swept)
}

async function removeAll(store: Store, path: string): Promise<void> {
  await store.volume.run('parts', () => rm(path, { recursive: true, force: true }))
}

async function isThere(store: Store, path: string): Promise<boolean> {
  try {
    await store.volume.run('parts', () => stat(path))
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}

async function readdirOrNone(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}
