/**
 * Compares index and disk, and makes the index again from the volumes alone. It changes nothing but where it is told
 * to rebuild or to repair; what is damaged is reported, never removed.
 */
import { lstat, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { migrateDatabase, openDatabase, type Database } from '@tributary/database'
import { formatFileKey } from '@tributary/protocol'
import { highestIdOnDisk } from './disk-walk.ts'
import type { Finding, FindingKind } from './finding.ts'
import type { JournalRecord, RecordFacts } from './journal-record.ts'
import { listJournals, readJournalFile, readJournals } from './journal.ts'
import { leftoverWriters } from './recovery.ts'
import { readRedoFolder, REDO_FOLDER } from './redo-log.ts'
import { rowsOf, StoreComparison } from './store-comparison.ts'
import { readAnyMarker, type StoreMarker } from './store-marker.ts'
import { idOfStorePath } from './store-path.ts'
import { StoreRepair, type Repair, type RepairOptions } from './store-repair.ts'
import { rowOfFacts } from './upload-record.ts'

const INSERT_ROWS = 256
/** Pages of a database that is busy. */
const QUERY_TIMEOUT_MS = 30_000
/** Findings and repairs that a report keeps; each is told as it comes. */
const KEPT_MAX = 1_000
/** Longer than an upload takes from its file's name to its row, or a delete from its mark to its end, unless cut off. */
export const SETTLE_MS = 15_000
/** A journal that was written to a moment ago may end in the middle of a record. */
const JOURNAL_YOUNG_MS = 60_000
const JOURNAL_LOOK_AGAIN_MS = 500

export interface Rebuilt {
  inserted: number
  /** Files that were put into the trash, or taken out of it, or entered as lying there. */
  trash: number
  /** Rows that were there before. */
  already: number
  /** Rows of files whose delete the journals know and whose file is gone: the database was from before it. */
  removed: number
  /** Uploads whose name another one has. */
  conflicts: number
  /** Places in journals that are no record. */
  journalDamage: number
}

export interface StoreSummary {
  root: string
  store: string
  group: string
  files: number
  bytes: number
  rows: number
  differences: Partial<Record<FindingKind, number>>
  /** Damaged places are where an append was cut off, or worse; what they should have said is in the index. */
  journals: { files: number; records: number; damaged: number }
}

export interface FsckReport {
  stores: StoreSummary[]
  /** Stores that have rows and were not looked at. */
  others: { store: string; group: string }[]
  /** The first thousand. */
  findings: Finding[]
  differences: number
  /** Without those that were refused. */
  repairs: number
  refused: number
  rebuilt: Rebuilt | undefined
}

export interface FsckOptions {
  /** Store paths. */
  stores: readonly string[]
  database: string | readonly string[]
  /** Reads every file and compares its checksum. */
  checksums?: boolean
  /** Enters into the index what the volumes know and it does not. */
  rebuildIndex?: boolean
  /** Puts right what is safe to; without it nothing is changed. */
  repair?: Omit<RepairOptions, 'onRepair'>
  /** How long a difference must last to be one; 0 where no server runs. Default SETTLE_MS, after a rebuild 0. */
  settleMs?: number
  onFinding?: (finding: Finding) => void
  /** After all findings. */
  onRepair?: (repair: Repair) => void
  onProgress?: (progress: { root: string; files: number }) => void
}

interface GivenStore {
  root: string
  marker: StoreMarker
}

/**
 * Compares, and rebuilds first where that is asked for. A rebuild is for a cluster whose servers stand still. Memory
 * does not grow with the number of files, but for a rebuild's, which holds what the journals say.
 *
 * @throws {StoreMarkerError | SchemaVersionError | DatabaseUnavailableError}
 */
export async function runFsck(options: FsckOptions): Promise<FsckReport> {
  const stores = await markedStores(options.stores)
  const cluster = stores[0]!.marker.cluster
  if (options.rebuildIndex) await migrateDatabase(options.database, { clusterId: cluster })
  const database = await openDatabase(options.database, { queryTimeoutMs: QUERY_TIMEOUT_MS })
  try {
    const own = await database.clusterId()
    if (own !== cluster) {
      throw new Error(
        `the stores are of cluster ${cluster}, the database of cluster ${own}; --rebuild-index makes a new index`
      )
    }
    const report: FsckReport = {
      stores: [],
      others: await otherStores(database, stores),
      findings: [],
      differences: 0,
      repairs: 0,
      refused: 0,
      rebuilt: undefined
    }
    const find = (finding: Finding): void => {
      report.differences++
      if (report.findings.length < KEPT_MAX) report.findings.push(finding)
      options.onFinding?.(finding)
    }
    if (options.rebuildIndex) report.rebuilt = await rebuildIndex(database, stores, { find })
    const repairs: { repair: StoreRepair; files: number; given: GivenStore }[] = []
    for (const given of stores) {
      const repair = newRepair(database, given, options, report)
      const summary = await compare(database, given, options, find, repair)
      report.stores.push(summary)
      if (repair) repairs.push({ repair, files: summary.files, given })
    }
    for (const { repair, files, given } of repairs) {
      const others = stores.filter(store => store !== given).map(({ root }) => root)
      const isWholeGroup = report.others.every(({ group }) => group !== given.marker.group)
      await repair.perform(files, others, isWholeGroup)
    }
    return report
  } finally {
    await database.close()
  }
}

/**
 * Stores of one cluster.
 *
 * @throws {StoreMarkerError} a path is none.
 */
export async function markedStores(roots: readonly string[]): Promise<GivenStore[]> {
  const stores: GivenStore[] = []
  for (const root of roots) {
    const marker = await readAnyMarker(root)
    const twin = stores.find(store => store.marker.store === marker.store)
    if (twin) throw new Error(`${root} and ${twin.root} are the same store`)
    stores.push({ root, marker })
  }
  const [first] = stores
  if (!first) throw new Error('no store path was given')
  const stranger = stores.find(({ marker }) => marker.cluster !== first.marker.cluster)
  if (stranger) throw new Error(`${stranger.root} and ${first.root} are stores of different clusters`)
  return stores
}

async function otherStores(
  database: Database,
  given: readonly GivenStore[]
): Promise<{ store: string; group: string }[]> {
  const others: { store: string; group: string }[] = []
  for (const store of await database.files.stores()) {
    if (given.some(({ marker }) => marker.store === store)) continue
    const [row] = await database.files.listStore({ store, limit: 1 })
    if (row) others.push({ store, group: row.group })
  }
  return others
}

function newRepair(
  database: Database,
  { root, marker }: GivenStore,
  { repair, onRepair }: FsckOptions,
  report: FsckReport
): StoreRepair | undefined {
  if (!repair) return undefined
  return new StoreRepair(database, root, marker, {
    ...repair,
    onRepair: done => {
      if (done.action === 'refused') report.refused++
      else report.repairs++
      onRepair?.(done)
    }
  })
}

async function compare(
  database: Database,
  { root, marker }: GivenStore,
  options: FsckOptions,
  find: (finding: Finding) => void,
  repair: StoreRepair | undefined
): Promise<StoreSummary> {
  const differences: StoreSummary['differences'] = {}
  const comparison = new StoreComparison(database, root, marker, {
    checksums: options.checksums ?? false,
    settleMs: options.settleMs ?? (options.rebuildIndex ? 0 : SETTLE_MS),
    onFinding: (finding, row, changedMs) => {
      differences[finding.kind] = (differences[finding.kind] ?? 0) + 1
      find(finding)
      repair?.note(finding, row, changedMs)
    },
    onProgress: files => options.onProgress?.({ root, files })
  })
  const totals = await comparison.run()
  const { store, group } = marker
  return { root, store, group, ...totals, differences, journals: await readAllJournals(root) }
}

async function readAllJournals(root: string): Promise<StoreSummary['journals']> {
  const sum = { files: 0, records: 0, damaged: 0 }
  for (const { path } of await listJournals(root)) {
    const absolute = join(root, path)
    const read = async (): Promise<{ records: number; damaged: number }> => {
      const reading = { records: 0, damaged: 0 }
      await readJournalFile(absolute, () => {}, reading)
      return reading
    }
    let reading = await read()
    if (reading.damaged > 0 && Date.now() - (await stat(absolute)).mtimeMs < JOURNAL_YOUNG_MS) {
      await new Promise(resolve => setTimeout(resolve, JOURNAL_LOOK_AGAIN_MS))
      const again = await read()
      if (again.damaged < reading.damaged) reading = again
    }
    sum.files++
    sum.records += reading.records
    sum.damaged += reading.damaged
  }
  return sum
}

export interface RebuildOptions {
  find: (finding: Finding) => void
  /** Journals of days before this UNIX time are known to the index already. Default 0. */
  sinceMs?: number
  /** Deletes that the journals know and whose file is still there are marked, so that a server finishes them. */
  marksDeletes?: boolean
}

/**
 * Enters into the index what journals and redo logs of the stores know, and takes out what they know to be gone. Counters
 * are raised above every id that was ever on disk.
 */
export async function rebuildIndex(
  database: Database,
  stores: readonly GivenStore[],
  options: RebuildOptions
): Promise<Rebuilt> {
  const rebuilt: Rebuilt = { inserted: 0, already: 0, removed: 0, conflicts: 0, journalDamage: 0, trash: 0 }
  const routes = new Map<string, RecordFacts>()
  const entries: (() => Promise<void>)[] = []
  const roots = stores.map(({ root }) => root)
  const { deleted, trash } = await fatesAnywhere(roots, options.sinceMs ?? 0)
  for (const { root, marker } of stores) {
    entries.push(await rebuild(database, root, marker, { rebuilt, routes, deleted, trash, ...options }))
  }
  // A name may have been freed in one store and used again in another: first all that is gone goes.
  for (const enter of entries) await enter()
  return rebuilt
}

interface RebuildRun extends RebuildOptions {
  rebuilt: Rebuilt
  /** Users whose group is known, by application and user. */
  routes: Map<string, RecordFacts>
  /** Generations that any of the stores knows to be deleted. */
  deleted: ReadonlySet<string>
  /** By generation: the last that was said. */
  trash: ReadonlyMap<string, TrashFate>
}

interface TrashFate {
  atMs: number
  /** UNIX milliseconds; 0: it was taken out. */
  untilMs: number
}

/**
 * A file that was moved is deleted, or trashed, in the store that has it, while the journal of its old one may still know it.
 * Of what several members said of the trash the later counts, by their clocks: if those differ, a film is visible that was
 * deleted in the same moment, or the reverse; lost is none.
 */
async function fatesAnywhere(
  roots: readonly string[],
  sinceMs: number
): Promise<Pick<RebuildRun, 'deleted' | 'trash'>> {
  const deleted = new Set<string>()
  const trash = new Map<string, TrashFate>()
  for (const root of roots) {
    await readJournals(root, sinceMs, ({ kind, facts }) => {
      const { generation, trashedUntilMs: untilMs, atMs } = facts
      if (kind === 'deleted') deleted.add(generation)
      else if (kind === 'stored' && untilMs !== undefined && atMs >= (trash.get(generation)?.atMs ?? 0))
        trash.set(generation, { atMs, untilMs })
    })
  }
  return { deleted, trash }
}

/** What a rebuild or a restore finds in the trash stays there at least for so long: a week, to look and to have it back. */
export const TRASH_KEPT_MS_MIN = 7 * 86_400_000

/** At which a file goes that the journals, or a backup, have in the trash until `untilMs`; UNIX milliseconds. */
export function keptInTrashUntil(untilMs: number): number {
  return Math.max(untilMs, Date.now() + TRASH_KEPT_MS_MIN)
}

function placeOf({ generation, path }: Pick<RecordFacts, 'generation' | 'path'>): string {
  return `${generation} ${path}`
}

/**
 * Takes out of the index what the journals of a store know to be gone.
 *
 * @returns What enters what journals and redo logs say, for files that are there and whole in size.
 */
async function rebuild(
  database: Database,
  root: string,
  marker: StoreMarker,
  { rebuilt, routes, deleted, trash, find, sinceMs = 0, marksDeletes = false }: RebuildRun
): Promise<() => Promise<void>> {
  const live = new Map<string, RecordFacts>()
  const candidates = new Map<string, RecordFacts>()
  const left = new Set<string>()
  const isGone = (facts: RecordFacts): boolean => deleted.has(facts.generation) || left.has(placeOf(facts))
  let highestId = await highestIdOnDisk(root)
  const take = ({ kind, facts }: JournalRecord): void => {
    highestId = Math.max(highestId, idOfStorePath(facts.path) ?? -1)
    if (kind === 'stored') live.set(placeOf(facts), facts)
    else if (kind === 'deleted') live.delete(placeOf(facts))
    // Of a file that was moved away and back both are true of one generation, each at its own place.
    else if (kind === 'withdrawn' || kind === 'moved') {
      left.add(placeOf(facts))
      live.delete(placeOf(facts))
    } else if (kind === 'upload' || kind === 'intent') candidates.set(facts.generation, facts)
  }
  const { damaged } = await readJournals(root, sinceMs, take)
  rebuilt.journalDamage += damaged
  for (const writer of await leftoverWriters(root)) {
    for (const boot of await readdir(join(root, REDO_FOLDER, writer)).catch(() => [])) {
      await readRedoFolder(join(root, REDO_FOLDER, writer, boot), take)
    }
  }
  // Of two uploads for one name the acknowledged one comes first, then the later one.
  const acknowledged = new Set([...live.values()].map(({ generation }) => generation))
  const wanted = [...live.values()].filter(facts => !isGone(facts))
  wanted.sort((a, b) => b.storedAtMs - a.storedAtMs)
  for (const facts of candidates.values()) {
    if (!acknowledged.has(facts.generation) && !isGone(facts)) wanted.push(facts)
  }
  await makeRoutes(database, marker, wanted, routes)
  if (deleted.size + left.size > 0) {
    for await (const row of rowsOf(database, marker.store)) {
      const isDeleted = deleted.has(row.generation)
      if (!isDeleted && !left.has(placeOf(row))) continue
      // A database from an older backup does not know of later deletes and moves; the journals do.
      if ((await sizeAt(root, row.path)) === undefined) {
        if (await database.files.remove(row, row.generation)) rebuilt.removed++
      } else if (isDeleted && marksDeletes && (await database.files.markDeleting(row, row.generation))) {
        rebuilt.removed++
      }
    }
  }
  await database.counters.raise(marker.store, BigInt(highestId + 1))
  return async () => {
    for (let at = 0; at < wanted.length; at += INSERT_ROWS) {
      const part = wanted.slice(at, at + INSERT_ROWS)
      const paths = part.map(({ path }) => path)
      const there = await database.files.findPaths(marker.store, paths)
      const known = new Set(there.map(({ generation }) => generation))
      const sizes: (number | undefined)[] = []
      for (const path of paths) sizes.push(await sizeAt(root, path))
      const whole = part.filter(({ sizeBytes }, index) => sizes[index] === sizeBytes)
      for (const [index, facts] of part.entries()) {
        const { generation, path, sizeBytes } = facts
        if (sizes[index] === sizeBytes || known.has(generation) || !acknowledged.has(generation)) continue
        if (candidates.has(generation)) continue // the next start makes it whole
        find({
          kind: 'missing',
          store: marker.store,
          path,
          file: formatFileKey(facts),
          detail: `${sizeBytes} bytes in the journal, ${sizes[index] ?? 'none'} on disk`
        })
      }
      for (const row of there) {
        const fate = trash.get(row.generation)
        if (!fate || row.state === 'deleting' || fate.untilMs > 0 === (row.state === 'trashed')) continue
        const untilMs = fate.untilMs > 0 ? keptInTrashUntil(fate.untilMs) : 0
        if (await database.files.setTrashed(row, row.generation, row.store, untilMs)) rebuilt.trash++
      }
      const rows = whole.map(facts => {
        const row = rowOfFacts({ ...facts, group: marker.group }, marker.store)
        const { untilMs = 0 } = trash.get(facts.generation) ?? {}
        if (untilMs === 0) return row
        return { ...row, state: 'trashed' as const, trashedUntilMs: keptInTrashUntil(untilMs) }
      })
      for (const [index, outcome] of (await database.files.insert(rows)).entries()) {
        if (!outcome.inserted) rebuilt.conflicts++
        else if (known.has(rows[index]!.generation)) rebuilt.already++
        else {
          rebuilt.inserted++
          if (rows[index]!.state === 'trashed') rebuilt.trash++
        }
      }
    }
  }
}

async function sizeAt(root: string, path: string): Promise<number | undefined> {
  try {
    const stats = await lstat(join(root, path))
    return stats.isFile() ? stats.size : undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

async function makeRoutes(
  database: Database,
  marker: StoreMarker,
  wanted: readonly RecordFacts[],
  routes: Map<string, RecordFacts>
): Promise<void> {
  await database.routes.addGroup(marker.group)
  const applications = new Set<string>()
  const users = new Map<string, RecordFacts>()
  for (const facts of wanted) {
    const name = `${facts.application}\0${facts.user}`
    if (routes.has(name)) continue
    routes.set(name, facts)
    users.set(name, facts)
    applications.add(facts.application)
  }
  for (const application of applications) await database.routes.addApplication(application)
  for (const { application, user } of users.values())
    await database.routes.tie(application, user, marker.group)
}
