/** `tributary up` as a user runs it, on free ports, with its data in a temporary folder. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, type ClientOptions } from '@tributary/client'
import { COMMANDS, encodeFrame, type Address } from '@tributary/protocol'
import { WirePeer } from '../faults/wire-peer.ts'
import {
  argumentsOf,
  childrenOf,
  residentBytesOf,
  TributaryProcess,
  until,
  type ProcessEnd
} from './tributary-process.ts'

const FREE_PORTS = ['--tracker-port', '0', '--id-port', '0', '--storage-port', '0', '--http-port', '0']
const READY_WITHIN_MS = 60_000
const APPLICATION = 'media'

export const ROLES = ['tracker', 'id', 'storage1', 'storage2', 'gateway'] as const
export type Role = (typeof ROLES)[number]

export interface UpOptions {
  /** Holds the data folder; default a temporary one that goes with `close`. */
  folder?: string
  /** Default: SQLite in the data folder. */
  databaseUrl?: string
  redisUrl?: string
  flags?: readonly string[]
  /** A worker that looks into films. Default: none, because what is stored in most tests is none. */
  worker?: boolean
  env?: Readonly<Record<string, string>>
}

export interface RoleProcess {
  pid: number
  /** Data workers of a storage server. */
  workers: number[]
  address: Address
}

export class RunningUp {
  readonly folder: string
  readonly #process: TributaryProcess
  readonly #note: { trackers: string[]; httpUrl: string }
  readonly #databaseUrl: string
  readonly #ownsFolder: boolean
  readonly #clients: Client[] = []

  private constructor(
    folder: string,
    running: TributaryProcess,
    note: { trackers: string[]; httpUrl: string },
    { databaseUrl, folder: given }: UpOptions
  ) {
    this.folder = folder
    this.#process = running
    this.#note = note
    this.#databaseUrl = databaseUrl ?? `sqlite:${join(folder, 'data', 'index.db')}`
    this.#ownsFolder = given === undefined
  }

  /** Resolves when it has printed its `ready` line; fails with nothing left running. */
  static async start(options: UpOptions = {}): Promise<RunningUp> {
    const { databaseUrl, redisUrl, flags = [], env = {} } = options
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'tributary-up-')))
    const args = ['up', ...FREE_PORTS, ...flags]
    if (!options.worker) args.push('--no-worker')
    if (databaseUrl !== undefined) args.push('--database', databaseUrl)
    if (redisUrl !== undefined) args.push('--redis', redisUrl)
    const running = new TributaryProcess(args, { folder, env })
    try {
      await until('the ready line', READY_WITHIN_MS, () => {
        if (!running.isRunning) throw new Error(`up ended: ${running.err}`)
        return /^ready .*Ctrl-C/ms.test(running.out)
      })
      const note = JSON.parse(await readFile(join(folder, 'data', 'up.json'), 'utf8'))
      return new RunningUp(folder, running, note, options)
    } catch (error) {
      await running.stop().catch(() => {})
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true })
      throw error
    }
  }

  get trackers(): string[] {
    return this.#note.trackers
  }

  /** Of the gateway, without a slash at the end. */
  get httpUrl(): string {
    return this.#note.httpUrl
  }

  get databaseUrl(): string {
    return this.#databaseUrl
  }

  get storeRoot(): string {
    return join(this.folder, 'data', 'stores', 'group001')
  }

  get pid(): number {
    return this.#process.pid
  }

  get err(): string {
    return this.#process.err
  }

  get ended(): Promise<ProcessEnd> {
    return this.#process.ended
  }

  urlOf(user: string, file: string): string {
    return `${this.httpUrl}/files/${APPLICATION}/${user}/${encodeURIComponent(file)}`
  }

  /** Closed with the cluster. */
  client(options: Partial<ClientOptions> = {}): Client {
    const client = new Client({ trackers: this.trackers, ...options })
    this.#clients.push(client)
    return client
  }

  /** undefined while it is not running. */
  async find(role: Role): Promise<RoleProcess | undefined> {
    for (const pid of await childrenOf(this.pid)) {
      const args = await argumentsOf(pid)
      const verb = args[args.findIndex(arg => arg.endsWith('/main.ts')) + 1]
      const valueOf = (flag: string): string => args[args.indexOf(flag) + 1] ?? ''
      if ((verb === 'storage' ? valueOf('--member') : verb) !== role) continue
      const address = { host: valueOf('--host'), port: Number(valueOf('--port')) }
      return { pid, workers: verb === 'storage' ? await childrenOf(pid) : [], address }
    }
    return undefined
  }

  /** kill -9 of a role, with its data workers, as a power cut would. @returns what was killed. */
  async kill(role: Role): Promise<RoleProcess> {
    const found = await this.find(role)
    if (!found) throw new Error(`${role} does not run`)
    await this.#process.family()
    for (const pid of [found.pid, ...found.workers]) this.#process.kill(pid)
    return found
  }

  /** kill -9 of a storage server's data workers alone. */
  async killWorkers(role: 'storage1' | 'storage2'): Promise<RoleProcess> {
    const found = await this.find(role)
    if (!found || found.workers.length === 0) throw new Error(`${role} has no workers`)
    await this.#process.family()
    for (const pid of found.workers) this.#process.kill(pid)
    return found
  }

  /** Resolves when successors of what was killed do what it did. @returns milliseconds from this call on. */
  async untilBack(role: Role, killed: RoleProcess, withinMs: number): Promise<number> {
    const startMs = performance.now()
    const gone = new Set([killed.pid, ...killed.workers])
    await until(`${role} is back`, withinMs, async () => {
      const found = await this.find(role)
      if (!found) return false
      const isWorker = killed.workers.length > 0
      const isNew = isWorker ? found.workers.some(pid => !gone.has(pid)) : !gone.has(found.pid)
      return isNew && (await this.#serves(role, found.address))
    })
    return performance.now() - startMs
  }

  /** Whether it answers what it is there for; for a tracker that is the whole table. */
  async #serves(role: Role, address: Address): Promise<boolean> {
    try {
      if (role === 'gateway') return (await fetch(`${this.httpUrl}/readyz`)).ok
      if (role === 'tracker') return (await this.activeMembers()) === 2
      const peer = role === 'id' ? await WirePeer.open(address) : await WirePeer.greeted(address)
      try {
        if (role === 'id') await peer.ask(encodeFrame(COMMANDS.ID_GET.code, Buffer.from('probe\0')))
        return true
      } finally {
        peer.close()
      }
    } catch {
      return false // not yet
    }
  }

  /** Storage servers that the tracker hands out. */
  async activeMembers(): Promise<number> {
    const client = new Client({ trackers: this.trackers })
    try {
      const { groups } = await client.groups()
      const members = groups.flatMap(group => group.members)
      return members.filter(({ status, serving }) => status === 'ACTIVE' && serving).length
    } finally {
      client.close()
    }
  }

  /** Resident memory per role, workers named after their server. */
  async residentBytes(): Promise<Map<string, number>> {
    const bytes = new Map<string, number>([['up', await residentBytesOf(this.pid)]])
    for (const role of ROLES) {
      const found = await this.find(role)
      if (!found) continue
      bytes.set(role, await residentBytesOf(found.pid))
      for (const [index, pid] of found.workers.entries())
        bytes.set(`${role}.${index}`, await residentBytesOf(pid))
    }
    return bytes
  }

  /** Files of uploads under way, by the member that takes them: `.tmp/<member>.<worker>/<boot>/`. */
  async temporaryFiles(): Promise<{ member: string; path: string }[]> {
    const root = join(this.storeRoot, '.tmp')
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])
    return entries
      .filter(entry => entry.isFile())
      .map(entry => {
        const path = join(entry.parentPath, entry.name)
        return { member: /^[^./]+/.exec(path.slice(root.length + 1))![0], path }
      })
  }

  /** In order; the folder stays. @returns how it ended. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<ProcessEnd> {
    try {
      return await this.#process.stop(signal)
    } finally {
      for (const client of this.#clients.splice(0)) client.close()
    }
  }

  /** Whatever runs still, and the folder. */
  async close(): Promise<void> {
    try {
      await this.stop()
    } finally {
      if (this.#ownsFolder) await rm(this.folder, { recursive: true, force: true, maxRetries: 3 })
    }
  }
}
