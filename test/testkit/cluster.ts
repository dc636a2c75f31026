/** A small cluster for tests: real servers on free ports, each with its data in a temporary folder. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrateDatabase, openDatabase } from '@tributary/database'
import { createIdServer, idServerConfig, type IdServer } from '@tributary/idserver'
import { formatAddress, type Address } from '@tributary/protocol'
import { createLog, loadConfig, processPort, silentLog, systemClock, type Log } from '@tributary/runtime'
import { createStorage, initStore, storageConfig, type StorageServer } from '@tributary/storage'
import { createTracker, trackerConfig, type Tracker } from '@tributary/tracker'
import type { Greeting } from '@tributary/transport'

export const GROUP = 'group001'
export const APPLICATION = 'media'
const READY_MS = 10_000

export interface ClusterOptions {
  /** Default 1. */
  storages?: number
  /** Default: SQLite in the cluster's folder. */
  databaseUrl?: string
  redisUrl?: string
  applications?: readonly string[]
  /** Flags of each storage server beyond the addresses, such as `{ durability: 'page-cache' }`. */
  storage?: Readonly<Record<string, unknown>>
  /** The same for each one by itself, in order. */
  members?: readonly Readonly<Record<string, unknown>>[]
  tracker?: Readonly<Record<string, unknown>>
  /** Flags of every server: cluster key, TLS. */
  wire?: Readonly<Record<string, unknown>>
  /** The same, for whoever connects. */
  security?: Pick<Greeting, 'clusterKey' | 'tls'>
  /** Where the store is; default in the cluster's folder. */
  storeRoots?: readonly string[]
  /** Keep what an earlier cluster left there. */
  folder?: string
}

export interface TestCluster {
  readonly folder: string
  readonly databaseUrl: string
  readonly storeRoots: readonly string[]
  readonly tracker: Address
  readonly idServer: Address
  readonly storages: readonly Address[]
  readonly storageServers: readonly StorageServer[]
  /** Stops one storage server in order and starts it again on the same port. */
  restartStorage(index: number): Promise<void>
  stop(): Promise<void>
}

export const testLog = (): Log =>
  process.env['TRIBUTARY_TEST_LOG'] ? createLog({ name: 'test', level: 'debug' }) : silentLog()

/** Resolves when every storage server is active at the tracker. */
export async function startCluster(options: ClusterOptions = {}): Promise<TestCluster> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'tributary-cluster-')))
  const databaseUrl = options.databaseUrl ?? `sqlite:${join(folder, 'index.db')}`
  const storeRoots = options.storeRoots ?? [join(folder, 'store')]
  const log = testLog()
  const clock = systemClock()
  const port = processPort(process)
  const version = '0.0.0'
  await migrateDatabase(databaseUrl)
  const database = await openDatabase(databaseUrl)
  try {
    for (const name of options.applications ?? [APPLICATION]) await database.routes.addApplication(name)
    await database.routes.addGroup(GROUP)
    const cluster = await database.clusterId()
    for (const root of storeRoots) await initStore(root, { cluster, group: GROUP })
  } finally {
    await database.close()
  }
  const redis = options.redisUrl === undefined ? {} : { redis: options.redisUrl }
  const common = { port: '0', database: databaseUrl, ...options.wire }
  const tracker: Tracker = createTracker({
    config: loadConfig(trackerConfig, { flags: { ...common, ...redis, ...options.tracker } }),
    log,
    clock,
    version
  })
  const idServer: IdServer = createIdServer({
    config: loadConfig(idServerConfig, { flags: common }),
    log,
    clock,
    version
  })
  const trackerAt = await tracker.start()
  const idAt = await idServer.start()
  const storageServers: StorageServer[] = []
  const storages: Address[] = []
  const startStorage = async (index: number, storagePort: number): Promise<void> => {
    const server = createStorage({
      config: loadConfig(storageConfig, {
        flags: {
          ...common,
          ...redis,
          port: String(storagePort),
          group: GROUP,
          stores: storeRoots.join(','),
          trackers: formatAddress(trackerAt),
          'id-servers': formatAddress(idAt),
          member: `member${index + 1}`,
          'reserve-bytes': '1MiB',
          'heartbeat-s': '1',
          ...options.storage,
          ...options.members?.[index]
        }
      }),
      log,
      clock,
      version,
      port: {
        ...port,
        env: { ...port.env, NODE_TEST_CONTEXT: undefined },
        execArgv: ['--conditions=tributary-source'],
        writeError: text => {
          if (process.env['TRIBUTARY_TEST_LOG']) process.stderr.write(text)
        }
      }
    })
    storages[index] = await server.start()
    storageServers[index] = server
  }
  const stop = async (): Promise<void> => {
    const deadline = AbortSignal.timeout(5_000)
    await Promise.all(storageServers.map(server => server.stop(deadline)))
    await idServer.stop(deadline)
    await tracker.stop(deadline)
    if (options.folder === undefined) await rm(folder, { recursive: true, force: true })
  }
  try {
    for (let index = 0; index < (options.storages ?? 1); index++) await startStorage(index, 0)
    await untilActive(trackerAt, storages.length, options.security)
  } catch (error) {
    await stop()
    throw error
  }
  return {
    folder,
    databaseUrl,
    storeRoots,
    tracker: trackerAt,
    idServer: idAt,
    storages,
    storageServers,
    restartStorage: async index => {
      await storageServers[index]!.stop(AbortSignal.timeout(5_000))
      await startStorage(index, storages[index]!.port)
    },
    stop
  }
}

async function untilActive(
  tracker: Address,
  count: number,
  security: ClusterOptions['security'] = {}
): Promise<void> {
  const { PeerPool } = await import('@tributary/transport')
  const { COMMANDS, encodeFrame, extension } = await import('@tributary/protocol')
  const pool = new PeerPool({
    role: 'tracker',
    greeting: { role: 'client', cluster: '', version: '0.0.0', ...security }
  })
  const endMs = performance.now() + READY_MS
  try {
    for (;;) {
      const reply = await pool.call(tracker, () => encodeFrame(COMMANDS.CLUSTER.code), { timeoutMs: 1_000 })
      const { groups } = extension.clusterReply.decode(reply)
      const active = groups.flatMap(({ members }) => members).filter(({ status }) => status === 'ACTIVE')
      if (active.length >= count) return
      if (performance.now() > endMs)
        throw new Error(`only ${active.length} of ${count} storage servers are active`)
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  } finally {
    pool.close()
  }
}
