/**
 * Deleting for good: the row is marked, then everybody's caches see the file go, then the row goes. A delete that a
 * crash leaves half done is finished later, by whoever finds the marked row.
 */
import type { FileIndex, FileRow } from '@tributary/database'
import {
  formatFileKey,
  isDerivedFileId,
  OutcomeUnknownError,
  RejectedError,
  type FileKey
} from '@tributary/protocol'
import { databaseError } from './index-entry.ts'
import { encodeRecord } from './journal-record.ts'
import { notHere, REMOTE_CHECK_MS, type AbsentStores, type OpenFiles } from './open-files.ts'
import type { Store } from './store.ts'
import { factsOf } from './upload-record.ts'

/** Rows of half-done deletes taken up at a time. */
const FINISH_ROWS_MAX = 1_000

export class Deletion {
  readonly #files: FileIndex
  readonly #stores: ReadonlyMap<string, Store>
  readonly #open: OpenFiles
  readonly #absent: AbsentStores

  constructor(
    files: FileIndex,
    stores: ReadonlyMap<string, Store>,
    open: OpenFiles,
    absent: AbsentStores = () => undefined
  ) {
    this.#files = files
    this.#stores = stores
    this.#open = open
    this.#absent = absent
  }

  /**
   * Deletes a file.
   *
   * @param generation Only this one; one that is half deleted is finished.
   * @param fromTrash Only while it is in the trash: what was taken out of it is FILE_NOT_FOUND.
   * @throws {TributaryError} FILE_NOT_FOUND, WRONG_GROUP, STORE_UNAVAILABLE, DEGRADED, DATABASE_UNAVAILABLE,
   *   OUTCOME_UNKNOWN
   */
  async delete(key: FileKey, generation?: string, fromTrash = false): Promise<void> {
    let row: FileRow | undefined
    try {
      row = await this.#files.find(key, { causal: true })
    } catch (error) {
      throw databaseError(error)
    }
    if (generation !== undefined && row?.generation === generation && row.state === 'deleting')
      return this.finishNow(row)
    if (!row || row.state === 'deleting' || row.generation !== (generation ?? row.generation))
      throw new RejectedError('FILE_NOT_FOUND', `no such file: ${formatFileKey(key)}`)
    const store = this.#stores.get(row.store)
    if (!store) throw notHere(row, this.#stores, this.#absent(row.group))
    store.checkWrite()
    let marked: boolean
    let now: FileRow | undefined
    try {
      marked = fromTrash
        ? await this.#files.markExpired(key, row.generation, row.store, Number.MAX_SAFE_INTEGER)
        : await this.#files.markDeleting(key, row.generation, row.store)
      // Moved since it was looked for: whoever has it now deletes it.
      if (!marked) now = await this.#files.find(key, { causal: true })
    } catch (error) {
      throw databaseError(error)
    }
    if (now && now.state !== 'deleting' && !this.#stores.has(now.store))
      throw notHere(now, this.#stores, this.#absent(now.group))
    if (!marked) throw new RejectedError('FILE_NOT_FOUND', `no such file: ${formatFileKey(key)}`)
    await this.#finishMarked(row, store)
  }

  /**
   * Finishes a delete that is under way or half done, whoever is at it: somebody wants to know that it is done, or the name.
   *
   * @throws {TributaryError} STORE_UNAVAILABLE, DEGRADED, OUTCOME_UNKNOWN: the row is as it was.
   */
  async finishNow(row: FileRow): Promise<void> {
    const store = this.#stores.get(row.store)
    if (!store) throw notHere(row, this.#stores, this.#absent(row.group))
    store.checkWrite()
    await this.#finishMarked(row, store)
  }

  /** One that was marked a moment ago, or a moment ago at the latest. @throws {OutcomeUnknownError} */
  async #finishMarked(row: FileRow, store: Store): Promise<void> {
    try {
      await this.#finish(row, store, performance.now())
    } catch (cause) {
      // Nobody can read it any more, and it will go; that it is gone for good cannot be promised yet.
      throw new OutcomeUnknownError(`${formatFileKey(row)} is marked, and is deleted later`, { cause })
    }
  }

  /** Finishes what a crash left half done, whoever was at it: to do it twice harms nobody. */
  async finishAll(store: Store): Promise<number> {
    store.check()
    const rows = await this.#files.listStore({ store: store.uuid, limit: FINISH_ROWS_MAX, state: 'deleting' })
    const markedMs = performance.now() // at the latest: another member may be at it now
    for (const row of rows) await this.#finish(row, store, markedMs)
    return rows.length
  }

  /** The same for those seen in the round before too: nobody is at them any more. */
  async finishHalfDone(store: Store, seen: Set<string>): Promise<number> {
    if (store.trouble !== undefined || store.refusal !== undefined) return 0
    const rows = await this.#files.listStore({ store: store.uuid, limit: FINISH_ROWS_MAX, state: 'deleting' })
    let finished = 0
    const now = new Set<string>()
    for (const row of rows) {
      // Seen in the round before too: nobody is at it any more.
      if (seen.has(row.generation)) {
        await this.#finish(row, store)
        finished++
      } else now.add(row.generation)
    }
    seen.clear()
    for (const generation of now) seen.add(generation)
    return finished
  }

  /** @param markedMs When the row was marked; by default long ago. */
  async #finish(row: FileRow, store: Store, markedMs = -Infinity): Promise<void> {
    await store.journal.append([encodeRecord('deleted', factsOf(row, Date.now()))])
    if (store.durable) await store.journal.sync()
    this.#open.forget(row)
    await store.removeFile(row.path)
    await store.syncDirectoryOf(row.path)
    await this.#deleteDerived(row)
    if (!store.volume.local) await believedUntil(markedMs + REMOTE_CHECK_MS)
    await this.#files.remove(row, row.generation) // false: another member finished it meanwhile
  }

  /** What was made from it goes first: while its row is there, whoever finishes a half-done delete comes by here. */
  async #deleteDerived({ application, user, file, generation }: FileRow): Promise<void> {
    if (isDerivedFileId(file)) return
    for (const row of await this.#files.listDerived({ application, user, generation })) {
      try {
        await this.delete(row, row.generation)
      } catch (error) {
        // In another group, or gone: the first is left to the worker's sweep, which reaches every group.
        if (!(error instanceof RejectedError)) throw error
      }
    }
  }
}

/**
 * Another member may have looked at the row just before it was marked, and serves what it keeps until it looks again. While the
 * row is there nobody else gets the key, so that nobody is given these bytes for those of a later file.
 */
async function believedUntil(atMs: number): Promise<void> {
  const leftMs = atMs - performance.now()
  if (leftMs > 0) await new Promise(resolve => setTimeout(resolve, leftMs + 1))
}
