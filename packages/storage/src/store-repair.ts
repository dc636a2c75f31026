/**
 * What fsck may put right in one store, when it is told to: nothing that anybody could want back is removed. Files are
 * moved, half-done deletes are finished, and rows go only where their files are nowhere.
 */
import { lstat, open, stat, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import type { Database, FileRow } from '@tributary/database'
import { formatFileKey, UnavailableError } from '@tributary/protocol'
import type { Finding } from './finding.ts'
import { Journal, readJournals } from './journal.ts'
import { encodeRecord } from './journal-record.ts'
import { MARKER_NAME, readMarker, type StoreMarker } from './store-marker.ts'
import { LOST_FOLDER, moveToLost } from './lost-files.ts'
import { isTooManyLost, SWEEP_LEASE_TTL_MS, sweepLeaseOf } from './sweeper.ts'
import { factsOf } from './upload-record.ts'
import { Volume } from './volume.ts'
import { lockWriter } from './writer-lock.ts'

/** Of each kind in one run; the next run does the rest. */
export const REPAIRS_MAX = 10_000
/** Another fsck of this machine is at it: no use to wait long. */
const LOCK_WAIT_MS = 1_000

export type RepairAction =
  /** An orphan is in `.lost/<day>/` now. */
  | 'moved-to-lost'
  | 'delete-finished'
  /** A row whose file is nowhere; the journal says `deleted`. */
  | 'row-dropped'
  /** It was to be done, and was not: `detail` says why. */
  | 'refused'

export interface Repair {
  action: RepairAction
  store: string
  path: string
  file: string
  detail: string
}

export interface RepairOptions {
  /** Says what would be done. */
  dryRun: boolean
  /** Orphans that nobody has touched for so long are moved. */
  orphanAgeMs: number
  /** Rows without a file that may be dropped; more of them are no loss of files but of a volume. 0: none. */
  dropMissingMax: number
  onRepair: (repair: Repair) => void
}

interface Orphan {
  path: string
  detail: string
}

export class StoreRepair {
  readonly #database: Database
  readonly #root: string
  readonly #marker: StoreMarker
  readonly #options: RepairOptions
  readonly #orphans: Orphan[] = []
  readonly #halfDeleted: FileRow[] = []
  readonly #missing: FileRow[] = []
  #orphanCount = 0
  #missingCount = 0

  constructor(database: Database, root: string, marker: StoreMarker, options: RepairOptions) {
    this.#database = database
    this.#root = root
    this.#marker = marker
    this.#options = options
  }

  /** Of what was found: what can be put right is kept for `perform`. */
  note({ kind, path, detail }: Finding, row: FileRow | undefined, changedMs: number): void {
    if (kind === 'orphaned' && Date.now() - changedMs >= this.#options.orphanAgeMs) {
      this.#orphanCount++
      if (this.#orphans.length < REPAIRS_MAX) this.#orphans.push({ path, detail })
    } else if (kind === 'half-deleted' && row) {
      if (this.#halfDeleted.length < REPAIRS_MAX) this.#halfDeleted.push(row)
    } else if (kind === 'missing' && row) {
      this.#missingCount++
      if (this.#missing.length < REPAIRS_MAX) this.#missing.push(row)
    }
  }

  /**
   * @param files  In the store: a few orphans among many are lost files, many are a wrong index.
   * @param others Roots of the other stores that were given.
   * @param isWholeGroup Whether all stores of the group were given.
   */
  async perform(files: number, others: readonly string[], isWholeGroup: boolean): Promise<void> {
    if (this.#orphans.length + this.#halfDeleted.length + this.#missing.length === 0) return
    const volume = await Volume.open(this.#root)
    await readMarker(this.#root, this.#marker) // is it still there, and still this one
    const writer = `fsck-${hostname().replaceAll(/[^A-Za-z0-9_-]/g, '-')}`
    const lock = this.#options.dryRun ? undefined : await lockWriter(this.#marker.store, writer, LOCK_WAIT_MS)
    const journal = new Journal(volume, writer)
    try {
      for (const row of this.#halfDeleted) await this.#finishDelete(row, journal)
      await this.#moveOrphans(files, writer)
      await this.#dropMissing(others, isWholeGroup, journal)
    } finally {
      await journal.close()
      lock?.release()
    }
  }

  #tell(action: RepairAction, path: string, file: string, detail: string): void {
    this.#options.onRepair({ action, store: this.#marker.store, path, file, detail })
  }

  async #finishDelete(row: FileRow, journal: Journal): Promise<void> {
    if (!this.#options.dryRun) {
      await journal.append([encodeRecord('deleted', factsOf(row, Date.now()))])
      await journal.sync()
      await this.#unlink(row.path)
      await this.#database.files.remove(row, row.generation) // false: a server was quicker
    }
    this.#tell('delete-finished', row.path, formatFileKey(row), `${row.sizeBytes} bytes`)
  }

  async #unlink(path: string): Promise<void> {
    try {
      await unlink(join(this.#root, path))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      await stat(join(this.#root, MARKER_NAME)) // nothing is there where the volume is not mounted
      return
    }
    const folder = await open(join(this.#root, dirname(path)), 'r')
    await folder.sync().finally(() => folder.close())
  }

  async #moveOrphans(files: number, writer: string): Promise<void> {
    if (this.#orphans.length === 0) return
    if (isTooManyLost(this.#orphanCount, files)) {
      const detail = `${this.#orphanCount} of ${files} files have no row: too many to be lost files; nothing was moved`
      return this.#tell('refused', '', '', detail)
    }
    const wanted = await this.#journaled()
    const { leases, files: index } = this.#database
    const lease = sweepLeaseOf(this.#marker.store)
    const { dryRun } = this.#options
    if (!dryRun && (await leases.take(lease, writer, SWEEP_LEASE_TTL_MS)) === undefined) {
      return this.#tell('refused', '', '', 'a storage server sweeps this store at this moment')
    }
    try {
      for (const { path, detail } of this.#orphans) {
        if (wanted.has(path)) {
          this.#tell('refused', path, wanted.get(path)!, 'a journal knows it: --rebuild-index enters it')
          continue
        }
        const [row] = await index.findPaths(this.#marker.store, [path])
        if (row) continue
        const nowMs = Date.now()
        if (!dryRun) await moveToLost(this.#root, path, nowMs)
        const day = new Date(nowMs).toISOString().slice(0, 10)
        this.#tell('moved-to-lost', path, '', `${detail}; in ${LOST_FOLDER}/${day}/`)
      }
    } finally {
      if (!dryRun) await leases.release(lease, writer)
    }
  }

  /** Orphans that were stored, and not deleted, as far as the journals know: their rows were lost, not they. */
  async #journaled(): Promise<Map<string, string>> {
    const paths = new Set(this.#orphans.map(({ path }) => path))
    const stored = new Map<string, string>()
    await readJournals(this.#root, 0, ({ kind, facts }) => {
      if (!paths.has(facts.path)) return
      if (kind === 'stored') stored.set(facts.path, formatFileKey(facts))
      else if (kind === 'deleted' || kind === 'withdrawn' || kind === 'moved') {
        stored.delete(facts.path)
        paths.delete(facts.path) // a place is used once: whatever a journal says before, it is gone
      }
    })
    return stored
  }

  async #dropMissing(others: readonly string[], isWholeGroup: boolean, journal: Journal): Promise<void> {
    const { dropMissingMax, dryRun } = this.#options
    if (dropMissingMax === 0 || this.#missing.length === 0) return
    if (this.#missingCount > dropMissingMax) {
      const detail = `${this.#missingCount} rows have no file, more than the ${dropMissingMax} that may be dropped`
      return this.#tell('refused', '', '', detail)
    }
    if (!isWholeGroup) {
      const detail = `rows are dropped only when all stores of ${this.#marker.group} are given: a file may be in another`
      return this.#tell('refused', '', '', detail)
    }
    for (const row of this.#missing) {
      const name = formatFileKey(row)
      const elsewhere = await this.#findIn(others, row.path)
      if (elsewhere !== undefined) {
        this.#tell('refused', row.path, name, `there is a file of this name in ${elsewhere}`)
        continue
      }
      if (!dryRun) {
        await readMarker(this.#root, this.#marker)
        if ((await this.#findIn([this.#root], row.path)) !== undefined) continue
        if (!(await this.#database.files.markDeleting(row, row.generation))) continue
        await journal.append([encodeRecord('deleted', factsOf(row, Date.now()))])
        await journal.sync()
        await this.#database.files.remove(row, row.generation)
      }
      this.#tell('row-dropped', row.path, name, `${row.sizeBytes} bytes`)
    }
  }

  async #findIn(roots: readonly string[], path: string): Promise<string | undefined> {
    for (const root of roots) {
      try {
        await lstat(join(root, path))
        return root
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException
        if (code !== 'ENOENT') throw new UnavailableError('STORE_UNAVAILABLE', message, { cause: error })
      }
    }
    return undefined
  }
}
