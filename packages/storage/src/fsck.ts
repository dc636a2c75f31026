/**
 * Compares index and disk, and makes the index again from the volumes alone. It changes nothing but where it is told
 * to rebuild; what is missing or damaged is reported, never removed.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { migrateDatabase, openDatabase, type Database, type FileRow } from '@tributary/database'
import { formatFileKey } from '@tributary/protocol'
import { highestIdOnDisk, walkStore, type DiskFile } from './disk-walk.ts'
import type { JournalRecord, RecordFacts } from './journal-record.ts'
import { readJournals } from './journal.ts'
import { leftoverWriters } from './recovery.ts'
import { readRedoFolder, REDO_FOLDER } from './redo-log.ts'
import { readAnyMarker, type StoreMarker } from './store-marker.ts'
import { readdir } from 'node:fs/promises'
import { rowOfFacts } from './upload-record.ts'

const PAGE_ROWS = 1_000
const READ_BYTES = 1024 * 1024
const INSERT_ROWS = 256

export type FindingKind =
  /** A row without its file. */
  | 'missing'
  /** A file without a row. */
  | 'orphaned'
  | 'wrong-size'
  | 'wrong-checksum'
  /** A delete that was not finished; the storage server finishes it. */
  | 'half-deleted'
  /** A name that is no place of a file. */
  | 'stranger'

export interface Finding {
  kind: FindingKind
  store: string
  path: string
  /** application/user/file, where it is known. */
  file: string
  detail: string
}

export interface Rebuilt {
  inserted: number
  /** Rows that were there before. */
  already: number
  /** Rows of files whose delete the journals know and whose file is gone: the database was from before it. */
  removed: number
  /** Uploads whose name another one has. */
  conflicts: number
  /** Places in journals that are no record. */
  journalDamage: number
}

export interface FsckReport {
  stores: { root: string; store: string; files: number; bytes: number; rows: number }[]
  findings: Finding[]
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
  onProgress?: (progress: { root: string; files: number }) => void
}

/**
 * Compares, and rebuilds first where that is asked for. A rebuild is for a cluster whose servers stand still.
 *
 * @throws {StoreMarkerError | SchemaVersionError | DatabaseUnavailableError}
 */
export async function runFsck(options: FsckOptions): Promise<FsckReport> {
  const markers: { root: string; marker: StoreMarker }[] = []
  for (const root of options.stores) markers.push({ root, marker: await readAnyMarker(root) })
  const [first] = markers
  if (!first) throw new Error('no store path was given')
  const stranger = markers.find(({ marker }) => marker.cluster !== first.marker.cluster)
  if (stranger) throw new Error(`${stranger.root} and ${first.root} are stores of different clusters`)
  if (options.rebuildIndex) await migrateDatabase(options.database, { clusterId: first.marker.cluster })
  const database = await openDatabase(options.database)
  try {
    const cluster = await database.clusterId()
    if (cluster !== first.marker.cluster) {
      throw new Error(
        `the stores are of cluster ${first.marker.cluster}, the database of cluster ${cluster}; --rebuild-index makes a new index`
      )
    }
    const report: FsckReport = { stores: [], findings: [], rebuilt: undefined }
    if (options.rebuildIndex) {
      report.rebuilt = { inserted: 0, already: 0, removed: 0, conflicts: 0, journalDamage: 0 }
      const routes = new Map<string, RecordFacts>()
      const deleted = await deletedAnywhere(markers.map(({ root }) => root))
      for (const { root, marker } of markers) await rebuild(database, root, marker, report, routes, deleted)
    }
    for (const { root, marker } of markers) await compare(database, root, marker, options, report)
    return report
  } finally {
    await database.close()
  }
}

async function compare(
  database: Database,
  root: string,
  { store }: StoreMarker,
  options: FsckOptions,
  report: FsckReport
): Promise<void> {
  const totals = { root, store, files: 0, bytes: 0, rows: 0 }
  report.stores.push(totals)
  const find = (kind: FindingKind, path: string, file: string, detail: string): void => {
    report.findings.push({ kind, store, path, file, detail })
  }
  const files = walkStore(root, path => find('stranger', path, '', 'no file of a store has such a name'))
  const rows = rowsOf(database, store)
  let file: DiskFile | undefined = (await files.next()).value as DiskFile | undefined
  let row: FileRow | undefined = (await rows.next()).value as FileRow | undefined
  while (file || row) {
    if (file && (!row || file.path < row.path)) {
      // Of a file that was moved the old copy goes when a storage server of the group next looks.
      if (!(await wasMoved(database, store, file.path))) {
        const changed = new Date(file.modifiedMs).toISOString()
        find('orphaned', file.path, '', `${file.sizeBytes} bytes, last changed ${changed}`)
      }
    } else if (row && (!file || row.path < file.path)) {
      if (row.state === 'deleting')
        find('half-deleted', row.path, formatFileKey(row), 'its file is gone already')
      else find('missing', row.path, formatFileKey(row), `${row.sizeBytes} bytes`)
    } else if (row && file) {
      await compareOne(root, file, row, options, find)
    }
    const order = !row ? -1 : !file ? 1 : file.path < row.path ? -1 : file.path > row.path ? 1 : 0
    if (order <= 0) {
      totals.files++
      totals.bytes += file!.sizeBytes
      if (totals.files % PAGE_ROWS === 0) options.onProgress?.({ root, files: totals.files })
      file = (await files.next()).value as DiskFile | undefined
    }
    if (order >= 0) {
      totals.rows++
      row = (await rows.next()).value as FileRow | undefined
    }
  }
}

async function wasMoved({ moves }: Database, store: string, path: string): Promise<boolean> {
  try {
    return (await moves.find(store, path)) !== undefined
  } catch (error) {
    // A schema that knows no moves has none.
    if ((error as { code?: string }).code !== 'SCHEMA_VERSION') throw error
    return false
  }
}

async function compareOne(
  root: string,
  file: DiskFile,
  row: FileRow,
  { checksums }: FsckOptions,
  find: (kind: FindingKind, path: string, file: string, detail: string) => void
): Promise<void> {
  const name = formatFileKey(row)
  if (row.state === 'deleting') find('half-deleted', row.path, name, 'its file is still there')
  if (file.sizeBytes !== row.sizeBytes) {
    find('wrong-size', row.path, name, `${file.sizeBytes} bytes on disk, ${row.sizeBytes} in the index`)
  } else if (checksums) {
    const sum = await checksumOf(join(root, file.path))
    if (sum !== row.crc32)
      find('wrong-checksum', row.path, name, `${hex(sum)} on disk, ${hex(row.crc32)} in the index`)
  }
}

async function* rowsOf(database: Database, store: string): AsyncGenerator<FileRow> {
  let afterPath: string | undefined
  for (;;) {
    const page = await database.files.listStore({
      store,
      limit: PAGE_ROWS,
      ...(afterPath === undefined ? {} : { afterPath })
    })
    yield* page
    if (page.length < PAGE_ROWS) return
    afterPath = page.at(-1)!.path
  }
}

/** A file that was moved is deleted in the store that has it, while the journal of its old one may still know it. */
async function deletedAnywhere(roots: readonly string[]): Promise<ReadonlySet<string>> {
  const deleted = new Set<string>()
  for (const root of roots) {
    await readJournals(root, 0, ({ kind, facts }) => {
      if (kind === 'deleted') deleted.add(facts.generation)
    })
  }
  return deleted
}

function placeOf({ generation, path }: Pick<RecordFacts, 'generation' | 'path'>): string {
  return `${generation} ${path}`
}

/** Enters what the journals and redo logs of a store say, for files that are there and whole in size. */
async function rebuild(
  database: Database,
  root: string,
  marker: StoreMarker,
  report: FsckReport,
  routes: Map<string, RecordFacts>,
  deleted: ReadonlySet<string>
): Promise<void> {
  const rebuilt = report.rebuilt!
  const live = new Map<string, RecordFacts>()
  const candidates = new Map<string, RecordFacts>()
  const gone = new Set<string>(deleted)
  const left = new Set<string>()
  const isGone = (facts: RecordFacts): boolean => gone.has(facts.generation) || left.has(placeOf(facts))
  const take = ({ kind, facts }: JournalRecord): void => {
    if (kind === 'stored') live.set(placeOf(facts), facts)
    else if (kind === 'deleted') gone.add(facts.generation)
    // Of a file that was moved away and back both are true of one generation, each at its own place.
    else if (kind === 'withdrawn' || kind === 'moved') left.add(placeOf(facts))
    else if (kind === 'upload' || kind === 'intent') candidates.set(facts.generation, facts)
  }
  const { damaged } = await readJournals(root, 0, take)
  rebuilt.journalDamage += damaged
  for (const writer of await leftoverWriters(root)) {
    for (const boot of await readdir(join(root, REDO_FOLDER, writer)).catch(() => [])) {
      await readRedoFolder(join(root, REDO_FOLDER, writer, boot), take)
    }
  }
  const sizes = new Map<string, number>()
  for await (const { path, sizeBytes } of walkStore(root)) sizes.set(path, sizeBytes)

  // Of two uploads for one name the acknowledged one comes first, then the later one.
  const acknowledged = new Set([...live.values()].map(({ generation }) => generation))
  const wanted = [...live.values()].filter(facts => !isGone(facts))
  wanted.sort((a, b) => b.storedAtMs - a.storedAtMs)
  for (const facts of candidates.values()) {
    if (!acknowledged.has(facts.generation) && !isGone(facts)) wanted.push(facts)
  }
  await makeRoutes(database, marker, wanted, routes)
  const rows = wanted
    .filter(({ path, sizeBytes }) => sizes.get(path) === sizeBytes)
    .map(facts => rowOfFacts({ ...facts, group: marker.group }, marker.store))
  const known = new Set<string>()
  for await (const row of rowsOf(database, marker.store)) {
    known.add(row.generation)
    // A database from an older backup does not know of later deletes and moves; the journals do.
    if (
      (gone.has(row.generation) || left.has(placeOf(row))) &&
      !sizes.has(row.path) &&
      (await database.files.remove(row, row.generation))
    ) {
      rebuilt.removed++
    }
  }
  for (const facts of live.values()) {
    if (isGone(facts) || known.has(facts.generation) || sizes.get(facts.path) === facts.sizeBytes) continue
    if (candidates.has(facts.generation)) continue // the next start makes it whole
    report.findings.push({
      kind: 'missing',
      store: marker.store,
      path: facts.path,
      file: formatFileKey(facts),
      detail: `${facts.sizeBytes} bytes in the journal, ${sizes.get(facts.path) ?? 'none'} on disk`
    })
  }
  for (let at = 0; at < rows.length; at += INSERT_ROWS) {
    const part = rows.slice(at, at + INSERT_ROWS)
    const outcomes = await database.files.insert(part)
    for (const [index, outcome] of outcomes.entries()) {
      if (!outcome.inserted) rebuilt.conflicts++
      else if (known.has(part[index]!.generation)) rebuilt.already++
      else rebuilt.inserted++
    }
  }
  await database.counters.raise(marker.store, BigInt((await highestIdOnDisk(root)) + 1))
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

async function checksumOf(path: string): Promise<number> {
  const handle = await open(path, 'r')
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  try {
    let sum = 0
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, READ_BYTES)
      if (bytesRead === 0) return sum
      sum = crc32(buffer.subarray(0, bytesRead), sum)
    }
  } finally {
    await handle.close()
  }
}

function hex(sum: number): string {
  return sum.toString(16).padStart(8, '0')
}
