/** The servers under test, each a process of its own: tracker, ID server, storage servers, gateway. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrateDatabase, openDatabase } from '@tributary/database'
import { formatAddress } from '@tributary/protocol'
import { initStore } from '@tributary/storage'
import { startRole, type Child, type Generator } from './children.ts'
import { APPLICATION } from './content.ts'
import type { Target } from './task.ts'

const READY_MS = 15_000

export interface ServerOptions {
  folder: string
  /** Default: SQLite in `folder`. */
  databaseUrl?: string
  redisUrl?: string
  /** Data workers of each storage server. Default 1. */
  workers?: number
  /** Of the large file; 0: none. */
  bigBytes: number
  nodeFlags?: readonly string[]
}

export interface Servers {
  readonly tracker: Child
  readonly id: Child
  /** Durable, the default: the hot files and the large one are here. */
  readonly disk: Child
  /** Without syncs, with a store and a group of its own. */
  readonly page: Child
  readonly gateway: Child
  stop(): Promise<void>
}

/** All or nothing; resolves when files can be stored and found. */
export async function startServers(
  generator: Generator,
  { folder, databaseUrl, redisUrl, workers = 1, bigBytes, nodeFlags }: ServerOptions
): Promise<Servers> {
  const database = databaseUrl ?? `sqlite:${join(folder, 'index.db')}`
  const stores = { disk: join(folder, 'disk'), page: join(folder, 'page') }
  await migrateDatabase(database)
  const index = await openDatabase(database)
  try {
    await index.routes.addApplication(APPLICATION)
    for (const [group, root] of [
      ['group001', stores.disk],
      ['group002', stores.page]
    ] as const) {
      await index.routes.addGroup(group)
      await initStore(root, { cluster: await index.clusterId(), group })
    }
  } finally {
    await index.close()
  }
  const started: Child[] = []
  const stop = async (): Promise<void> => {
    for (const child of started.toReversed()) await child.stop()
  }
  const start = async (role: string, flags: Record<string, string>): Promise<Child> => {
    const child = await startRole(role, flags, nodeFlags)
    started.push(child)
    return child
  }
  try {
    const shared = { database, ...(redisUrl === undefined ? {} : { redis: redisUrl }) }
    const tracker = await start('tracker', shared)
    const id = await start('id', { database })
    const storage = (group: string, root: string, durability: string): Promise<Child> =>
      start('storage', {
        ...shared,
        group,
        stores: root,
        durability,
        trackers: formatAddress(tracker.target),
        'id-servers': formatAddress(id.target),
        workers: String(workers),
        'heartbeat-s': '1',
        'log-level': 'error'
      })
    const disk = await storage('group001', stores.disk, 'disk')
    const page = await storage('group002', stores.page, 'page-cache')
    const gateway = await start('gateway', { trackers: formatAddress(tracker.target) })
    await generator.run({ kind: 'prepare', target: disk.target, bigBytes })
    await untilActive(generator, tracker.target)
    return { tracker, id, disk, page, gateway, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function untilActive(generator: Generator, target: Target): Promise<void> {
  const endMs = performance.now() + READY_MS
  for (;;) {
    try {
      await generator.run({
        kind: 'exchange',
        operation: 'addresses',
        target,
        connections: 1,
        durationMs: 10
      })
      return
    } catch (error) {
      if (performance.now() > endMs) throw error
      await sleep(100)
    }
  }
}
