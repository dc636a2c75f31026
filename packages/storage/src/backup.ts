/**
 * Saves the index as it is at one moment, and after that the journals of the stores: together they know every file that
 * was stored before the backup ended. The content stays where it is; it is copied by whoever copies disks.
 */
import { createHash, type Hash } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat, unlink, writeFile, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { openSnapshot, type IndexSnapshot } from '@tributary/database'
import {
  BACKUP_FORMAT,
  BackupError,
  INDEX_NAME,
  MANIFEST_NAME,
  PART_SUFFIX,
  STORES_FOLDER,
  type BackupCounts,
  type BackupManifest,
  type IndexEnd,
  type IndexHead,
  type IndexLine
} from './backup-format.ts'
import { markedStores } from './fsck.ts'
import { listJournals } from './journal.ts'
import { MARKER_NAME } from './store-marker.ts'

/** Says whose the folder is while a backup is made in it. */
const UNFINISHED_NAME = 'UNFINISHED'
const COPY_BYTES = 1024 * 1024
/** The index names users and their files. */
const FOLDER_MODE = 0o700
const FILE_MODE = 0o600

export interface BackupOptions {
  database: string | readonly string[]
  /** A folder that is not there yet; the one above it is. */
  out: string
  /** Store paths. */
  stores: readonly string[]
  /** Of this program. */
  version: string
  /** This process, and whether another one lives: of two backups into one folder the second is refused. */
  pid: number
  isAlive: (pid: number) => boolean
}

/**
 * Makes a backup. What breaks off leaves `<out>.part` behind, which the next try removes.
 *
 * @throws {BackupError} there is something at `out`, or another backup is made there.
 * @throws {DatabaseUnavailableError | SchemaVersionError | StoreMarkerError}
 */
export async function runBackup(options: BackupOptions): Promise<BackupManifest> {
  const { out, version } = options
  const startedAtMs = Date.now()
  const stores = options.stores.length > 0 ? await markedStores(options.stores) : []
  if (await exists(out)) throw new BackupError(`${out} is there already; a backup is a folder of its own`)
  const part = await makePart(options)
  const files: BackupManifest['files'] = []
  const snapshot = await openSnapshot(options.database)
  let manifest: BackupManifest
  try {
    const cluster = await snapshot.clusterId()
    const stranger = stores.find(({ marker }) => marker.cluster !== cluster)
    if (stranger) {
      throw new BackupError(
        `${stranger.root} is of cluster ${stranger.marker.cluster}, the database of cluster ${cluster}`
      )
    }
    const index = await SummedFile.create(part, INDEX_NAME)
    const counts = await writeIndex(index, snapshot, cluster)
    files.push(await index.end())
    manifest = {
      format: BACKUP_FORMAT,
      program: version,
      cluster,
      engine: snapshot.engine,
      schema: await snapshot.schemaVersion(),
      startedAtMs,
      endedAtMs: 0,
      counts,
      stores: stores.map(({ root, marker: { store, group } }) => ({ store, group, root })),
      files
    }
  } finally {
    await snapshot.close()
  }
  for (const { root, marker } of stores) {
    const paths = [MARKER_NAME, ...(await listJournals(root)).map(({ path }) => path)]
    for (const path of paths) {
      const copy = await SummedFile.create(part, join(STORES_FOLDER, marker.store, path))
      await copy.copy(join(root, path))
      files.push(await copy.end())
    }
  }
  manifest.endedAtMs = Date.now()
  await writeManifest(part, manifest)
  await unlink(join(part, UNFINISHED_NAME))
  await syncFolder(part)
  await rename(part, out)
  await syncFolder(dirname(out))
  return manifest
}

async function writeIndex(file: SummedFile, snapshot: IndexSnapshot, cluster: string): Promise<BackupCounts> {
  const counts: BackupCounts = { applications: 0, groups: 0, routes: 0, counters: 0, files: 0 }
  const write = async (kind: keyof BackupCounts, lines: readonly IndexLine[]): Promise<void> => {
    counts[kind] = (counts[kind] ?? 0) + lines.length
    await file.writeLines(lines)
  }
  await file.writeLines([{ tributary: 'index', format: BACKUP_FORMAT, cluster } satisfies IndexHead])
  await write(
    'applications',
    (await snapshot.applications()).map(application => ({ application }))
  )
  await write(
    'groups',
    (await snapshot.groups()).map(group => ({ group }))
  )
  for await (const page of snapshot.routes()) {
    await write(
      'routes',
      page.map(route => ({ route }))
    )
  }
  for await (const page of snapshot.counters()) {
    await write(
      'counters',
      page.map(({ key, next }) => ({ counter: { key, next: next.toString() } }))
    )
  }
  for await (const page of snapshot.files()) {
    await write(
      'files',
      page.map(row => ({ file: row }))
    )
  }
  for await (const page of snapshot.titles()) {
    await write(
      'titles',
      page.map(title => ({ title }))
    )
  }
  for await (const page of snapshot.records()) {
    await write(
      'records',
      page.map(record => ({ record }))
    )
  }
  await file.writeLines([{ end: counts } satisfies IndexEnd])
  return counts
}

/** Whoever comes second while the first one works is refused; what broke off is removed. */
async function makePart({ out, pid, isAlive }: BackupOptions): Promise<string> {
  const part = `${out}${PART_SUFFIX}`
  const mark = join(part, UNFINISHED_NAME)
  for (let tried = 0; ; tried++) {
    try {
      await mkdir(part, { mode: FOLDER_MODE })
      await writeFile(mark, `${pid}\n`, { flag: 'wx', mode: FILE_MODE })
      return part
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || tried > 0) throw error
    }
    const owner = await readFile(mark, 'utf8').catch(() => undefined)
    if (owner === undefined) throw new BackupError(`${part} is in the way, and is no backup that broke off`)
    if (isAlive(Number.parseInt(owner, 10))) throw new BackupError(`another backup is made in ${part}`)
    await rm(part, { recursive: true })
  }
}

async function writeManifest(part: string, manifest: BackupManifest): Promise<void> {
  const handle = await open(join(part, MANIFEST_NAME), 'wx', FILE_MODE)
  try {
    await handle.writeFile(`${JSON.stringify(manifest, undefined, 2)}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** A file of a backup, with the checksum of what was written. */
class SummedFile {
  readonly #path: string
  readonly #handle: FileHandle
  readonly #hash: Hash = createHash('sha256')
  #bytes = 0

  private constructor(path: string, handle: FileHandle) {
    this.#path = path
    this.#handle = handle
  }

  static async create(folder: string, path: string): Promise<SummedFile> {
    const absolute = join(folder, path)
    await mkdir(dirname(absolute), { recursive: true, mode: FOLDER_MODE })
    return new SummedFile(path, await open(absolute, 'wx', FILE_MODE))
  }

  async writeLines(values: readonly object[]): Promise<void> {
    if (values.length === 0) return
    await this.#write(Buffer.from(values.map(value => `${JSON.stringify(value)}\n`).join('')))
  }

  /** What a file holds at this moment: journals only grow. */
  async copy(from: string): Promise<void> {
    const source = await open(from, 'r')
    const buffer = Buffer.allocUnsafe(COPY_BYTES)
    try {
      for (;;) {
        const { bytesRead } = await source.read(buffer, 0, COPY_BYTES)
        if (bytesRead === 0) return
        await this.#write(buffer.subarray(0, bytesRead))
      }
    } finally {
      await source.close()
    }
  }

  async end(): Promise<BackupManifest['files'][number]> {
    await this.#handle.sync()
    await this.#handle.close()
    return { path: this.#path, bytes: this.#bytes, sha256: this.#hash.digest('hex') }
  }

  async #write(bytes: Buffer): Promise<void> {
    await this.#handle.writeFile(bytes)
    this.#hash.update(bytes)
    this.#bytes += bytes.byteLength
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r')
  await handle.sync().finally(() => handle.close())
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
