/** A whole cluster in this process: tracker, ID server, storage servers and gateway on free ports, over SQLite. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { migrateDatabase, openDatabase } from '@tributary/database'
import { createIdServer, idServerConfig } from '@tributary/idserver'
import { loadConfig, processPort, silentLog, systemClock } from '@tributary/runtime'
import { createStorage, initStore, storageConfig, type StorageServer } from '@tributary/storage'
import { createTracker, trackerConfig } from '@tributary/tracker'
import { createGateway, gatewayConfig } from '../../src/index.ts'
import { HttpCaller } from './http-caller.ts'

export interface Cluster {
  http: HttpCaller
  /** host:port */
  tracker: string
  /** Where content lies, to look at what an upload left. */
  storePath: string
  storages: StorageServer[]
  /** One more gateway. */
  openGateway(flags: Readonly<Record<string, unknown>>, env?: Record<string, string>): Promise<HttpCaller>
  stopTracker(): Promise<void>
  /** On the port that it had. */
  startTracker(): Promise<void>
  stop(): Promise<void>
}

const READY_MS_MAX = 10_000

export async function startCluster({
  storageCount = 1,
  gateway = {} as Readonly<Record<string, unknown>>
} = {}): Promise<Cluster> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-gateway-'))
  const stops: ((deadline: AbortSignal) => Promise<unknown>)[] = []
  const stop = async (): Promise<void> => {
    for (const stopOne of stops.reverse()) await stopOne(AbortSignal.timeout(2_000))
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const url = `sqlite:${join(folder, 'index.db')}`
    const storePath = join(folder, 'store')
    await migrateDatabase(url)
    const database = await openDatabase(url)
    await database.routes.addApplication('media')
    await database.routes.addGroup('group001')
    await initStore(storePath, { cluster: await database.clusterId(), group: 'group001' })
    await database.close()

    const parts = { log: silentLog(), clock: systemClock(), version: '0.0.0', port: processPort(process) }
    const common = { port: 0, database: url }
    const makeTracker = (port: number) =>
      createTracker({ ...parts, config: loadConfig(trackerConfig, { flags: { ...common, port } }) })
    let tracker = makeTracker(0)
    stops.push(deadline => tracker.stop(deadline))
    const trackerAt = await tracker.start()
    const trackers = `${trackerAt.host}:${trackerAt.port}`
    const idServer = createIdServer({ ...parts, config: loadConfig(idServerConfig, { flags: common }) })
    stops.push(deadline => idServer.stop(deadline))
    const idServers = [await idServer.start()].map(({ host, port }) => `${host}:${port}`).join(',')
    const storages: StorageServer[] = []
    for (let index = 0; index < storageCount; index++) {
      const config = loadConfig(storageConfig, {
        flags: {
          ...common,
          trackers,
          idServers,
          stores: storePath,
          member: `member${index}`,
          heartbeatS: 0.2,
          reserveBytes: 0
        }
      })
      const storage = createStorage({ ...parts, config })
      stops.push(deadline => storage.stop(deadline))
      await storage.start()
      storages.push(storage)
    }
    const openGateway: Cluster['openGateway'] = async (flags, env = {}) => {
      const config = loadConfig(gatewayConfig, { flags: { port: 0, trackers, ...flags }, env })
      const gateway = createGateway({ ...parts, config })
      stops.push(deadline => gateway.stop(deadline))
      return new HttpCaller(await gateway.start())
    }
    const http = await openGateway(gateway)
    for (let waitedMs = 0; (await http.ask('/readyz')).status !== 200; waitedMs += 100) {
      if (waitedMs > READY_MS_MAX) throw new Error((await http.ask('/readyz')).text)
      await wait(100)
    }
    return {
      http,
      tracker: trackers,
      storePath,
      storages,
      openGateway,
      stopTracker: () => tracker.stop(AbortSignal.timeout(2_000)),
      startTracker: async () => {
        tracker = makeTracker(trackerAt.port)
        await tracker.start()
      },
      stop
    }
  } catch (error) {
    await stop()
    throw error
  }
}
