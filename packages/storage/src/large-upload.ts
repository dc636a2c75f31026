/**
 * One upload of any size: a private temporary file on the same volume, synced, then linked to its final name, then
 * recorded. Memory is bounded whatever the size; the writes follow the sender at a distance of two pieces.
 */
import { fdatasync as fdatasyncCallback } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import type { FileIndex, FileRow } from '@tributary/database'
import {
  formatFileKey,
  OutcomeUnknownError,
  RejectedError,
  UnavailableError,
  type FileKey
} from '@tributary/protocol'
import { FileWrites } from './file-writes.ts'
import { enterRows } from './index-entry.ts'
import { encodeRecord } from './journal-record.ts'
import type { Store } from './store.ts'
import { factsOf, randomHex, rowOf, type UploadLabels } from './upload-record.ts'
import { switchRow, type AdoptedFile } from './row-switch.ts'
import { storeError } from './volume.ts'

const fdatasync = promisify(fdatasyncCallback)

/** Content is gathered to pieces of this size, so that writes are few … */
const GATHER_BYTES_MAX = 1024 * 1024
/** … and to smaller ones where many uploads are on their way: what all of them gather together … */
const GATHERED_BYTES_MAX = 24 * 1024 * 1024
/** … unless they are so many that the writes would be too small. */
const GATHER_BYTES_MIN = 128 * 1024
/** The sender is held back while so many of its pieces wait for the disk. */
const BEHIND_PIECES_MAX = 2

export class LargeUpload {
  readonly key: FileKey
  readonly #store: Store
  readonly #files: FileIndex
  readonly #labels: UploadLabels
  readonly #path: string
  readonly #handle: FileHandle
  readonly #writes: FileWrites
  readonly #kept: (() => void)[]
  readonly #adopted: AdoptedFile | undefined
  /** Its place, from the moment it may have a name there to the moment a row says so, or may say so. */
  #named: FileRow | undefined
  #sizeBytes = 0
  #crc = 0
  /** The content is on disk. */
  #synced: Promise<unknown> = Promise.resolve()
  #ended = false

  /**
   * Begins an upload.
   *
   * @param sizeBytes What is known of its size: room for so much is promised.
   * @param adopted   The file is stored in another group: its row is switched to here, instead of a new one entered.
   * @throws {UnavailableError} NO_SPACE, STORE_UNAVAILABLE, DEGRADED
   */
  static async begin(
    store: Store,
    files: FileIndex,
    key: FileKey,
    sizeBytes: number,
    labels: UploadLabels,
    adopted?: AdoptedFile
  ): Promise<LargeUpload> {
    store.checkWrite()
    const kept = store.promise(sizeBytes)
    const path = join(store.temporary, randomHex())
    try {
      let late = false
      const handle = await store.volume
        .run('create', async () => {
          const opened = await open(path, 'wx', 0o644)
          if (late) {
            store.volume.chore(() => opened.close())
            void store.discard(path)
          }
          return opened
        })
        .catch((error: unknown) => {
          late = true
          throw error
        })
      return new LargeUpload(store, files, key, labels, path, handle, kept, adopted)
    } catch (error) {
      kept()
      throw storeError(error, 'the upload')
    }
  }

  private constructor(
    store: Store,
    files: FileIndex,
    key: FileKey,
    labels: UploadLabels,
    path: string,
    handle: FileHandle,
    kept: () => void,
    adopted: AdoptedFile | undefined
  ) {
    this.#store = store
    this.#files = files
    this.key = key
    this.#labels = labels
    this.#path = path
    this.#handle = handle
    this.#writes = new FileWrites(store.volume, handle.fd, 0)
    this.#kept = [kept]
    this.#adopted = adopted
    store.largeUploads++
  }

  /**
   * So much more is to come than was known.
   *
   * @throws {UnavailableError} NO_SPACE
   */
  expect(bytes: number): void {
    this.#kept.push(this.#store.promise(bytes))
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /**
   * Takes content; a promise asks to wait before the next.
   *
   * @param chunk The upload's for good: its memory is given back as soon as it is written.
   */
  write(chunk: Buffer): void | Promise<void> {
    if (this.#writes.failure !== undefined) throw storeError(this.#writes.failure, 'the upload')
    this.#crc = crc32(chunk, this.#crc)
    this.#sizeBytes += chunk.byteLength
    this.#writes.gather(chunk)
    const pieceBytes = gatherBytes(this.#store.largeUploads)
    if (this.#writes.gatheredBytes < pieceBytes) return undefined
    this.#writes.flush()
    if (this.#writes.behindBytes < BEHIND_PIECES_MAX * pieceBytes) return undefined
    return this.#writes.written.then(() => {
      if (this.#writes.failure !== undefined) throw storeError(this.#writes.failure, 'the upload')
    })
  }

  /**
   * Makes the file durable, names it and enters it into the index.
   *
   * @returns Its row, or that of the same upload when it had been stored before.
   * @throws {TributaryError} FILE_EXISTS, NO_SPACE, …; nothing is left behind but with OUTCOME_UNKNOWN.
   */
  async finish(): Promise<FileRow> {
    const store = this.#store
    const wholeMs = performance.now()
    try {
      this.#writes.flush()
      await this.#writes.written
      if (this.#writes.failure !== undefined) throw storeError(this.#writes.failure, 'the upload')
      store.checkWrite()
      if (store.durable) this.#synced = store.volume.run('sync', () => fdatasync(this.#handle.fd))
      this.#synced.catch(() => {}) // seen before the file gets its name
      const row = this.#newRow()
      await store.name(this.#path, row.storedAtMs, path => {
        row.path = path
        this.#named = row
        return this.#announce(row)
      })
      // Before the index was asked: whatever happens to the file from now on is recorded as later.
      const recordMs = Date.now()
      const outcome = this.#adopted
        ? await switchRow(this.#files, this.#adopted, row)
        : (await enterRows(this.#files, [row], store.durable, store.staleness(wholeMs)))[0]!
      if (outcome.kind === 'stored' || outcome.kind === 'unknown') this.#named = undefined
      switch (outcome.kind) {
        case 'stored':
          await this.#recordStored(outcome.row, recordMs)
          return outcome.row
        case 'unknown':
          // One that moves has a note, by which it is settled.
          if (!this.#adopted) store.unsettled.note(row)
          throw outcome.error
        case 'repeated':
          return outcome.row
        case 'refused':
          throw outcome.error
      }
    } catch (error) {
      throw storeError(error, 'the upload')
    } finally {
      await this.abort()
    }
  }

  /** Ends it without a trace; harmless after `finish`. */
  async abort(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    this.#store.largeUploads--
    this.#writes.drop(new RejectedError('SIZE_MISMATCH', 'the upload was given up'))
    await this.#writes.written
    await this.#synced.catch(() => {})
    for (const kept of this.#kept) kept()
    const { volume, journal } = this.#store
    const named = this.#named
    if (volume.local) await this.#handle.close().catch(() => {})
    else volume.chore(() => this.#handle.close())
    await this.#store.discard(this.#path, named?.path)
    // The file did not make it into the index. A crash before the next record is settled by the same look at the index.
    if (!named) return
    try {
      await journal.append([encodeRecord('withdrawn', factsOf(named, Date.now()))])
    } catch {
      // The next start finds the intent, and no row.
    }
  }

  /** @throws {UnavailableError} CHECKSUM_MISMATCH: what came is not the file that was to be adopted. */
  #newRow(): FileRow {
    const { marker, uuid } = this.#store
    const place = { group: marker.group, store: uuid, path: '' }
    if (!this.#adopted) {
      const content = { sizeBytes: this.#sizeBytes, crc32: this.#crc }
      return rowOf({ key: this.key, ...this.#labels, ...content, ...place, storedAtMs: Date.now() })
    }
    const { row } = this.#adopted
    if (row.sizeBytes !== this.#sizeBytes || row.crc32 !== this.#crc) {
      throw new UnavailableError(
        'CHECKSUM_MISMATCH',
        `${formatFileKey(row)} came from group ${row.group} with other bytes than were stored`
      )
    }
    return { ...row, ...place }
  }

  /**
   * Before a name is there, the journal says on disk that it may come: else a power loss could leave a name that
   * nobody knows of. The content is synced meanwhile.
   */
  async #announce(row: FileRow): Promise<void> {
    const { journal, durable } = this.#store
    await journal.append([encodeRecord('intent', factsOf(row, row.storedAtMs))])
    await Promise.all(durable ? [this.#synced, journal.sync()] : [this.#synced])
  }

  async #recordStored(row: FileRow, atMs: number): Promise<void> {
    const { journal, durable } = this.#store
    try {
      await journal.append([encodeRecord('stored', factsOf(row, atMs))])
      if (durable) await journal.sync()
    } catch (cause) {
      throw new OutcomeUnknownError('the file is stored, but the disk did not confirm it', { cause })
    }
  }
}

/** How much each of so many uploads gathers. */
function gatherBytes(uploads: number): number {
  return Math.max(GATHER_BYTES_MIN, Math.min(GATHER_BYTES_MAX, GATHERED_BYTES_MAX / uploads))
}
