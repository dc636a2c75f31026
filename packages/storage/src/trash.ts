/** The trash: a file in it is nobody's to read, keeps its place and its name, and can be had back until its time is up. */
import { chmod, stat } from 'node:fs/promises'
import type { FileIndex, FileRow } from '@tributary/database'
import {
  formatFileKey,
  OutcomeUnknownError,
  RejectedError,
  UnavailableError,
  type FileKey
} from '@tributary/protocol'
import type { Deletion } from './deletion.ts'
import { databaseError } from './index-entry.ts'
import { encodeRecord } from './journal-record.ts'
import { notHere, type AbsentStores, type OpenFiles } from './open-files.ts'
import type { Store } from './store.ts'
import { factsOf } from './upload-record.ts'

/** Files deleted in one round of housekeeping. */
const EXPIRED_MAX = 200
const PAGE_ROWS = 1_000
/** A file that is moved under the hands of who trashes it is looked for again. */
const LOOKS_MAX = 4

export class Trash {
  readonly #files: FileIndex
  readonly #stores: ReadonlyMap<string, Store>
  readonly #open: OpenFiles
  readonly #absent: AbsentStores

  constructor(files: FileIndex, stores: ReadonlyMap<string, Store>, open: OpenFiles, absent: AbsentStores) {
    this.#files = files
    this.#stores = stores
    this.#open = open
    this.#absent = absent
  }

  /**
   * Puts a file into the trash until then, or takes it out again (0).
   *
   * @throws {TributaryError} FILE_NOT_FOUND, WRONG_GROUP, STORE_UNAVAILABLE, DEGRADED, DATABASE_UNAVAILABLE, OUTCOME_UNKNOWN
   */
  async set(key: FileKey, generation: string, untilMs: number): Promise<void> {
    const askedMs = performance.now()
    for (let looked = 1; ; looked++) {
      let row: FileRow | undefined
      try {
        row = await this.#files.find(key, { causal: true })
      } catch (error) {
        throw databaseError(error)
      }
      if (!row || row.state === 'deleting' || row.generation !== generation) throw notFound(key)
      const store = this.#stores.get(row.store)
      if (!store) throw notHere(row, this.#stores, this.#absent(row.group))
      store.checkWrite()
      // It can be turned back, and so the generation does not make it harmless when it comes late.
      const stale = store.staleness(askedMs)
      if (stale) throw stale
      let isSet: boolean
      try {
        isSet = await this.#files.setTrashed(key, generation, row.store, untilMs)
      } catch (error) {
        throw databaseError(error)
      }
      if (isSet) {
        this.#open.forget(row)
        if (untilMs > 0) await this.#stir(row, store)
        return this.#record(row, store, untilMs)
      }
      // Deleted since it was looked for, or moved: the next look tells which, and where to.
      if (looked === LOOKS_MAX)
        throw new UnavailableError('STORE_UNAVAILABLE', `${formatFileKey(key)} is being moved`)
    }
  }

  /** So that an index that is made again from the journals has it in the trash, or out of it, too. */
  async #record(row: FileRow, { journal, durable }: Store, untilMs: number): Promise<void> {
    const facts = { ...factsOf(row, Date.now()), trashedUntilMs: untilMs }
    try {
      await journal.append([encodeRecord('stored', facts)])
      if (durable) await journal.sync()
    } catch (cause) {
      throw new OutcomeUnknownError(`the disk did not confirm it of ${formatFileKey(row)}`, { cause })
    }
  }

  /** Deletes for good what has been in the trash long enough. @returns how many. */
  async deleteExpired(store: Store, deletion: Deletion, nowMs: number): Promise<number> {
    if (store.trouble !== undefined || store.refusal !== undefined) return 0
    let deleted = 0
    let afterPath: string | undefined
    for (;;) {
      const rows = await this.#files.listStore({
        store: store.uuid,
        limit: PAGE_ROWS,
        state: 'trashed',
        ...(afterPath === undefined ? {} : { afterPath })
      })
      for (const row of rows) {
        if (row.trashedUntilMs > nowMs) continue
        // By its state in the index, and not by this page: it may have been taken out of the trash since.
        if (!(await this.#files.markExpired(row, row.generation, row.store, nowMs))) continue
        await deletion.finishNow(row)
        if (++deleted === EXPIRED_MAX) return deleted
      }
      if (rows.length < PAGE_ROWS) return deleted
      afterPath = rows.at(-1)!.path
    }
  }

  /** Every process of the machine keeps hot files open, and believes in them while their inodes are as they were. */
  async #stir(row: FileRow, store: Store): Promise<void> {
    const path = store.absolute(row.path)
    await store.volume.run('stat', async () => {
      try {
        const { mode } = await stat(path)
        await chmod(path, mode & 0o7777)
      } catch (error) {
        // Deleted, or moved, since its row was switched: nobody believes in it either.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      }
    })
  }
}

function notFound(key: FileKey): RejectedError {
  return new RejectedError('FILE_NOT_FOUND', `no such file: ${formatFileKey(key)}`)
}
