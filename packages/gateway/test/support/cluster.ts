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
  stop(): Promise<void>
}

const READY_MS_MAX = 10_000

export async function startCluster({ storageCount = 1 } = {}): Promise<Cluster> {
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
    const tracker = createTracker({ ...parts, config: loadConfig(trackerConfig, { flags: common }) })
    stops.push(deadline => tracker.stop(deadline))
    const trackers = [await tracker.start()].map(({ host, port }) => `${host}:${port}`).join(',')
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
    const gateway = createGateway({
      ...parts,
      config: loadConfig(gatewayConfig, { flags: { port: 0, trackers } })
    })
    stops.push(deadline => gateway.stop(deadline))
    const http = new HttpCaller(await gateway.start())
    for (let waitedMs = 0; (await http.ask('/readyz')).status !== 200; waitedMs += 100) {
      if (waitedMs > READY_MS_MAX) throw new Error((await http.ask('/readyz')).text)
      await wait(100)
    }
    return { http, tracker: trackers, storePath, storages, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
