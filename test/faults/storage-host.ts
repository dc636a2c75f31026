/** One storage server as processes of its own, an ID server for it, and no tracker: what crash tests need. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { migrateDatabase, openDatabase } from '@tributary/database'
import { createIdServer, idServerConfig, type IdServer } from '@tributary/idserver'
import { formatAddress, type Address } from '@tributary/protocol'
import { loadConfig, systemClock } from '@tributary/runtime'
import { initStore } from '@tributary/storage'
import { testLog } from '../testkit/cluster.ts'
import { WirePeer } from './wire-peer.ts'

const ENTRY = fileURLToPath(new URL('../testkit/storage-process.ts', import.meta.url))
/** It is started dozens of times: with its sources compiled once, in half the time. */
const COMPILED = fileURLToPath(new URL('../../.cache/compiled/', import.meta.url))
export const GROUP = 'group001'
const READY_MS = 40_000
const SERVES_MS = 15_000
/** Nobody listens there: a storage server serves all the same. */
const NO_TRACKER = '127.0.0.1:9'

export interface StorageHostOptions {
  /** Temporary, of the test. */
  folder: string
  databaseUrl: string
  stores: readonly string[]
  /** Another database for the ids, where the index is on a disk that the test takes away. */
  idDatabaseUrl?: string
  flags?: Readonly<Record<string, string>>
  env?: Readonly<Record<string, string>>
}

/** Migrates the database, makes the stores, starts the ID server. */
export async function prepareHost(options: StorageHostOptions): Promise<StorageHost> {
  const { databaseUrl, idDatabaseUrl = databaseUrl, stores } = options
  await migrateDatabase(databaseUrl)
  const database = await openDatabase(databaseUrl)
  try {
    await database.routes.addApplication('media')
    await database.routes.addGroup(GROUP)
    const cluster = await database.clusterId()
    if (idDatabaseUrl !== databaseUrl) await migrateDatabase(idDatabaseUrl, { clusterId: cluster })
    for (const root of stores) {
      await mkdir(root, { recursive: true })
      await initStore(root, { cluster, group: GROUP })
    }
  } finally {
    await database.close()
  }
  const config = loadConfig(idServerConfig, { flags: { port: '0', database: idDatabaseUrl } })
  const ids = createIdServer({ config, log: testLog(), clock: systemClock(), version: '0.0.0' })
  return new StorageHost(options, ids, await ids.start())
}

export class StorageHost {
  readonly #options: StorageHostOptions
  readonly #ids: IdServer
  readonly #idsAt: Address
  #child: ChildProcess | undefined
  #port = 0

  constructor(options: StorageHostOptions, ids: IdServer, idsAt: Address) {
    this.#options = options
    this.#ids = ids
    this.#idsAt = idsAt
  }

  get address(): Address {
    return { host: '127.0.0.1', port: this.#port }
  }

  /** Resolves when it serves; after a kill on the same port. `moved` replaces where index and stores are. */
  async start(moved: { databaseUrl?: string; stores?: readonly string[] } = {}): Promise<void> {
    const { databaseUrl, stores, flags } = { ...this.#options, ...moved }
    const all = {
      database: databaseUrl,
      stores: stores.join(','),
      group: GROUP,
      trackers: NO_TRACKER,
      'id-servers': formatAddress(this.#idsAt),
      member: 'member1',
      'reserve-bytes': '1MiB',
      'redo-bytes': '16MiB',
      'sweep-interval-h': '0',
      port: String(this.#port),
      ...flags
    }
    const child = fork(ENTRY, [JSON.stringify(all)], {
      execArgv: ['--conditions=tributary-source'],
      env: {
        ...process.env,
        NODE_TEST_CONTEXT: undefined,
        NODE_COMPILE_CACHE: COMPILED,
        ...this.#options.env
      },
      stdio: ['ignore', 'ignore', process.env['TRIBUTARY_TEST_LOG'] ? 'inherit' : 'ignore', 'ipc']
    })
    this.#child = child
    this.#port = await new Promise<number>((resolve, reject) => {
      const late = setTimeout(() => {
        child.kill('SIGKILL')
        reject(new Error('the storage server was not ready in time'))
      }, READY_MS)
      child.on('message', (message: { type: string; fields?: { port: number }; message?: string }) => {
        if (message.type === 'ready') resolve(message.fields!.port)
        if (message.type === 'failed') reject(new Error(message.message))
      })
      child.once('exit', code => reject(new Error(`the storage server ended with ${code}`)))
      child.once('exit', () => clearTimeout(late))
      child.once('message', () => clearTimeout(late))
    })
  }

  /** Main process and workers. */
  async pids(): Promise<{ main: number; workers: number[] }> {
    const main = this.#child!.pid!
    const text = await readFile(`/proc/${main}/task/${main}/children`, 'utf8').catch(() => '')
    return { main, workers: text.split(' ').filter(Boolean).map(Number) }
  }

  async signal(signal: NodeJS.Signals): Promise<void> {
    const { main, workers } = await this.pids()
    for (const pid of [main, ...workers]) send(pid, signal)
  }

  /** The data workers; the main process replaces them. Resolves when their successors serve. */
  async killWorkers(): Promise<void> {
    const { workers } = await this.pids()
    for (const pid of workers) send(pid, 'SIGKILL')
    const endMs = performance.now() + SERVES_MS
    for (;;) {
      const now = await this.pids()
      const isReplaced = now.workers.length > 0 && !now.workers.some(pid => workers.includes(pid))
      if (isReplaced && (await answers(this.address))) return
      if (performance.now() > endMs) throw new Error('no worker serves')
      await sleep(10)
    }
  }

  /** The main process; its workers end by themselves, if they are not killed in the same moment. */
  async killMain(together: boolean): Promise<void> {
    const { main, workers } = await this.pids()
    const gone = once(this.#child!, 'exit')
    send(main, 'SIGKILL')
    if (together) for (const pid of workers) send(pid, 'SIGKILL')
    await gone
    this.#child = undefined
  }

  /** In order. */
  async stop(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    send(child.pid!, 'SIGTERM')
    await gone
  }

  /** Whatever runs still, and the ID server. */
  async close(): Promise<void> {
    if (this.#child) {
      await this.signal('SIGCONT')
      await this.killMain(true)
    }
    await this.#ids.stop(AbortSignal.timeout(2_000))
  }

  get storeRoots(): readonly string[] {
    return this.#options.stores
  }
}

export function sqliteIn(folder: string): string {
  return `sqlite:${join(folder, 'index.db')}`
}

async function answers(address: Address): Promise<boolean> {
  try {
    const peer = await WirePeer.greeted(address)
    peer.close()
    return true
  } catch {
    return false // not yet
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // gone by itself
  }
}
