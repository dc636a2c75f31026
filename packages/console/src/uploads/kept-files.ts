/**
 * The files of the queue, kept beyond this visit: handles, no content. Browsers may keep nothing for us, or have no handles;
 * then a file is chosen again, as it always could be.
 */
import { keyOf, type Kept, type Wanted } from './kept.ts'

const DATABASE = 'tributary'
const STORE = 'files'
/** More are not kept; they go on only as long as the page lives. */
const FILES_MAX = 200
/** Nobody goes on with an upload after so long. */
const KEPT_DAYS_MAX = 30
const DAY_MS = 86_400_000
const LOCK = 'tributary-page-'

interface Stored extends Kept {
  readonly handle: FileSystemFileHandle
  readonly keptAtMs: number
}

/** Of this page, among all that are open. */
const page: string = 'randomUUID' in crypto ? crypto.randomUUID() : ''

/** Says to other pages, as long as this one lives, that it does. */
export function watchPage(): void {
  if (page !== '') void navigator.locks?.request(LOCK + page, () => new Promise(() => {})).catch(() => {})
}

/** @returns whether a page is still open, by its name. */
export async function openPages(): Promise<(page: string) => boolean> {
  const { held = [] } = (await navigator.locks?.query().catch(() => undefined)) ?? {}
  const names = new Set(held.map(({ name }) => name))
  return other => other !== page && names.has(LOCK + other)
}

export async function keepFile(wanted: Wanted, handle: FileSystemFileHandle): Promise<void> {
  const { name, sizeBytes, lastModified, application, user } = wanted
  const stored: Stored = {
    name,
    sizeBytes,
    lastModified,
    application,
    user,
    page,
    handle,
    keptAtMs: Date.now()
  }
  await work('readwrite', async store => {
    const key = keyOf(wanted)
    const count = await answer(store.count())
    if (count < FILES_MAX || (await answer(store.getKey(key))) !== undefined) store.put(stored, key)
  })
}

export async function forgetFile(wanted: Wanted): Promise<void> {
  await work('readwrite', store => answer(store.delete(keyOf(wanted))))
}

export async function keptFiles(): Promise<readonly Kept[]> {
  const all = (await work('readonly', store => answer<Stored[]>(store.getAll()))) ?? []
  const old = all.filter(({ keptAtMs }) => Date.now() - keptAtMs > KEPT_DAYS_MAX * DAY_MS)
  await Promise.all(old.map(forgetFile))
  return all.filter(file => !old.includes(file))
}

export async function keptHandle(wanted: Wanted): Promise<FileSystemFileHandle | undefined> {
  const stored = await work('readonly', store => answer<Stored | undefined>(store.get(keyOf(wanted))))
  return stored?.handle
}

/** @returns undefined: nothing is kept here. */
async function work<Result>(
  mode: IDBTransactionMode,
  what: (store: IDBObjectStore) => Promise<Result>
): Promise<Result | undefined> {
  // Whoever has no handles needs no database.
  if (!('FileSystemFileHandle' in globalThis)) return undefined
  try {
    const database = await open()
    try {
      return await what(database.transaction(STORE, mode).objectStore(STORE))
    } finally {
      database.close()
    }
  } catch {
    return undefined
  }
}

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(DATABASE, 1)
  request.onupgradeneeded = () => request.result.createObjectStore(STORE)
  return answer(request)
}

function answer<Result>(request: IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error ?? new Error('it is not kept'))
  })
}
