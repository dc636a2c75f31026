/**
 * Resumable uploads, as one data worker has them: begin, append, status, commit, abort, read. The index has the truth of
 * each, the volume its bytes; so any worker of any member of the group goes on where another one ended.
 */
import { createHash } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FileIndex, FileRow, UploadRow, Uploads } from '@tributary/database'
import { UPLOAD_METADATA_BYTES_MAX } from '@tributary/database'
import {
  checkFileKey,
  extension,
  formatFileKey,
  RejectedError,
  UnavailableError,
  type AppendHead,
  type FileKey,
  type PartBegin
} from '@tributary/protocol'
import { combineCrc32 } from './crc32-combine.ts'
import { databaseError } from './index-entry.ts'
import { overtaken, PartAppend } from './part-append.ts'
import { PartCommit } from './part-commit.ts'
import { CONTENT_FILE, currentPiece, openPart, partPath, untilSeen } from './part-files.ts'
import { foldersOlderThan, removeUnused } from './part-folder.ts'
import type { Store } from './store.ts'
import { randomHex, type UploadLabels } from './upload-record.ts'
import { storeError } from './volume.ts'

/** A writer that lives lets go within this time of being overtaken; of another one nobody knows what it still does. */
const RELEASE_WAIT_MS = 3_000
const RELEASE_LOOK_MS = 100
const ABORT_TRIES_MAX = 5
const ABORT_PAUSE_MS = 100
/** Writers that did not let go, of one upload. */
const PIECES_MAX = 32
/** A folder is made after its row: one that is older than this and has no row is of an upload that is gone. */
const FOLDER_AGE_MS = 600_000
const LOOKUP_FOLDERS = 200
/** So long after its time an upload is forgotten whose store has not swept it: that is gone. */
const FORGOTTEN_MS = 7 * 86_400_000
const OWED_RELEASES_MAX = 10_000
const ID = /^[0-9a-f]{32}$/

export interface PartParts {
  uploads: Uploads
  index: FileIndex
  stores: ReadonlyMap<string, Store>
  /** Where a new file of this size goes. @throws {UnavailableError} NO_SPACE, STORE_UNAVAILABLE */
  choose: (sizeBytes: number) => { store: Store }
  /** Looks for a file of this name. @returns the row, if this nonce stored it. @throws {RejectedError} FILE_EXISTS */
  findExisting: (key: FileKey, labels: UploadLabels, sizeBytes: number) => Promise<FileRow | undefined>
  /** An upload that nobody goes on with is kept for so long. */
  keepMs: number
  /** Default RELEASE_WAIT_MS. */
  releaseWaitMs?: number
}

interface Content {
  readonly lengthBytes: number
  read(taker: (chunk: Buffer) => void | Promise<void>): Promise<void>
}

export class PartUploads {
  readonly #parts: PartParts
  /** By id: who of this process writes. */
  readonly #live = new Map<string, PartAppend>()
  /** What this process has open, or may have. */
  readonly #held = new Set<string>()
  readonly #committing = new Map<string, Promise<FileRow>>()
  #owed: { id: string; holder: string }[] = []

  constructor(parts: PartParts) {
    this.#parts = parts
  }

  /**
   * @param labels Name and type, checked.
   * @throws {RejectedError} FILE_EXISTS, BAD_FIELD, UPLOAD_NOT_FOUND: a part that is to be joined. {UnavailableError} NO_SPACE
   */
  async begin(request: PartBegin, labels: UploadLabels): Promise<UploadRow> {
    const { uploads } = this.#parts
    const isPart = request.file === undefined
    const key = { application: request.application, user: request.user, file: request.file ?? '' }
    checkFileKey(key, isPart)
    checkId(request.id)
    const { metadata = '' } = request
    if (Buffer.byteLength(metadata) > UPLOAD_METADATA_BYTES_MAX) {
      throw new RejectedError('BAD_FIELD', `metadata has at most ${UPLOAD_METADATA_BYTES_MAX} bytes`)
    }
    const there = await this.#query(uploads.find(request.id))
    if (there) return sameUpload(there, key, request)
    if (!isPart) await this.#parts.findExisting(key, labels, request.sizeBytes)
    const nowMs = Date.now()
    const row: UploadRow = {
      ...key,
      id: request.id,
      name: labels.name,
      mediaType: labels.mediaType,
      metadata,
      kind: isPart ? 'part' : 'whole',
      state: 'open',
      sizeBytes: request.sizeBytes,
      offsetBytes: 0,
      crc32: 0,
      group: '',
      store: '',
      folder: request.id,
      baseBytes: 0,
      totalBytes: 0,
      layout: { pieces: [{ file: CONTENT_FILE, start: 0 }] },
      fence: 0,
      taker: '',
      holder: '',
      generation: '',
      createdMs: nowMs,
      expiresMs: nowMs + this.#parts.keepMs
    }
    if (request.joins !== undefined) await this.#join(row, request.joins)
    else if (await this.#beginShared(row, request)) return row
    else this.#settleIn(row, this.#parts.choose(row.sizeBytes).store)
    if (await this.#query(uploads.insert(row))) return row
    return sameUpload((await this.#query(uploads.find(row.id))) ?? row, key, request)
  }

  /**
   * Appends content; when the sender goes away in the middle, what came stays.
   *
   * @returns The upload when all of it is on disk.
   * @throws {RejectedError} UPLOAD_NOT_FOUND, UPLOAD_OFFSET, UPLOAD_TAKEN, UPLOAD_CHECKSUM, SIZE_MISMATCH, ACCESS_DENIED
   */
  async append(head: AppendHead, content: Content): Promise<UploadRow> {
    const row = await this.status(head.id)
    const store = this.#storeOf(row)
    checkAppend(row, head, content.lengthBytes)
    if (content.lengthBytes === 0) return row
    store.checkWrite()
    const kept = store.promise(content.lengthBytes)
    try {
      const held = await this.#acquire(row)
      const append = await this.#open(store, held, head)
      try {
        await content.read(chunk => append.write(chunk))
      } catch (error) {
        // What came of it is worth keeping, unless it counts as a whole only.
        if (head.checksum) void append.close()
        else await append.finish().catch(() => {})
        throw storeError(error, 'the upload')
      }
      return await append.finish()
    } finally {
      kept()
    }
  }

  /** @throws {RejectedError} UPLOAD_NOT_FOUND: it is not known, or its time is over. */
  async status(id: string): Promise<UploadRow> {
    checkId(id)
    const row = await this.#query(this.#parts.uploads.find(id))
    if (!row || row.state === 'dropped' || row.expiresMs < Date.now()) throw notFound(id)
    return row
  }

  /**
   * Makes the upload a file, under the promise of every upload. It may be asked for again, of any member.
   *
   * @throws {RejectedError} UPLOAD_OFFSET: it is not whole. FILE_EXISTS: its name is taken. BAD_FIELD: a part.
   */
  commit(id: string): Promise<FileRow> {
    const running = this.#committing.get(id)
    if (running) return running
    const committing = this.#commit(id).finally(() => this.#committing.delete(id))
    this.#committing.set(id, committing)
    return committing
  }

  /** Gives it up, with all that came. A file that was made of it stays. */
  async abort(id: string): Promise<UploadRow> {
    for (let tries = 1; ; tries++) {
      const row = await this.status(id)
      try {
        await this.#discard(row)
        return row
      } catch (error) {
        // Who still writes came further meanwhile; it is given up however far it is.
        const isTaken = error instanceof RejectedError && error.code === 'UPLOAD_TAKEN'
        if (!isTaken || tries === ABORT_TRIES_MAX) throw error
        await sleep(ABORT_PAUSE_MS)
      }
    }
  }

  /** Acknowledged bytes; fewer than asked for at the end of what there is. */
  async read(id: string, start: number, lengthBytes: number): Promise<{ row: UploadRow; bytes: Buffer }> {
    const row = await this.status(id)
    const store = this.#storeOf(row)
    store.check()
    if (row.kind === 'joined') throw new RejectedError('BAD_FIELD', 'its parts are read one by one')
    const endBytes = Math.min(row.offsetBytes, start + Math.min(lengthBytes, extension.PART_READ_BYTES_MAX))
    if (row.state !== 'open' || start >= endBytes) return { row, bytes: Buffer.alloc(0) }
    const bytes = Buffer.allocUnsafe(endBytes - start)
    const { pieces } = row.layout
    for (const [at, piece] of pieces.entries()) {
      const from = Math.max(start, piece.start)
      const to = Math.min(endBytes, pieces[at + 1]?.start ?? endBytes)
      if (from >= to) continue
      const target = bytes.subarray(from - start, to - start)
      try {
        await readFully(store, partPath(row.folder, piece.file), target, row.baseBytes + from)
      } catch (error) {
        throw storeError(error, 'reading the upload')
      }
    }
    return { row, bytes }
  }

  /** Forgets what is over its time, and folders of what is forgotten. @returns how many uploads were given up. */
  async sweep(store: Store, nowMs = Date.now()): Promise<number> {
    if (store.trouble !== undefined || store.refusal !== undefined) return 0
    const { uploads } = this.#parts
    let swept = 0
    for (const row of await uploads.expired(store.uuid, nowMs)) {
      if (row.state === 'open') {
        // One that cannot be given up now does not keep the others.
        const isGone = await this.#discard(row).then(
          () => true,
          () => false
        )
        if (isGone) swept++
      } else await uploads.remove(row)
    }
    await uploads.forget(nowMs - FORGOTTEN_MS)
    const old = await foldersOlderThan(store, FOLDER_AGE_MS, nowMs)
    for (let at = 0; at < old.length; at += LOOKUP_FOLDERS) {
      const folders = old.slice(at, at + LOOKUP_FOLDERS)
      const known = await uploads.knownFolders(folders)
      for (const folder of folders) {
        // Parts that are begun again come back to the same folder.
        if (!known.has(folder)) await removeUnused(store, folder, () => this.#isUsed(folder))
      }
    }
    return swept
  }

  /** Says to the index what could not be said before. To be called every few seconds. */
  async settle(): Promise<void> {
    for (const owed of this.#owed.splice(0)) await this.#release(owed.id, owed.holder)
  }

  async #commit(id: string): Promise<FileRow> {
    const row = await this.status(id)
    const { index, uploads } = this.#parts
    if (row.kind === 'part') throw new RejectedError('BAD_FIELD', 'a part is stored by being joined')
    const key = { application: row.application, user: row.user, file: row.file }
    const labels = { nonce: row.id, name: row.name, mediaType: row.mediaType }
    if (row.state === 'stored') {
      const stored = await this.#query(index.find(key, { causal: true }))
      if (stored?.nonce === row.id) return stored
      throw new RejectedError('FILE_NOT_FOUND', `${formatFileKey(key)} was stored, and is gone`)
    }
    const store = this.#storeOf(row)
    if (row.offsetBytes !== row.sizeBytes) {
      throw new RejectedError(
        'UPLOAD_OFFSET',
        `${row.offsetBytes} of ${row.sizeBytes} bytes are here: it is not whole yet`
      )
    }
    store.checkWrite()
    const wholeMs = performance.now()
    const there = await this.#parts.findExisting(key, labels, row.sizeBytes)
    const held = await this.#acquire(row)
    const parts: UploadRow[] = []
    try {
      for (const part of row.layout.parts ?? []) parts.push(await this.#acquire(await this.status(part)))
      const { stores } = this.#parts
      const commit = new PartCommit({ uploads, index, stores, store, row: held, parts })
      const stored = there ?? (await commit.store(wholeMs))
      await this.#query(uploads.settle(held, stored.generation, Date.now() + this.#parts.keepMs))
      await commit.clear().catch(() => {}) // the sweep does what is left
      return stored
    } catch (error) {
      throw storeError(error, 'the upload')
    } finally {
      for (const one of [held, ...parts])
        if (this.#held.delete(one.holder)) await this.#release(one.id, one.holder)
    }
  }

  /** A part that says where it belongs gets its place in the whole's file, if nobody has it. */
  async #beginShared(row: UploadRow, request: PartBegin): Promise<boolean> {
    const place = placeOf(row, request)
    if (!place) return false
    const { uploads, stores } = this.#parts
    const [beside] = await this.#query(uploads.inFolder(place.folder))
    const store = beside ? stores.get(beside.store) : this.#parts.choose(place.totalBytes).store
    if (!store) return false
    const shared = { ...row, ...place }
    this.#settleIn(shared, store)
    if (!(await this.#query(uploads.insert(shared)))) return false
    Object.assign(row, shared)
    return true
  }

  #settleIn(row: UploadRow, store: Store): void {
    row.group = store.marker.group
    row.store = store.uuid
  }

  async #join(row: UploadRow, joins: string): Promise<void> {
    const ids = joins.match(/.{32}/g) ?? []
    if (ids.length === 0 || ids.length * 32 !== joins.length || ids.length > extension.UPLOAD_PARTS_MAX) {
      throw new RejectedError('BAD_FIELD', `an upload is joined of 1 to ${extension.UPLOAD_PARTS_MAX} parts`)
    }
    if (new Set(ids).size !== ids.length) throw new RejectedError('BAD_FIELD', 'a part can be joined once')
    row.kind = 'joined'
    row.layout.parts = ids
    for (const id of ids) {
      const part = await this.status(id)
      if (row.group !== '' && part.group !== row.group)
        throw new RejectedError('BAD_FIELD', 'the parts lie in different groups: nothing joins them')
      const store = this.#storeOf(part)
      if (part.kind !== 'part') throw new RejectedError('BAD_FIELD', `${id} is no part`)
      if (part.offsetBytes !== part.sizeBytes)
        throw new RejectedError('UPLOAD_OFFSET', `part ${id} is not whole yet`)
      if (row.store === '') this.#settleIn(row, store)
      row.crc32 = combineCrc32(row.crc32, part.crc32, part.sizeBytes)
      row.offsetBytes += part.sizeBytes
    }
    if (row.offsetBytes !== row.sizeBytes) {
      throw new RejectedError(
        'SIZE_MISMATCH',
        `the parts have ${row.offsetBytes} bytes, ${row.sizeBytes} were announced`
      )
    }
  }

  /**
   * Takes the token, and the file: at once where nobody has it; when who has it lets go; or leaving it to him, where he
   * does not, and going on in another file.
   *
   * @throws {RejectedError} UPLOAD_TAKEN
   */
  async #acquire(row: UploadRow): Promise<UploadRow> {
    const { uploads } = this.#parts
    const taker = `${this.#storeOf(row).member}/${randomHex()}`
    this.#held.add(taker)
    try {
      const taken = await this.#take(row, taker)
      if (taken.holder === taker) return taken
      const { releaseWaitMs = RELEASE_WAIT_MS } = this.#parts
      const endMs = performance.now() + releaseWaitMs
      const live = this.#live.get(row.id)
      if (live) await within(live.overtake(), releaseWaitMs)
      for (;;) {
        const now = await this.#query(uploads.find(row.id))
        if (now?.fence !== taken.fence) throw overtaken()
        const isFree = now.holder === '' || this.#isOwnAndClosed(now)
        if (!isFree && performance.now() < endMs) {
          await new Promise(resolve => setTimeout(resolve, RELEASE_LOOK_MS))
          continue
        }
        const claimed = { ...now, layout: isFree ? now.layout : withAnotherFile(now) }
        if (!(await this.#query(uploads.claim(claimed, now.holder, taker)))) continue
        return { ...claimed, holder: taker }
      }
    } catch (error) {
      this.#held.delete(taker)
      throw error
    }
  }

  /** @throws {RejectedError} UPLOAD_TAKEN: somebody was faster. */
  async #take(row: UploadRow, taker: string): Promise<UploadRow> {
    const { uploads } = this.#parts
    for (let seen = row; ;) {
      const taken = await this.#query(uploads.take(seen, taker))
      if (taken) return taken
      const now = await this.#query(uploads.find(row.id))
      // That somebody let go of the file meanwhile is no reason to give up.
      const isSame = now?.fence === seen.fence && now.offsetBytes === seen.offsetBytes && now.state === 'open'
      if (!isSame || now.holder === seen.holder) throw overtaken()
      seen = now
    }
  }

  /** Of this process, or of one of this name that lived before it, and not open: the index was not told yet. */
  #isOwnAndClosed({ holder, store }: UploadRow): boolean {
    const { member } = this.#parts.stores.get(store)!
    return holder.startsWith(`${member}/`) && !this.#held.has(holder)
  }

  async #isUsed(folder: string): Promise<boolean> {
    return (await this.#query(this.#parts.uploads.inFolder(folder))).length > 0
  }

  /** The file that the upload goes on in, and its row, which may say another file from now on. */
  async #openFile(store: Store, row: UploadRow): Promise<{ handle: FileHandle; row: UploadRow }> {
    const piece = currentPiece(row)
    const handle = await openPart(store, row.folder, piece.file)
    try {
      const ackedBytes = row.offsetBytes > piece.start ? row.baseBytes + row.offsetBytes : 0
      const look = () => store.volume.run('stat', () => handle.stat())
      const { size, nlink } = await untilSeen(store, look, now => now.size >= ackedBytes)
      if (size < ackedBytes) {
        throw new UnavailableError(
          'STORE_UNAVAILABLE',
          `upload ${row.id} has ${size} bytes on disk where ${ackedBytes} were acknowledged`
        )
      }
      if (nlink === 1) return { handle, row }
    } catch (error) {
      store.volume.chore(() => handle.close())
      throw error
    }
    // It has the name of a stored file, which whoever joined it before had no time to clear away.
    store.volume.chore(() => handle.close())
    const pieces = row.layout.pieces.filter(({ start }) => start < row.offsetBytes)
    const apart = { ...row, layout: { ...row.layout, pieces } }
    const elsewhere = { ...row, layout: withAnotherFile(apart) }
    if (!(await this.#query(this.#parts.uploads.claim(elsewhere, row.holder, row.holder)))) throw overtaken()
    return { handle: await openPart(store, row.folder, currentPiece(elsewhere).file), row: elsewhere }
  }

  async #open(store: Store, taken: UploadRow, { checksum }: AppendHead): Promise<PartAppend> {
    try {
      const { handle, row } = await this.#openFile(store, taken)
      const append: PartAppend = new PartAppend(this.#parts.uploads, store, row, handle, {
        checksum,
        expiresMs: () => Date.now() + this.#parts.keepMs,
        onClosed: () => this.#forget(append, row.id)
      })
      this.#live.set(row.id, append)
      return append
    } catch (error) {
      if (this.#held.delete(taken.holder)) await this.#release(taken.id, taken.holder)
      throw storeError(error, 'the upload')
    }
  }

  /** It is closed. */
  #forget(append: PartAppend, id: string): void {
    if (this.#live.get(id) === append) this.#live.delete(id)
    if (this.#held.delete(append.holder) && !append.isReleased) void this.#release(id, append.holder)
  }

  async #release(id: string, holder: string): Promise<void> {
    try {
      await this.#parts.uploads.release(id, holder)
    } catch {
      if (this.#owed.length < OWED_RELEASES_MAX) this.#owed.push({ id, holder })
    }
  }

  async #discard(row: UploadRow): Promise<void> {
    const { uploads } = this.#parts
    if (row.state === 'stored') {
      await this.#query(uploads.remove(row))
      return
    }
    const store = this.#storeOf(row)
    store.checkWrite()
    const held = await this.#acquire(row)
    try {
      const isShared = held.totalBytes > 0
      const isHeldElsewhere = held.layout.pieces.length > 1
      if (isShared && isHeldElsewhere) {
        // Its place is nobody else's while somebody may still write there.
        await this.#query(uploads.drop(held))
        return
      }
      if (!(await this.#query(uploads.remove(held)))) throw overtaken()
      await removeUnused(store, held.folder, () => this.#isUsed(held.folder))
    } catch (error) {
      throw storeError(error, 'the upload')
    } finally {
      this.#held.delete(held.holder)
    }
  }

  /** @throws {RejectedError} WRONG_GROUP */
  #storeOf(row: UploadRow): Store {
    const store = this.#parts.stores.get(row.store)
    if (store) return store
    const isOurs = [...this.#parts.stores.values()].some(({ marker }) => marker.group === row.group)
    if (isOurs) throw new UnavailableError('STORE_UNAVAILABLE', `store ${row.store} is out of use`)
    throw new RejectedError('WRONG_GROUP', `upload ${row.id} is in group ${row.group}`)
  }

  async #query<T>(asked: T | Promise<T>): Promise<T> {
    try {
      return await asked
    } catch (error) {
      throw databaseError(error)
    }
  }
}

function checkAppend(row: UploadRow, { offsetBytes, fence }: AppendHead, lengthBytes: number): void {
  if (row.kind === 'joined')
    throw new RejectedError('ACCESS_DENIED', 'what is joined of parts takes no content itself')
  if (fence !== 0 && fence !== row.fence) throw overtaken()
  if (row.state !== 'open' || offsetBytes !== row.offsetBytes) {
    throw new RejectedError('UPLOAD_OFFSET', `the upload goes on at byte ${row.offsetBytes}`)
  }
  if (lengthBytes > row.sizeBytes - offsetBytes) {
    throw new RejectedError('SIZE_MISMATCH', `the upload has ${row.sizeBytes} bytes, and not more`)
  }
}

function checkId(id: string): void {
  if (!ID.test(id)) throw new RejectedError('BAD_FIELD', 'an upload is named by 16 bytes')
}

function notFound(id: string): RejectedError {
  return new RejectedError('UPLOAD_NOT_FOUND', `no such upload: ${id}; it never was, or its time is over`)
}

/** @throws {RejectedError} UPLOAD_TAKEN: the id is another upload's. */
function sameUpload(row: UploadRow, key: FileKey, { sizeBytes }: PartBegin): UploadRow {
  const isSame =
    row.application === key.application &&
    row.user === key.user &&
    row.file === key.file &&
    row.sizeBytes === sizeBytes
  if (!isSame) throw new RejectedError('UPLOAD_TAKEN', 'this id is another upload’s')
  return row
}

/**
 * The place of a part in the whole's file. Parts of one whole are of equal size, but for the last, which has the rest
 * too: so no two places overlap, whatever is said of them, as each number has one upload.
 */
function placeOf(
  { application, user, sizeBytes }: UploadRow,
  { whole, part, parts, totalBytes }: PartBegin
): Pick<UploadRow, 'folder' | 'baseBytes' | 'totalBytes'> | undefined {
  if (whole === undefined || part === undefined || parts === undefined || !totalBytes) return undefined
  if (parts < 1 || parts > extension.UPLOAD_PARTS_MAX || part >= parts) return undefined
  const partBytes = Math.floor(totalBytes / parts)
  const baseBytes = partBytes * part
  if (sizeBytes !== (part === parts - 1 ? totalBytes - baseBytes : partBytes) || sizeBytes === 0)
    return undefined
  const name = [application, user, whole, parts, totalBytes].join('\0')
  return { folder: createHash('sha256').update(name).digest('hex').slice(0, 32), baseBytes, totalBytes }
}

/** @throws {UnavailableError} STORE_UNAVAILABLE: it was left too often. */
function withAnotherFile({ id, fence, offsetBytes, layout }: UploadRow): UploadRow['layout'] {
  if (layout.pieces.length >= PIECES_MAX) {
    throw new UnavailableError(
      'STORE_UNAVAILABLE',
      `${PIECES_MAX} servers left this upload without a word: it cannot go on`
    )
  }
  return { ...layout, pieces: [...layout.pieces, { file: `${id}-${fence}`, start: offsetBytes }] }
}

async function within(promise: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => {
    timer = setTimeout(resolve, timeoutMs)
  })
  await Promise.race([promise, late])
  clearTimeout(timer)
}

async function readFully(store: Store, path: string, target: Buffer, at: number): Promise<void> {
  const handle = await store.volume.run('part', () => open(store.absolute(path), 'r'))
  try {
    for (let done = 0; done < target.byteLength;) {
      const { bytesRead } = await untilSeen(
        store,
        () => store.volume.run('read', () => handle.read(target, done, target.byteLength - done, at + done)),
        read => read.bytesRead > 0
      )
      if (bytesRead === 0)
        throw new UnavailableError('STORE_UNAVAILABLE', `${path} is shorter than what was acknowledged`)
      done += bytesRead
    }
  } finally {
    store.volume.chore(() => handle.close())
  }
}
