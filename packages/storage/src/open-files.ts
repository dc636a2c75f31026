/**
 * Files in use: rows, descriptors and small contents kept hot, each entry of one generation. What is kept may be
 * stale, and is checked on disk before it is believed: a file that was removed has no link left.
 */
import { closeSync, fstatSync, openSync, read as readCallback, readSync, type Stats } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import { LRUCache } from 'lru-cache'
import type { FileIndex, FileRow, FileState } from '@tributary/database'
import {
  formatFileKey,
  invariant,
  mapKeyOf,
  RejectedError,
  TributaryError,
  UnavailableError,
  type FileKey
} from '@tributary/protocol'
import { databaseError } from './index-entry.ts'
import type { Store } from './store.ts'
import { storeError } from './volume.ts'

const readAsync = promisify(readCallback)

/** Descriptors kept open. */
export const OPEN_FILES_MAX = 4_096
/** Files up to this size are kept in memory. */
export const CONTENT_BYTES_MAX = 64 * 1024
/** All contents kept in memory. */
export const CONTENTS_BYTES_MAX = 64 * 1024 * 1024
/**
 * On a volume of the network a check holds for so long, counted from its beginning. A delete waits it out before it takes
 * the row away (deletion.ts), so that the key is not used again while anybody still believes in the old file.
 */
export const REMOTE_CHECK_MS = 250
/**
 * A row whose file is not there yet is looked at again so often, so long: another member may have stored it a moment
 * ago, and this one's view of the volume lags. Shorter than clients wait for a reply (5 s), so that they hear why.
 */
const MISSING_RETRY_MS = 20
const MISSING_WAIT_MS = 2_500
/** On a local volume files are there before their rows; only a delete under way can come between. */
const MISSING_WAIT_LOCAL_MS = 250
const READABLE: ReadonlySet<FileState> = new Set(['stored'])
const READABLE_OR_TRASHED: ReadonlySet<FileState> = new Set(['stored', 'trashed'])
const ENTRY_BYTES = 512
/** Files looked at in one round of `releaseGone`, about a millisecond's worth. */
const LOOKS_MAX = 1_024
/** Of them on volumes that are not local, where each look may be a question over the network. */
const REMOTE_LOOKS_MAX = 32

export interface OpenFile {
  readonly row: FileRow
  readonly store: Store
  readonly fd: number
  /** Present on volumes that are not local. */
  readonly handle: FileHandle | undefined
  /** Transfers that use the descriptor. */
  users: number
  evicted: boolean
  closed: boolean
  checkedMs: number
  /** Of the file when it was opened, on local volumes: any link that comes or goes changes them. */
  readonly links: number
  readonly changedMs: number
  content: Buffer | undefined
  /** Found from the content, where the row does not say. */
  mediaType: string | undefined
  /** Fields in front of the whole content in a FETCH's reply. */
  block: Buffer | undefined
  /** Replies made before, for whoever asks again; by kind. */
  readonly replies: Map<string, Buffer>
}

export class OpenFiles {
  readonly #files: FileIndex
  readonly #stores: ReadonlyMap<string, Store>
  readonly #absent: AbsentStores
  readonly #entries: LRUCache<string, OpenFile>
  readonly #opening = new Map<string, Promise<OpenFile>>()
  readonly #checking = new Map<OpenFile, { startMs: number; checked: Promise<OpenFile> }>()
  /** Those that `releaseGone` has still to look at before it begins again. */
  #unseen: OpenFile[] = []
  readonly #onMismatch: (row: FileRow) => void

  /**
   * @param stores     By UUID: those that are in use, as they come.
   * @param onMismatch Told of a file whose content is not what was stored, each time that a read meets it.
   */
  constructor(
    files: FileIndex,
    stores: ReadonlyMap<string, Store>,
    absent: AbsentStores = () => undefined,
    onMismatch: (row: FileRow) => void = () => {}
  ) {
    this.#files = files
    this.#stores = stores
    this.#absent = absent
    this.#onMismatch = onMismatch
    this.#entries = new LRUCache<string, OpenFile>({
      max: OPEN_FILES_MAX,
      maxSize: CONTENTS_BYTES_MAX,
      sizeCalculation: ({ row }) =>
        ENTRY_BYTES + (row.sizeBytes <= CONTENT_BYTES_MAX ? 2 * row.sizeBytes : 0),
      dispose: entry => {
        entry.evicted = true
        // Whoever was just given the entry gets to say that it uses it: a descriptor closed under its hands would be
        // another file's a moment later.
        setImmediate(() => closeUnused(entry))
      }
    })
  }

  /**
   * The file of this key, open and checked. At once where it can be, as it can for hot files on a local volume.
   *
   * @throws {TributaryError} FILE_NOT_FOUND, STORE_UNAVAILABLE, DATABASE_UNAVAILABLE, CHECKSUM_MISMATCH
   */
  open(key: FileKey): OpenFile | Promise<OpenFile> {
    const name = mapKeyOf(key)
    const entry = this.#entries.get(name)
    if (entry) {
      entry.store.check()
      if (entry.store.volume.local) {
        if (isUnchanged(entry)) return entry
        this.#entries.delete(name)
      } else return isFresh(entry) ? entry : this.#checkOnce(key, name, entry)
    }
    return this.#openOnce(key, name)
  }

  /**
   * A file that may lie in the trash, opened for one use and kept for nobody: `use` it in the same turn.
   *
   * @throws as open
   */
  async openTrashed(key: FileKey): Promise<OpenFile> {
    const entry = await this.#openFound(key, undefined, READABLE_OR_TRASHED)
    entry.evicted = true
    return entry
  }

  /** Forgets what is kept of a key: it is being deleted. */
  forget(key: FileKey): void {
    this.#entries.delete(mapKeyOf(key))
  }

  /** Forgets what is kept of a store: descriptors of a volume that went away work no more when it is back. */
  forgetStore(store: Store): void {
    for (const entry of this.#entries.values()) if (entry.store === store) this.#drop(entry)
  }

  /** Its descriptor failed: the next reader opens the file anew. */
  distrust(entry: OpenFile): void {
    this.#drop(entry)
  }

  /**
   * Lets go of files that another process deleted: as long as a descriptor is open, the space is not free. To be
   * called again and again, as it looks at some files each time.
   */
  async releaseGone(): Promise<void> {
    if (this.#unseen.length === 0) this.#unseen = [...this.#entries.values()]
    let remoteLooks = 0
    for (const entry of this.#unseen.splice(-LOOKS_MAX)) {
      if (entry.evicted || entry.store.trouble !== undefined) continue
      if (!entry.store.volume.local && ++remoteLooks > REMOTE_LOOKS_MAX) continue
      if (await this.#isGone(entry)) this.#drop(entry)
    }
  }

  /** Keeps the descriptor open while a transfer uses it. */
  use(entry: OpenFile): () => void {
    invariant(!entry.closed, 'an entry is used in the turn it was given in')
    entry.users++
    let used = true
    return () => {
      if (!used) return
      used = false
      entry.users--
      if (entry.users === 0 && entry.evicted) closeUnused(entry)
    }
  }

  /**
   * The whole content of a small file; checked against its checksum when it is read for the first time.
   *
   * @throws {UnavailableError} CHECKSUM_MISMATCH: what is on disk is not what was stored.
   */
  content(entry: OpenFile): Buffer | Promise<Buffer> {
    if (entry.content) return entry.content
    const { row, store } = entry
    const bytes = Buffer.allocUnsafeSlow(row.sizeBytes)
    if (store.volume.local) {
      const got = row.sizeBytes > 0 ? readSync(entry.fd, bytes, 0, row.sizeBytes, 0) : 0
      return this.#keepContent(entry, bytes, got)
    }
    const release = this.use(entry)
    return store.volume
      .run('read', () => entry.handle!.read(bytes, 0, row.sizeBytes, 0))
      .then(
        ({ bytesRead }) => this.#keepContent(entry, bytes, bytesRead),
        (error: unknown) => {
          this.#drop(entry)
          throw storeError(error, 'the read')
        }
      )
      .finally(release)
  }

  #keepContent(entry: OpenFile, bytes: Buffer, gotBytes: number): Buffer {
    const { row } = entry
    if (gotBytes !== row.sizeBytes || crc32(bytes) !== row.crc32) {
      throw this.mismatch(row, `${formatFileKey(row)} is damaged on this server`)
    }
    if (row.sizeBytes <= CONTENT_BYTES_MAX) entry.content = bytes
    return bytes
  }

  /** What a read that met other content than was stored fails with. */
  mismatch(row: FileRow, text: string): UnavailableError {
    this.#onMismatch(row)
    return new UnavailableError('CHECKSUM_MISMATCH', text)
  }

  /** The first bytes of a file. */
  async sample(entry: OpenFile, bytesMax: number): Promise<Buffer> {
    const { row, store } = entry
    const bytes = Buffer.alloc(Math.min(row.sizeBytes, bytesMax))
    const release = this.use(entry)
    try {
      await store.volume.run('read', () => readAsync(entry.fd, bytes, 0, bytes.byteLength, 0))
      return bytes
    } finally {
      release()
    }
  }

  close(): void {
    this.#unseen = []
    this.#entries.clear()
  }

  #isGone(entry: OpenFile): boolean | Promise<boolean> {
    return entry.store.volume.local ? fstatSync(entry.fd).nlink === 0 : this.#isGoneRemote(entry)
  }

  async #isGoneRemote(entry: OpenFile): Promise<boolean> {
    const release = this.use(entry)
    try {
      const { nlink } = await entry.store.volume.run('stat', () => entry.handle!.stat())
      return nlink === 0
    } catch (error) {
      return isOfDescriptor(error)
    } finally {
      release()
    }
  }

  #drop(entry: OpenFile): void {
    const name = mapKeyOf(entry.row)
    if (this.#entries.peek(name) === entry) this.#entries.delete(name)
  }

  #openOnce(key: FileKey, name: string): OpenFile | Promise<OpenFile> {
    const opening = this.#opening.get(name)
    // Whoever began it may have begun before a delete, and been answered before it; who joins now comes later.
    if (opening)
      return opening.then(entry =>
        entry.store.volume.local || isFresh(entry) ? entry : this.#checkOnce(key, name, entry)
      )
    let found: FileRow | undefined | Promise<FileRow | undefined>
    try {
      found = this.#files.find(key)
    } catch (error) {
      throw databaseError(error)
    }
    if (found && !(found instanceof Promise)) {
      const store = this.#stores.get(found.store)
      if (store?.volume.local && found.state === 'stored') {
        store.check()
        const entry = openNow(found, store)
        if (entry) {
          this.#entries.set(name, entry)
          return entry
        }
      }
    }
    const opened = this.#openFound(key, found).then(entry => {
      this.#entries.set(name, entry)
      return entry
    })
    this.#opening.set(name, opened)
    const done = (): void => void this.#opening.delete(name)
    opened.then(done, done)
    return opened
  }

  /** The slow way: asks the index until it and the disk agree, or the time is up. */
  async #openFound(
    key: FileKey,
    first: FileRow | undefined | Promise<FileRow | undefined>,
    states: ReadonlySet<FileState> = READABLE
  ): Promise<OpenFile> {
    const startMs = performance.now()
    let row: FileRow | undefined
    // What was not read causally may be the row of a file that is deleted already: it serves whoever asked before that,
    // and is checked at its next use.
    let checkedMs = -Infinity
    try {
      row = await first
      for (;;) {
        // Before a negative answer the read is causal.
        if (!row || !states.has(row.state)) {
          checkedMs = performance.now()
          row = await this.#files.find(key, { causal: true })
        }
        if (!row || !states.has(row.state)) throw notFound(key)
        // Where a file is now is told on the index's own word: a cache may not know of its move, or of its return.
        if (!this.#stores.has(row.store)) row = await this.#files.find(key, { causal: true })
        if (!row || !states.has(row.state)) throw notFound(key)
        const entry = await this.#openRow(row, checkedMs)
        if (entry) return entry
        const isLocal = this.#stores.get(row.store)?.volume.local === true
        if (performance.now() - startMs > (isLocal ? MISSING_WAIT_LOCAL_MS : MISSING_WAIT_MS)) {
          throw new UnavailableError(
            'STORE_UNAVAILABLE',
            `${formatFileKey(key)} is in the index, its file is missing`
          )
        }
        await new Promise(resolve => setTimeout(resolve, MISSING_RETRY_MS))
        checkedMs = performance.now()
        row = await this.#files.find(key, { causal: true })
      }
    } catch (error) {
      throw databaseError(error)
    }
  }

  async #openRow(row: FileRow, checkedMs: number): Promise<OpenFile | undefined> {
    const store = this.#stores.get(row.store)
    if (!store) throw notHere(row, this.#stores, this.#absent(row.group))
    store.check()
    if (store.volume.local) return openNow(row, store)
    let late = false
    try {
      return await store.volume.run('open', async () => {
        const handle = await open(store.absolute(row.path), 'r')
        const stats = await handle.stat()
        if (stats.size === row.sizeBytes && !late) {
          return { ...newEntry(row, store, handle.fd, handle, stats), checkedMs }
        }
        await handle.close()
        return undefined
      })
    } catch (error) {
      late = true // whoever waited was told: what the volume still opens is closed
      if (isGoneCode((error as NodeJS.ErrnoException).code)) return undefined
      throw storeError(error, 'the read')
    }
  }

  /** One check for all who ask at a time. */
  #checkOnce(key: FileKey, name: string, entry: OpenFile): Promise<OpenFile> {
    const running = this.#checking.get(entry)
    if (running && performance.now() - running.startMs < REMOTE_CHECK_MS) return running.checked
    const check = { startMs: performance.now(), checked: this.#checkRemote(key, name, entry) }
    this.#checking.set(entry, check)
    const done = (): void => {
      if (this.#checking.get(entry) === check) this.#checking.delete(entry)
    }
    check.checked.then(done, done)
    return check.checked
  }

  async #checkRemote(key: FileKey, name: string, entry: OpenFile): Promise<OpenFile> {
    const release = this.use(entry)
    const startMs = performance.now()
    try {
      // A file system of the network may answer from what it remembers: the index knows of a delete at once.
      const isCurrent = await this.#isCurrent(entry)
      const { nlink } = await entry.store.volume.run('stat', () => entry.handle!.stat())
      if (nlink > 0 && isCurrent && !entry.evicted) {
        entry.checkedMs = startMs
        return entry
      }
    } catch (error) {
      // The deadline passed. Anything else is said of this descriptor, which may be of a client that died: a new one tells.
      if (error instanceof TributaryError) throw error
    } finally {
      release()
    }
    this.#drop(entry)
    return this.#openOnce(key, name)
  }

  /** Without an answer of the index, what is verified on disk is served. */
  async #isCurrent({ row }: OpenFile): Promise<boolean> {
    try {
      const now = await this.#files.find(row, { causal: true })
      return (
        now?.generation === row.generation &&
        now.state === 'stored' &&
        now.store === row.store &&
        now.path === row.path
      )
    } catch {
      return true
    }
  }
}

/**
 * A file system of the network that answers, but not for this descriptor: the file is gone (ENOENT, ESTALE), or its mount was
 * (ENOTCONN), or its copies came and went one after the other until none knew the descriptor (EBADFD, which Node has no
 * name for). What is true now is found by opening it anew. A volume that hangs is another matter.
 */
function isOfDescriptor(error: unknown): boolean {
  return !(error instanceof TributaryError)
}

/** What a file system of the network says of a file that is there no more. */
function isGoneCode(code: string | undefined): boolean {
  return code === 'ENOENT' || code === 'ESTALE'
}

function isFresh({ checkedMs }: OpenFile): boolean {
  return performance.now() - checkedMs < REMOTE_CHECK_MS
}

function isUnchanged({ fd, links, changedMs }: OpenFile): boolean {
  const { nlink, ctimeMs } = fstatSync(fd)
  return nlink > 0 && nlink === links && ctimeMs === changedMs
}

function openNow(row: FileRow, store: Store): OpenFile | undefined {
  let fd: number
  try {
    fd = openSync(store.absolute(row.path), 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw storeError(error, 'the read')
  }
  const stats = fstatSync(fd)
  if (stats.size === row.sizeBytes) return newEntry(row, store, fd, undefined, stats)
  closeSync(fd)
  return undefined
}

function newEntry(
  row: FileRow,
  store: Store,
  fd: number,
  handle: FileHandle | undefined,
  { nlink, ctimeMs }: Stats
): OpenFile {
  return {
    row,
    store,
    fd,
    handle,
    users: 0,
    evicted: false,
    closed: false,
    checkedMs: performance.now(),
    links: nlink,
    changedMs: ctimeMs,
    content: undefined,
    mediaType: undefined,
    block: undefined,
    replies: new Map()
  }
}

function closeUnused(entry: OpenFile): void {
  if (entry.users > 0 || entry.closed) return
  entry.closed = true
  const { handle, store, fd } = entry
  // A hung volume also hangs in close: that must not take threads beyond the volume's share.
  if (handle) store.volume.chore(() => handle.close())
  else closeSync(fd)
}

/** Why store paths of `group` are not in use, while some that this server should have are not. */
export type AbsentStores = (group: string) => string | undefined

/**
 * The row is of none of these stores: because another group has it, or because its store path is not there now, or was
 * not given to this member.
 *
 * @param absent As AbsentStores has it, for the row's group.
 */
export function notHere(
  row: FileRow,
  stores: ReadonlyMap<string, Store>,
  absent: string | undefined
): RejectedError | UnavailableError {
  if (absent !== undefined) return new UnavailableError('STORE_UNAVAILABLE', absent)
  const text = `${formatFileKey(row)} is kept by group ${row.group}`
  // In this very group it is a store path that this member was not given: no group could be told.
  const isOwnGroup = [...stores.values()].some(({ marker }) => marker.group === row.group)
  return new RejectedError(isOwnGroup ? 'FILE_NOT_FOUND' : 'WRONG_GROUP', text)
}

function notFound(key: FileKey): RejectedError {
  return new RejectedError('FILE_NOT_FOUND', `no such file: ${formatFileKey(key)}`)
}
