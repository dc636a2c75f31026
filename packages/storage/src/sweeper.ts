/**
 * Looks for files that no row knows. It never unlinks: what two sweeps a day apart found is moved to `.lost/<date>/`
 * and kept there. A sweep that finds too much moves nothing: then the index is wrong, not the disk.
 */
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Database } from '@tributary/database'
import type { Log } from '@tributary/runtime'
import { walkStore } from './disk-walk.ts'
import { LOST_FOLDER, moveToLost } from './lost-files.ts'
import { makeStoreDirectory } from './store-directory.ts'
import type { Store } from './store.ts'
import type { SweepReport } from './worker/worker-message.ts'

const CANDIDATES_FILE = '.lost/candidates.json'
export const SIGHTINGS_APART_MS = 86_400_000
const KEPT_MS = 30 * 86_400_000
export const SWEEP_LEASE_TTL_MS = 600_000
const LOOKUP_PATHS = 500
/** Remembered from one sweep to the next; with more of them nothing is moved anyway. */
const CANDIDATES_MAX = 100_000
/** Of all files, and in number: more is not lost files but a wrong index. */
const MOVED_SHARE_MAX = 0.01
const MOVED_COUNT_MAX = 1_000

export class Sweeper {
  readonly #database: Database
  readonly #log: Log

  constructor(database: Database, log: Log) {
    this.#database = database
    this.#log = log
  }

  /** One sweep of a store, or undefined where another member is at it. */
  async sweep(store: Store, nowMs = Date.now()): Promise<SweepReport | undefined> {
    store.check()
    const lease = sweepLeaseOf(store.uuid)
    if ((await this.#database.leases.take(lease, store.member, SWEEP_LEASE_TTL_MS)) === undefined)
      return undefined
    try {
      return await this.#sweepUnderLease(store, lease, nowMs)
    } finally {
      await this.#database.leases.release(lease, store.member)
    }
  }

  async #sweepUnderLease(store: Store, lease: string, nowMs: number): Promise<SweepReport> {
    const report: SweepReport = { atMs: nowMs, orphans: 0, moved: 0, alert: undefined }
    const cluster = await this.#database.clusterId()
    if (cluster !== store.marker.cluster) {
      report.alert = `${store.root} is of cluster ${store.marker.cluster}, the database of ${cluster}: nothing was looked for`
      this.#log.error(report.alert)
      return report
    }
    const before = await readCandidates(store.root)
    const candidates: Record<string, number> = {}
    let files = 0
    let paths: string[] = []
    const look = async (): Promise<void> => {
      if ((await this.#database.leases.take(lease, store.member, SWEEP_LEASE_TTL_MS)) === undefined) {
        throw new Error('the lease of the sweep was lost')
      }
      const known = new Set((await this.#database.files.findPaths(store.uuid, paths)).map(row => row.path))
      for (const path of paths) {
        if (known.has(path)) continue
        if (report.orphans++ < CANDIDATES_MAX) candidates[path] = before[path] ?? nowMs
      }
      paths = []
    }
    for await (const { path } of walkStore(store.root)) {
      files++
      paths.push(path)
      if (paths.length === LOOKUP_PATHS) await look()
    }
    if (paths.length > 0) await look()

    const due = Object.keys(candidates).filter(path => nowMs - candidates[path]! >= SIGHTINGS_APART_MS)
    if (isTooManyLost(due.length, files)) {
      report.alert = `${due.length} of ${files} files of ${store.root} have no row: that is too many to be lost files; nothing was moved`
      this.#log.error(report.alert)
    } else {
      for (const path of due) {
        await moveToLost(store.root, path, nowMs)
        delete candidates[path]
        report.moved++
      }
      if (report.moved > 0)
        this.#log.warn(
          { moved: report.moved },
          `files without a row were moved to ${store.root}/${LOST_FOLDER}`
        )
    }
    await writeCandidates(store.root, candidates)
    await removeOldLost(store.root, nowMs)
    return report
  }
}

/** Who moves files to `.lost` holds this lease. */
export function sweepLeaseOf(store: string): string {
  return `sweep ${store}`
}

/** So many are not lost: then it is the index that is wrong. */
export function isTooManyLost(count: number, files: number): boolean {
  return count > MOVED_COUNT_MAX || (count > 1 && count > files * MOVED_SHARE_MAX)
}

async function readCandidates(root: string): Promise<Record<string, number>> {
  try {
    return JSON.parse(await readFile(join(root, CANDIDATES_FILE), 'utf8')) as Record<string, number>
  } catch {
    return {} // none yet, or damaged: the sightings begin anew
  }
}

async function writeCandidates(root: string, candidates: Record<string, number>): Promise<void> {
  await makeStoreDirectory(root, LOST_FOLDER)
  const temporary = join(root, `${CANDIDATES_FILE}.new`)
  await writeFile(temporary, JSON.stringify(candidates))
  await rename(temporary, join(root, CANDIDATES_FILE))
}

async function removeOldLost(root: string, nowMs: number): Promise<void> {
  for (const name of await readdir(join(root, LOST_FOLDER))) {
    const atMs = Date.parse(name)
    if (/^\d{4}-\d{2}-\d{2}$/.test(name) && nowMs - atMs > KEPT_MS) {
      await rm(join(root, LOST_FOLDER, name), { recursive: true })
    }
  }
}
