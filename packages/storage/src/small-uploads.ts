/**
 * Small uploads on a local volume. Those of one moment are committed together: one append to the redo log and one
 * sync for all, the files themselves written at once without a sync, the rows in one transaction.
 */
import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs'
import type { FileIndex, FileRow } from '@tributary/database'
import type { FileKey } from '@tributary/protocol'
import { OutcomeUnknownError, UnavailableError } from '@tributary/protocol'
import { crc32 } from 'node:zlib'
import { enterRows } from './index-entry.ts'
import { encodeLaterRecord, encodeRecord, encodeRecordHead } from './journal-record.ts'
import type { RedoLog } from './redo-log.ts'
import type { Store } from './store.ts'
import { factsOf, rowOf, type UploadLabels } from './upload-record.ts'
import { storeError } from './volume.ts'

/** Uploads in one commit: their content is in memory, and the first of them waits for the last. */
const BATCH_UPLOADS_MAX = 128
/** So many are worth a batch of their own while the rows of the one before are still being entered. */
const BATCH_UPLOADS_WORTH = 32
/**
 * So long a batch waits for clients that were answered a moment ago and ask again. Without it 16 of them fell into two
 * batches of eight that took turns, each with a sync, a transaction and two changes of threads of its own: a sixth more CPU time.
 */
const GATHER_MS = 0.1
/** Content waiting for its commit; more is refused. */
const WAITING_BYTES_MAX = 64 * 1024 * 1024
/** Names that may be found taken in a row before an upload gives up. */
const NAME_TRIES_MAX = 100
/** Room that a record needs beside its content. */
const RECORD_BYTES_MAX = 2_048

interface Waiting extends UploadLabels {
  key: FileKey
  content: Buffer
  /** When it was whole; on the monotonic clock. */
  sinceMs: number
  resolve: (row: FileRow) => void
  reject: (error: unknown) => void
}

interface Placed {
  waiting: Waiting
  row: FileRow
  /** Its record in the redo log, but for the content. */
  record: Buffer
}

interface Refused {
  item: Placed
  /** undefined: its uploader has been answered. */
  error: unknown
}

const NOTHING = Buffer.alloc(0)

export class SmallUploads {
  readonly #store: Store
  readonly #redo: RedoLog
  readonly #files: FileIndex
  readonly #entering = new Set<Promise<void>>()
  #queue: Waiting[] = []
  #waitingBytes = 0
  /** Uploads of the batch before and those that waited behind it: so many may come together. */
  #expected = 0
  #running: Promise<void> | undefined

  constructor(store: Store, redo: RedoLog, files: FileIndex) {
    this.#store = store
    this.#redo = redo
    this.#files = files
  }

  /**
   * Stores one file whole. Resolves with its row when that is promised: see docs/PROTOCOL.md, Durability.
   *
   * @param content Kept until then; nobody may change it.
   * @throws {TributaryError} FILE_EXISTS, NO_SPACE, STORE_UNAVAILABLE, DATABASE_UNAVAILABLE, OUTCOME_UNKNOWN, …
   */
  store(key: FileKey, content: Buffer, labels: UploadLabels): Promise<FileRow> {
    return new Promise((resolve, reject) => {
      if (this.#waitingBytes + content.byteLength > WAITING_BYTES_MAX) {
        return reject(new UnavailableError('OVERLOADED', 'too many uploads wait for the disk'))
      }
      this.#waitingBytes += content.byteLength
      this.#queue.push({ key, content, sinceMs: performance.now(), ...labels, resolve, reject })
      this.#running ??= this.#run()
    })
  }

  /** Resolves when everything taken before the call is decided. */
  async idle(): Promise<void> {
    while (this.#running || this.#entering.size > 0) {
      await this.#running
      await Promise.all(this.#entering)
    }
  }

  /** Resolves when the rows of all batches appended so far are decided and in the journal. */
  async entered(): Promise<void> {
    await Promise.all(this.#entering)
  }

  async #run(): Promise<void> {
    // Everything that arrives in this turn of the event loop joins the first batch.
    await new Promise(resolve => setImmediate(resolve))
    while (this.#queue.length > 0) {
      await this.#gather()
      const batch = this.#takeBatch()
      // Counted now: an upload lets its content go when it has been written.
      const bytes = batch.reduce((sum, { content }) => sum + content.byteLength, 0)
      try {
        await this.#commit(batch)
      } catch (error) {
        const failure = storeError(error, 'the upload')
        for (const { reject } of batch) reject(failure)
      }
      this.#waitingBytes -= bytes
      this.#expected = Math.min(BATCH_UPLOADS_MAX, batch.length + this.#queue.length)
    }
    this.#running = undefined
  }

  async #gather(): Promise<void> {
    const endMs = performance.now() + GATHER_MS
    while (this.#queue.length < this.#expected && performance.now() < endMs) {
      await new Promise(resolve => setImmediate(resolve))
    }
  }

  /** @param work Never rejects. */
  #track(work: Promise<void>): void {
    this.#entering.add(work)
    void work.then(() => this.#entering.delete(work))
  }

  #takeBatch(): Waiting[] {
    let count = 0
    let bytes = 0
    for (const { content } of this.#queue) {
      bytes += content.byteLength + RECORD_BYTES_MAX
      if (count === BATCH_UPLOADS_MAX || (count > 0 && bytes > this.#redo.batchBytesMax)) break
      count++
    }
    return this.#queue.splice(0, count)
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    const store = this.#store
    store.check()
    let bytes = 0
    for (const { content } of batch) bytes += content.byteLength + RECORD_BYTES_MAX
    const kept = store.promise(bytes)
    try {
      await this.#redo.room(bytes)
      await store.ids.ensure(batch.length) // last: they are at hand in this very turn only
      const placed = batch.map(waiting => this.#placed(waiting))
      this.#redo.append(placed.flatMap(item => this.#piecesOf(item)))
      let synced = store.durable ? this.#redo.sync() : undefined
      const written: Placed[] = []
      let again = false
      for (const item of placed) {
        try {
          again = this.#writeFile(item) || again
          written.push(item)
          item.waiting.content = NOTHING
        } catch (error) {
          this.#track(this.#refuse([{ item, error: storeError(error, 'the upload') }]))
        }
      }
      if (again && synced) synced = Promise.all([synced, this.#redo.sync()]).then(() => {})
      synced?.catch(() => {}) // seen by #finish
      const finished = this.#finish(written, synced)
      this.#track(finished)
      // The next batch may begin once the disk is free, when enough wait for it; few had better wait for the rows as
      // well, which are another thread's, or machine's, work: larger batches cost less each.
      await (synced ? synced.catch(() => {}) : finished)
      if (this.#queue.length < BATCH_UPLOADS_WORTH) await finished
    } finally {
      kept()
    }
  }

  #placed(waiting: Waiting): Placed {
    const row = this.#rowOf(waiting)
    return { waiting, row, record: this.#recordOf(row, waiting.content) }
  }

  #rowOf({ key, content, nonce, name, mediaType }: Waiting): FileRow {
    const { marker, ids } = this.#store
    const nowMs = Date.now()
    return rowOf({
      key,
      nonce,
      name,
      mediaType,
      sizeBytes: content.byteLength,
      crc32: crc32(content),
      group: marker.group,
      store: marker.store,
      path: this.#store.placeOf(ids.take()!, nowMs).path,
      storedAtMs: nowMs
    })
  }

  #recordOf(row: FileRow, content: Buffer): Buffer {
    const facts = factsOf(row, row.storedAtMs)
    return this.#store.durable
      ? encodeRecordHead('upload', facts, this.#redo.cycle, content)
      : encodeRecordHead('intent', facts, this.#redo.cycle)
  }

  /** What the redo log gets of an upload. */
  #piecesOf({ record, waiting }: Placed): Buffer[] {
    return this.#store.durable && waiting.content.byteLength > 0 ? [record, waiting.content] : [record]
  }

  /**
   * Writes the file under its final name, which is never one that exists: what a crash leaves half written, the redo
   * log makes whole or removes.
   *
   * @returns Whether its name was taken and it got another, recorded again.
   */
  #writeFile(item: Placed): boolean {
    const { row, waiting } = item
    for (let tried = 0; ; tried++) {
      this.#store.makeDirectorySync(row.path.slice(0, row.path.lastIndexOf('/')))
      const path = this.#store.absolute(row.path)
      try {
        writeNewFile(path, waiting.content)
        return tried > 0
      } catch (error) {
        // A name is taken where an id was given out twice, as by an ID server whose counters were lost.
        const id = (error as NodeJS.ErrnoException).code === 'EEXIST' ? this.#store.ids.take() : undefined
        if (id === undefined || tried === NAME_TRIES_MAX) throw error
        row.path = this.#store.placeOf(id, row.storedAtMs).path
        item.record = this.#recordOf(row, waiting.content)
        this.#redo.append(this.#piecesOf(item))
      }
    }
  }

  async #finish(placed: readonly Placed[], synced: Promise<void> | undefined): Promise<void> {
    const rows = placed.map(({ row }) => row)
    const sinceMs = Math.min(...placed.map(({ waiting }) => waiting.sinceMs))
    const outcomes = await enterRows(this.#files, rows, false, this.#store.staleness(sinceMs))
    const nowMs = Date.now()
    const stored: Buffer[] = []
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome.kind === 'stored') stored.push(encodeLaterRecord(placed[at]!.record, 'stored', nowMs))
    }
    let failure: unknown
    try {
      if (stored.length > 0) await this.#store.journal.append(stored)
      await synced
    } catch (error) {
      failure = error
    }
    const refused: Refused[] = []
    for (const [at, outcome] of outcomes.entries()) {
      const { waiting, row } = placed[at]!
      if (outcome.kind === 'stored') {
        if (failure === undefined) waiting.resolve(row)
        else {
          waiting.reject(
            new OutcomeUnknownError('the file is stored, but the disk did not confirm it', { cause: failure })
          )
        }
      } else if (outcome.kind === 'unknown') {
        this.#store.unsettled.note(row)
        waiting.reject(outcome.error)
      } else {
        this.#unlink(row)
        if (outcome.kind === 'repeated') waiting.resolve(outcome.row)
        refused.push({ item: placed[at]!, error: outcome.kind === 'refused' ? outcome.error : undefined })
      }
    }
    if (refused.length > 0) await this.#refuse(refused)
  }

  /**
   * These did not make it into the index. Nobody is told before the log says so as well: the name may be another
   * file's, and when that is deleted, a crash must not bring back the one that was refused.
   */
  async #refuse(refused: readonly Refused[]): Promise<void> {
    try {
      const nowMs = Date.now()
      this.#redo.append(
        refused.map(({ item }) => encodeRecord('withdrawn', factsOf(item.row, nowMs), this.#redo.cycle))
      )
      if (this.#store.durable) await this.#redo.sync()
    } catch {
      // A disk that takes no record: after a crash the index decides.
    }
    for (const { item, error } of refused) if (error) item.waiting.reject(error)
  }

  #unlink(row: FileRow): void {
    try {
      unlinkSync(this.#store.absolute(row.path))
    } catch {
      // The sweeper finds a file without a row.
    }
  }
}

/** All of it, or an error and no file. */
function writeNewFile(path: string, content: Buffer): void {
  const fd = openSync(path, 'wx', 0o644)
  let written = 0
  try {
    if (content.byteLength > 0) written = writeSync(fd, content)
  } finally {
    closeSync(fd)
    if (written < content.byteLength) unlinkSync(path)
  }
  if (written < content.byteLength) {
    throw new UnavailableError('NO_SPACE', `only ${written} of ${content.byteLength} bytes could be written`)
  }
}
