/**
 * Puts a backup's index into a database, of either engine, and then what the stores know that is newer: after it every
 * file that was acknowledged before the loss is there, and what was deleted stays deleted. Servers must stand still.
 */
import { randomUUID } from 'node:crypto'
import {
  openDatabase,
  openRestoreTarget,
  type CounterValue,
  type Database,
  type FileRow,
  type FilmTitle,
  type GroupRow,
  type KeptRecord,
  type RestoreTarget,
  type UserRoute
} from '@tributary/database'
import {
  BackupError,
  readIndex,
  verifiedManifest,
  type BackupCounts,
  type BackupManifest
} from './backup-format.ts'
import type { Finding } from './finding.ts'
import { keptInTrashUntil, markedStores, rebuildIndex, type Rebuilt } from './fsck.ts'
import { idOfStorePath } from './store-path.ts'

const LEASE = 'restore'
const LEASE_TTL_MS = 20_000
/** Of one kind that are written together. */
const BATCH_ROWS = 1_024
const QUERY_TIMEOUT_MS = 30_000
/** Journals are read from so long before the backup: clocks of members differ, and days begin at midnight. */
const JOURNAL_MARGIN_MS = 86_400_000
/** Below 2^63, which is the end of every counter. */
const COUNTER_MAX = 2n ** 63n - 1n

export interface RestoreOptions {
  /** The backup. */
  from: string
  database: string | readonly string[]
  /** Store paths: all of the cluster, or what they know that is newer than the backup is not there. */
  stores: readonly string[]
  /** Rows of the same cluster that are there may go. */
  replaces?: boolean
  /**
   * Counters other than those of the given stores go on so much above the backup: nothing says how many numbers were
   * handed out after it.
   */
  idsAhead: number
  onProgress?: (rows: number) => void
}

export interface RestoreReport {
  manifest: BackupManifest
  restored: BackupCounts
  /** What the stores knew beside the backup. */
  replayed: Rebuilt
  /** Acknowledged after the backup, and not whole in its store. */
  findings: Finding[]
  /** Stores that the backup has files of and that were not given. */
  notGiven: { store: string; group: string; files: number }[]
}

/**
 * Until it has ended nobody else can open the database; one that broke off is begun again by the same call.
 *
 * @throws {BackupError} it is no backup, or not of the stores' cluster; the database is as it was.
 * @throws {RestoreRefusedError} the database has rows.
 * @throws {DatabaseUnavailableError | SchemaVersionError | StoreMarkerError}
 */
export async function runRestore(options: RestoreOptions): Promise<RestoreReport> {
  const { from, stores: roots } = options
  const manifest = await verifiedManifest(from)
  const stores = roots.length > 0 ? await markedStores(roots) : []
  const stranger = stores.find(({ marker }) => marker.cluster !== manifest.cluster)
  if (stranger) {
    throw new BackupError(
      `${stranger.root} is of cluster ${stranger.marker.cluster}, the backup of cluster ${manifest.cluster}`
    )
  }
  const target = await openRestoreTarget(options.database, manifest.cluster)
  try {
    const database = await openDatabase(options.database, {
      duringRestore: true,
      queryTimeoutMs: QUERY_TIMEOUT_MS
    })
    const release = await alone(database)
    try {
      await target.begin({ replaces: options.replaces ?? false })
      return await restore(database, target, manifest, stores, options)
    } finally {
      await release()
      await database.close()
    }
  } finally {
    await target.close()
  }
}

async function restore(
  database: Database,
  target: RestoreTarget,
  manifest: BackupManifest,
  stores: Awaited<ReturnType<typeof markedStores>>,
  options: RestoreOptions
): Promise<RestoreReport> {
  const load = new IndexLoad(database, new Set(stores.map(({ marker }) => marker.store)), options)
  const restored = await load.run(target)
  if (restored.files !== manifest.counts.files)
    throw new BackupError(`${restored.files} of ${manifest.counts.files} files are in the backup`)
  const findings: Finding[] = []
  const replayed = await rebuildIndex(database, stores, {
    find: finding => void findings.push(finding),
    sinceMs: manifest.startedAtMs - JOURNAL_MARGIN_MS,
    marksDeletes: true
  })
  await database.files.sync()
  await target.end()
  return { manifest, restored, replayed, findings, notGiven: load.notGiven() }
}

/**
 * Of two restores into one database the second is refused.
 *
 * @returns Lets the next one in.
 */
async function alone(database: Database): Promise<() => Promise<void>> {
  const holder = randomUUID()
  if ((await database.leases.take(LEASE, holder, LEASE_TTL_MS)) === undefined) {
    throw new BackupError(
      `another restore works on this database; if it was killed, try again in ${LEASE_TTL_MS / 1_000} s`
    )
  }
  const renew = (): void => void database.leases.take(LEASE, holder, LEASE_TTL_MS).catch(() => {})
  const timer = setInterval(renew, LEASE_TTL_MS / 4)
  return async () => {
    clearInterval(timer)
    await database.leases.release(LEASE, holder).catch(() => {}) // it ends by itself
  }
}

class IndexLoad {
  readonly #database: Database
  readonly #given: ReadonlySet<string>
  readonly #options: RestoreOptions
  readonly #counts: Required<BackupCounts> = {
    applications: 0,
    groups: 0,
    routes: 0,
    counters: 0,
    files: 0,
    titles: 0,
    records: 0
  }
  readonly #notGiven = new Map<string, { group: string; files: number }>()
  /** By store: the highest id that a row has. */
  readonly #highestIds = new Map<string, number>()
  readonly #groups: GroupRow[] = []
  #applications: string[] = []
  #routes: UserRoute[] = []
  #counters: CounterValue[] = []
  #files: FileRow[] = []
  #titles: FilmTitle[] = []
  #records: KeptRecord[] = []

  constructor(database: Database, given: ReadonlySet<string>, options: RestoreOptions) {
    this.#database = database
    this.#given = given
    this.#options = options
  }

  async run(target: RestoreTarget): Promise<BackupCounts> {
    for await (const line of readIndex(this.#options.from)) {
      // What a later format of the same number adds is passed over.
      if ('application' in line) this.#applications.push(line.application)
      else if ('group' in line) this.#groups.push(line.group)
      else if ('route' in line) this.#routes.push(line.route)
      else if ('counter' in line)
        this.#counters.push({ key: line.counter.key, next: BigInt(line.counter.next) })
      else if ('file' in line) this.#files.push(this.#withTime(line.file))
      else if ('title' in line) this.#titles.push(line.title)
      else if ('record' in line) this.#records.push(line.record)
      if (this.#waiting >= BATCH_ROWS) await this.#write(target)
    }
    await this.#write(target)
    await target.addGroups(this.#groups)
    this.#counts.groups = this.#groups.length
    for (const [store, highest] of this.#highestIds)
      await this.#database.counters.raise(store, BigInt(highest + 1))
    return this.#counts
  }

  notGiven(): RestoreReport['notGiven'] {
    return [...this.#notGiven].map(([store, { group, files }]) => ({ store, group, files }))
  }

  get #waiting(): number {
    const lists = [this.#applications, this.#routes, this.#counters, this.#files, this.#titles, this.#records]
    return lists.reduce((sum, list) => sum + list.length, 0)
  }

  async #write(target: RestoreTarget): Promise<void> {
    const { routes, counters, files, library } = this.#database
    await Promise.all(this.#applications.map(name => routes.addApplication(name)))
    await Promise.all(
      this.#routes.map(({ application, user, group }) => routes.tie(application, user, group))
    )
    await Promise.all(this.#counters.map(({ key, next }) => counters.raise(key, this.#ahead(key, next))))
    for (const outcome of await files.insert(this.#files, { durable: false })) {
      if (!outcome.inserted) throw new BackupError('the backup has two files of one name, or of one place')
    }
    for (const row of this.#files) this.#note(row)
    // Behind all files: a title is a film's.
    for (const { generation, title, ...key } of this.#titles) {
      if (await library.setTitle(key, generation, title)) this.#counts.titles++
    }
    this.#counts.records += await target.addRecords(this.#records)
    this.#counts.applications += this.#applications.length
    this.#counts.routes += this.#routes.length
    this.#counts.counters += this.#counters.length
    this.#counts.files += this.#files.length
    this.#applications = []
    this.#routes = []
    this.#counters = []
    this.#files = []
    this.#titles = []
    this.#records = []
    this.#options.onProgress?.(this.#counts.files)
  }

  /** What was taken out of the trash since the backup is in it again: there is time to have it back once more. */
  #withTime(row: FileRow): FileRow {
    if (row.state !== 'trashed') return row
    return { ...row, trashedUntilMs: keptInTrashUntil(row.trashedUntilMs) }
  }

  /** A given store says itself which of its ids are used. */
  #ahead(key: string, next: bigint): bigint {
    const ahead = this.#given.has(key) ? next : next + BigInt(this.#options.idsAhead)
    return ahead < COUNTER_MAX ? ahead : COUNTER_MAX
  }

  #note({ store, group, path }: FileRow): void {
    const id = idOfStorePath(path) ?? -1
    if (id > (this.#highestIds.get(store) ?? -1)) this.#highestIds.set(store, id)
    if (this.#given.has(store)) return
    const known = this.#notGiven.get(store)
    if (known) known.files++
    else this.#notGiven.set(store, { group, files: 1 })
  }
}
