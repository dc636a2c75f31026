import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrateDatabase, openDatabase, type Database, type FileRow } from '@tributary/database'
import {
  COMMANDS,
  decodeAddressesReply,
  encodeBeat,
  encodeFileKey,
  encodeFrame,
  encodeJoin,
  extension,
  formatAddress,
  type Address,
  type ClusterReply,
  type FileKey,
  type JoinRecord,
  type LocateReply,
  type Presence
} from '@tributary/protocol'
import { loadConfig, silentLog, systemClock } from '@tributary/runtime'
import { Connection, type Greeting } from '@tributary/transport'
import { createTracker, trackerConfig, type Tracker, type TrackerDeps } from '../src/index.ts'

export interface Cleaner {
  after(callback: () => unknown): void
}

/** Migrated once and copied: a migration waits for the disk many times. */
let template: Promise<readonly [ending: string, bytes: Buffer][]> | undefined

async function temporaryFolder(t: Cleaner): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-tracker-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** With application `media` and groups `group001` and `group002`. */
async function migratedFiles(t: Cleaner): Promise<[ending: string, bytes: Buffer][]> {
  const path = join(await temporaryFolder(t), 'index.db')
  await migrateDatabase(`sqlite:${path}`)
  const database = await openDatabase(`sqlite:${path}`)
  await Promise.all([
    database.routes.addApplication('media'),
    database.routes.addGroup('group001'),
    database.routes.addGroup('group002')
  ])
  await database.close()
  const endings = ['', '-wal'].filter(ending => existsSync(path + ending))
  return Promise.all(endings.map(async ending => [ending, await readFile(path + ending)] as [string, Buffer]))
}

/** Address of a SQLite file in a folder of its own. */
export async function sqliteUrl(t: Cleaner): Promise<string> {
  const path = join(await temporaryFolder(t), 'index.db')
  for (const [ending, bytes] of await (template ??= migratedFiles(t))) await writeFile(path + ending, bytes)
  return `sqlite:${path}`
}

export interface RunningTracker {
  tracker: Tracker
  address: Address
  stop(): Promise<void>
}

export async function runTracker(
  t: Cleaner,
  flags: Readonly<Record<string, unknown>>,
  deps: Partial<TrackerDeps> = {}
): Promise<RunningTracker> {
  const config = loadConfig(trackerConfig, { flags: { '--port': '0', '--host-name': 'vm', ...flags } })
  const tracker = createTracker({ config, log: silentLog(), clock: systemClock(), version: '0.1.0', ...deps })
  const address = await tracker.start()
  const stop = (): Promise<void> => tracker.stop(AbortSignal.timeout(2_000))
  t.after(stop)
  return { tracker, address, stop }
}

/** A tracker with a database of its own, opened here so that a test can write to it and take it away. */
export async function runTrackerOnItsOwn(
  t: Cleaner,
  flags: Readonly<Record<string, unknown>> = {},
  deps: Partial<TrackerDeps> = {}
): Promise<RunningTracker & { database: Database; url: string }> {
  const url = await sqliteUrl(t)
  const database = await openDatabase(url)
  const running = await runTracker(t, { '--database': url, ...flags }, { database, ...deps })
  t.after(() => database.close())
  return { ...running, database, url }
}

export const STORAGE_GREETING: Greeting = { role: 'storage', cluster: '', version: '0.1.0' }
/** Generous: the machine may be busy with other tests. */
export const CALL = { timeoutMs: 20_000 }

/** A connection of a legacy program. */
export async function legacyTo(t: Cleaner, address: Address): Promise<Connection> {
  const connection = await Connection.open('tracker', address, { timeoutMs: 2_000 })
  t.after(() => connection.destroy())
  return connection
}

/** A connection of a program of ours. */
export async function oursTo(t: Cleaner, address: Address): Promise<Connection> {
  const connection = await legacyTo(t, address)
  await connection.greet(STORAGE_GREETING, CALL)
  return connection
}

export function joinRecord(changes: Partial<JoinRecord> = {}): JoinRecord {
  return {
    version: '1.0',
    group: 'group001',
    hostName: 'host1',
    port: 23_000,
    startedAtS: 1_790_000_000,
    joinedAtS: 1_790_000_001,
    ...changes
  }
}

export function presence(changes: Partial<Presence> = {}): Presence {
  return {
    ...joinRecord(),
    serving: true,
    taking: true,
    freeBytes: 1e9,
    totalBytes: 2e9,
    connections: 0,
    requestsPerS: 0,
    bytesPerS: 0,
    busyPermille: 0,
    ...changes
  }
}

export async function joins(connection: Connection, record: JoinRecord): Promise<void> {
  await connection.call(encodeFrame(COMMANDS.JOIN.code, encodeJoin(record)), CALL)
}

export async function beat(
  connection: Connection,
  record: { group: string; hostName: string }
): Promise<void> {
  await connection.call(encodeFrame(COMMANDS.BEAT.code, encodeBeat(record)), CALL)
}

export async function report(connection: Connection, changes: Partial<Presence> = {}): Promise<void> {
  const body = extension.presence.encode(presence(changes))
  await connection.call(encodeFrame(COMMANDS.PRESENCE.code, body), CALL)
}

export async function leave(
  connection: Connection,
  identity: { group: string; hostName: string; port: number }
): Promise<void> {
  await connection.call(encodeFrame(COMMANDS.LEAVE.code, extension.leave.encode(identity)), CALL)
}

export const KEY: FileKey = { application: 'media', user: 'user1', file: 'file1' }

/** Group and addresses as a legacy client gets them. */
export async function addresses(
  connection: Connection,
  key: FileKey
): Promise<{ group: string; addresses: string[] }> {
  const body = await connection.call(encodeFrame(COMMANDS.SADDRS.code, encodeFileKey(key)), CALL)
  const reply = decodeAddressesReply(body)
  return { group: reply.group, addresses: reply.addresses.map(formatAddress) }
}

export async function locate(
  connection: Connection,
  key: FileKey & { forUpload?: boolean; clientIp?: string }
): Promise<LocateReply> {
  const request = encodeFrame(COMMANDS.LOCATE.code, extension.locate.encode(key))
  return extension.locateReply.decode(await connection.call(request, CALL))
}

export async function cluster(connection: Connection): Promise<ClusterReply> {
  const body = await connection.call(encodeFrame(COMMANDS.CLUSTER.code), {
    ...CALL,
    replyBytesMax: 32 * 1024 * 1024
  })
  return extension.clusterReply.decode(body)
}

let rows = 0

export function fileRow(key: FileKey, changes: Partial<FileRow> = {}): FileRow {
  const serial = String(++rows).padStart(32, '0')
  return {
    ...key,
    generation: serial,
    nonce: serial,
    state: 'stored',
    trashedUntilMs: 0,
    sizeBytes: 7,
    crc32: 0,
    group: 'group001',
    store: '00000000-0000-4000-8000-000000000001',
    path: `000/000/000/${serial}`,
    name: '',
    mediaType: '',
    storedAtMs: 1_790_000_000_000,
    ...changes
  }
}
