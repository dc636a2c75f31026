/** Parts of a storage server, put together for a test without one. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { migrateDatabase, openDatabase, type Database, type FileRow } from '@tributary/database'
import { encodeInt64, extension, type Address } from '@tributary/protocol'
import { silentLog } from '@tributary/runtime'
import { FrameServer, PeerPool, replyOf, type Handlers } from '@tributary/transport'
import { Deletion } from '../src/deletion.ts'
import { IdSource } from '../src/id-source.ts'
import { Journal } from '../src/journal.ts'
import { OpenFiles } from '../src/open-files.ts'
import { recover, TEMPORARY_FOLDER, type Recovered } from '../src/recovery.ts'
import { REDO_FOLDER, RedoLog } from '../src/redo-log.ts'
import { SmallUploads } from '../src/small-uploads.ts'
import { makeStoreDirectory } from '../src/store-directory.ts'
import { initStore, type StoreMarker } from '../src/store-marker.ts'
import { Store } from '../src/store.ts'
import { randomHex, rowOf } from '../src/upload-record.ts'
import { Volume } from '../src/volume.ts'

export const GREETING = { role: 'storage', cluster: '', version: '0.0.0' } as const

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-storage-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** An ID server that counts in memory, and says what it was asked. */
export async function startIds(
  t: TestContext,
  given: Partial<Handlers<'id'>> = {}
): Promise<{ address: Address; asked: string[]; stop: () => Promise<void> }> {
  let next = 0
  const asked: string[] = []
  const handlers: Handlers<'id'> = {
    ID_GET: () => {
      asked.push('ID_GET')
      return replyOf('id', encodeInt64(next++))
    },
    ID_BLOCK: body => {
      const { count } = extension.idBlock.decode(body)
      asked.push(`ID_BLOCK ${count}`)
      const first = next
      next += count
      return replyOf('id', extension.idBlockReply.encode({ first, count }))
    },
    ID_RAISE: body => {
      const { atLeast } = extension.idRaise.decode(body)
      asked.push(`ID_RAISE ${atLeast}`)
      next = Math.max(next, atLeast)
      return replyOf('id')
    },
    ...given
  }
  const server = new FrameServer({
    role: 'id',
    hostName: 'ids',
    greeting: { role: 'id', cluster: '', version: '0.0.0' },
    handlers,
    onFault: () => {}
  })
  const { port } = await server.start({ host: '127.0.0.1', port: 0 })
  const stop = (): Promise<void> => server.stop(AbortSignal.abort())
  t.after(stop)
  return { address: { host: '127.0.0.1', port }, asked, stop }
}

export interface Parts {
  folder: string
  root: string
  database: Database
  marker: StoreMarker
  volume: Volume
  journal: Journal
  redo: RedoLog
  store: Store
  small: SmallUploads
  files: OpenFiles
  deletion: Deletion
  recovered: Recovered
}

export interface PartsOptions {
  folder?: string
  member?: string
  /** Its store lies in a folder of this name; default group001, in `store`. */
  group?: string
  durable?: boolean
  segmentBytes?: number
  checkpoint?: () => Promise<void>
}

/** A store with its index: what a data worker opens, without its server. */
export async function openParts(t: TestContext, options: PartsOptions = {}): Promise<Parts> {
  const { member = 'member1.0', durable = true, group = 'group001' } = options
  const folder = options.folder ?? (await temporaryFolder(t))
  const root = join(folder, options.group ?? 'store')
  const url = `sqlite:${join(folder, 'index.db')}`
  await migrateDatabase(url)
  const database = await openDatabase(url)
  const cluster = await database.clusterId()
  const marker = await initStore(root, { cluster, group })
  const volume = await Volume.open(root)
  const journal = new Journal(volume, member)
  const log = silentLog()
  const recovered = await recover({
    volume,
    store: marker.store,
    writers: [member],
    files: database.files,
    moves: database.moves,
    journal,
    log
  })
  const { address } = await startIds(t)
  const pool = new PeerPool({ role: 'id', greeting: GREETING })
  const ids = new IdSource(pool, [address], marker.store)
  await ids.raise(await highest(database, marker.store))
  const boot = randomHex().slice(0, 8)
  await makeStoreDirectory(root, join(TEMPORARY_FOLDER, member, boot))
  const redo = new RedoLog(root, join(REDO_FOLDER, member, boot), {
    segmentBytes: options.segmentBytes ?? 16 * 1024 * 1024,
    checkpoint: options.checkpoint ?? (() => database.files.sync())
  })
  const store = new Store({
    marker,
    volume,
    member,
    journal,
    redo,
    ids,
    temporary: join(root, TEMPORARY_FOLDER, member, boot),
    reserveBytes: 0,
    durable
  })
  await store.measure()
  const stores = new Map([[store.uuid, store]])
  const files = new OpenFiles(database.files, stores)
  t.after(async () => {
    files.close()
    ids.close()
    pool.close()
    redo.close()
    await journal.close()
    await database.close()
  })
  return {
    folder,
    root,
    database,
    marker,
    volume,
    journal,
    redo,
    store,
    small: new SmallUploads(store, redo, database.files),
    files,
    deletion: new Deletion(database.files, stores, files),
    recovered
  }
}

export function labels(): { nonce: string; name: string; mediaType: string } {
  return { nonce: randomHex(), name: '', mediaType: '' }
}

export function keyOf(file: string): { application: string; user: string; file: string } {
  return { application: 'media', user: 'anna', file }
}

export function rowAt(path: string, over: Partial<FileRow> = {}): FileRow {
  const row = rowOf({
    key: keyOf(path),
    ...labels(),
    sizeBytes: 5,
    crc32: 0x3610a686,
    group: 'group001',
    store: '00000000-0000-4000-8000-000000000000',
    path,
    storedAtMs: 1_700_000_000_000
  })
  return { ...row, ...over }
}

async function highest(database: Database, store: string): Promise<number> {
  const { files } = await database.files.totals(store)
  return files === 0 ? 0 : 1_000_000 + files
}
