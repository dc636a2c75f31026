/** A storage server that can be killed: a process of its own with workers of its own, beside a test's cluster. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Client } from '@tributary/client'
import { formatAddress } from '@tributary/protocol'
import { GROUP, type TestCluster } from './cluster.ts'

const ENTRY = fileURLToPath(new URL('./storage-process.ts', import.meta.url))
const READY_MS = 20_000
const GONE_MS = 5_000

export class StorageMember {
  readonly name: string
  readonly #flags: Record<string, string>
  readonly #cluster: TestCluster
  #child: ChildProcess | undefined
  #port = 0

  constructor(cluster: TestCluster, name: string) {
    this.name = name
    this.#cluster = cluster
    this.#flags = {
      database: cluster.databaseUrl,
      group: GROUP,
      stores: cluster.storeRoots.join(','),
      trackers: formatAddress(cluster.tracker),
      'id-servers': formatAddress(cluster.idServer),
      member: name,
      'reserve-bytes': '1MiB',
      'heartbeat-s': '0.5'
    }
  }

  /** Resolves when the tracker hands it out. After a kill: on the same port. */
  async start(): Promise<void> {
    const child = fork(ENTRY, [JSON.stringify({ ...this.#flags, port: String(this.#port) })], {
      execArgv: ['--conditions=tributary-source'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
      stdio: ['ignore', 'ignore', process.env['TRIBUTARY_TEST_LOG'] ? 'inherit' : 'ignore', 'ipc']
    })
    this.#child = child
    const forkedS = Math.floor(Date.now() / 1_000)
    this.#port = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${this.name} was not ready in time`)), READY_MS)
      child.on('message', (message: { type: string; fields?: { port: number }; message?: string }) => {
        if (message.type === 'ready') resolve(message.fields!.port)
        if (message.type === 'failed') reject(new Error(`${this.name}: ${JSON.stringify(message)}`))
        if (message.type === 'ready' || message.type === 'failed') clearTimeout(late)
      })
      child.once('exit', code => {
        clearTimeout(late)
        reject(new Error(`${this.name} ended with ${code}`))
      })
    })
    await this.#untilActive(forkedS)
  }

  /** As a power cut would: the main process first, so that it replaces no worker, then the workers. */
  async kill(): Promise<void> {
    const child = this.#child!
    const workers = await childrenOf(child.pid!)
    const gone = once(child, 'exit')
    for (const pid of [child.pid!, ...workers]) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // gone by itself
      }
    }
    await gone
  }

  async stop(): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), GONE_MS)
    await gone
    clearTimeout(late)
  }

  /** The tracker may still list the process that was killed: one started no earlier than this one is meant. */
  async #untilActive(startedAtS: number): Promise<void> {
    const client = new Client({ trackers: [this.#cluster.tracker] })
    const endMs = performance.now() + READY_MS
    try {
      for (;;) {
        const { groups } = await client.groups()
        const member = groups
          .flatMap(group => group.members)
          .find(({ addresses }) => addresses.some(({ port }) => port === this.#port))
        if (member?.status === 'ACTIVE' && member.startedAtS >= startedAtS) return
        if (performance.now() > endMs) throw new Error(`${this.name} did not become active`)
        await sleep(20)
      }
    } finally {
      client.close()
    }
  }
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.split(' ').filter(Boolean).map(Number)
}
