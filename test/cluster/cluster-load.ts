/** Clients of every kind at work on a cluster, and the ledger of what they were promised. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@tributary/client'
import { TributaryError } from '@tributary/protocol'
import { contentOf, someSize, type Random } from '../faults/random.ts'
import type { RunningUp } from '../testkit/up.ts'

const APPLICATION = 'media'
/** Two of the eight speak HTTP. */
const LIBRARY_CLIENTS = 6
const HTTP_CLIENTS = 2
const PAUSE_MS = 20
const HTTP_WITHIN_MS = 40_000

/** `storing`, `deleting`: asked for, and nobody knows. */
type State = 'storing' | 'stored' | 'refused' | 'deleting' | 'deleted'

interface Entry {
  readonly file: string
  readonly sizeBytes: number
  state: State
}

/** A failure as it reached a client. `broken`: the connection to the gateway went, or was not to be had. */
class Failure extends Error {
  readonly code: string
  constructor(code: string, message: string) {
    super(`${code}: ${message}`)
    this.code = code
  }
}

/** One way into the cluster. Failures are {Failure}. */
interface Door {
  readonly kind: 'library' | 'http'
  upload(file: string, content: Buffer): Promise<void>
  read(file: string): Promise<Buffer>
  delete(file: string): Promise<void>
}

export interface Phase {
  uploads: number
  reads: number
  deletes: number
  /** How often which failure reached a client of the library. */
  failures: Record<string, number>
  /** The same for those that speak HTTP. */
  httpFailures: Record<string, number>
  slowestMs: number
}

export class ClusterLoad {
  readonly user: string
  #doors: readonly Door[]
  readonly #random: Random
  readonly #entries: Entry[] = []
  readonly #broken: string[] = []
  #running: Promise<unknown> | undefined
  #stopping = false
  #count = 0
  #phase = emptyPhase()

  constructor(up: RunningUp, random: Random, user: string) {
    this.user = user
    this.#random = random
    this.#doors = doorsOf(up, user)
  }

  /** The same cluster, started again on other ports. */
  moveTo(up: RunningUp): void {
    this.#doors = doorsOf(up, this.user)
  }

  get stored(): number {
    return this.#entries.filter(({ state }) => state === 'stored').length
  }

  start(): void {
    this.#stopping = false
    this.#phase = emptyPhase()
    this.#running = Promise.all(this.#doors.map((door, index) => this.#work(door, index)))
  }

  /** Waits for what is in hand. @returns what happened since `start`. @throws a promise was broken. */
  async stop(): Promise<Phase> {
    this.#stopping = true
    await this.#running
    this.#running = undefined
    this.#throwIfBroken()
    return this.#phase
  }

  /** Loads the cluster while `body` does its worst. */
  async during<T>(body: () => Promise<T>): Promise<[T, Phase]> {
    this.start()
    try {
      const result = await body()
      return [result, await this.stop()]
    } finally {
      this.#stopping = true
      await this.#running
    }
  }

  /** Reads every file back, in both ways, and compares with what was promised. @returns how many are there. */
  async verify(): Promise<{ whole: number; absent: number }> {
    const verdict = { whole: 0, absent: 0 }
    const turns = Array.from({ length: this.#doors.length }, async (_, turn) => {
      for (let i = turn; i < this.#entries.length; i += this.#doors.length) {
        const isThere = await this.#check(this.#doors[turn]!, this.#entries[i]!)
        verdict[isThere ? 'whole' : 'absent']++
      }
    })
    await Promise.all(turns)
    this.#throwIfBroken()
    return verdict
  }

  #throwIfBroken(): void {
    if (this.#broken.length > 0)
      throw new Error(`promises were broken:\n${this.#broken.slice(0, 20).join('\n')}`)
  }

  async #work(door: Door, index: number): Promise<void> {
    while (!this.#stopping) {
      const startMs = performance.now()
      await this.#operate(door, index)
      this.#phase.slowestMs = Math.max(this.#phase.slowestMs, performance.now() - startMs)
      await sleep(PAUSE_MS)
    }
  }

  async #operate(door: Door, index: number): Promise<void> {
    const kind = this.#random.below(10)
    const stored = this.#entries.filter(({ state }) => state === 'stored')
    if (kind < 4 || stored.length === 0) {
      const sizeBytes = someSize(this.#random)
      const entry: Entry = { file: `file-${this.#count++}-${index}`, sizeBytes, state: 'storing' }
      this.#entries.push(entry)
      return this.#upload(door, entry)
    }
    const entry = this.#random.pick(stored)
    return kind < 9 ? this.#read(door, entry) : this.#delete(door, entry)
  }

  async #upload(door: Door, entry: Entry): Promise<void> {
    this.#phase.uploads++
    try {
      await door.upload(entry.file, contentOf(entry.file, entry.sizeBytes))
      entry.state = 'stored'
    } catch (error) {
      const { code } = this.#note(door, error)
      if (code === 'FILE_EXISTS')
        this.#broken.push(`${entry.file} is new, and its upload ended with ${String(error)}`)
      if (code !== 'OUTCOME_UNKNOWN' && code !== 'broken') entry.state = 'refused'
    }
  }

  async #read(door: Door, entry: Entry): Promise<void> {
    this.#phase.reads++
    try {
      const found = await door.read(entry.file)
      if (!found.equals(contentOf(entry.file, entry.sizeBytes))) {
        this.#broken.push(`${entry.file} has ${found.byteLength} bytes that are not its ${entry.sizeBytes}`)
      }
    } catch (error) {
      // Another client may be deleting it.
      if (error instanceof Failure && error.code === 'FILE_NOT_FOUND' && entry.state !== 'stored') return
      const { code } = this.#note(door, error)
      if (code === 'FILE_NOT_FOUND') this.#broken.push(`${entry.file} is stored, and was not found`)
    }
  }

  async #delete(door: Door, entry: Entry): Promise<void> {
    this.#phase.deletes++
    entry.state = 'deleting'
    try {
      await door.delete(entry.file)
      entry.state = 'deleted'
    } catch (error) {
      const { code } = this.#note(door, error)
      if (code === 'FILE_NOT_FOUND')
        this.#broken.push(`${entry.file} is stored, and was not found to be deleted`)
    }
  }

  async #check(door: Door, entry: Entry): Promise<boolean> {
    const { file, sizeBytes, state } = entry
    let found: Buffer
    try {
      found = await door.read(file)
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      if (error.code !== 'FILE_NOT_FOUND')
        this.#broken.push(`${file} (${state}) cannot be read: ${error.message}`)
      else if (state === 'stored') this.#broken.push(`${file} was acknowledged and is gone`)
      return false
    }
    if (!found.equals(contentOf(file, sizeBytes))) {
      this.#broken.push(`${file} (${state}) is not what was sent: ${found.byteLength} of ${sizeBytes} bytes`)
    } else if (state === 'deleted') this.#broken.push(`${file} was deleted and is there`)
    else if (state === 'refused') this.#broken.push(`${file} was refused and is there`)
    return true
  }

  #note({ kind }: Door, error: unknown): Failure {
    if (!(error instanceof Failure)) throw error
    const failures = kind === 'http' ? this.#phase.httpFailures : this.#phase.failures
    failures[error.code] = (failures[error.code] ?? 0) + 1
    return error
  }
}

export function describePhase({ uploads, reads, deletes, failures, httpFailures, slowestMs }: Phase): string {
  const listed = (counts: Record<string, number>, where: string): string[] =>
    Object.entries(counts).map(([code, count]) => `${count} ${code}${where}`)
  const text = [...listed(failures, ''), ...listed(httpFailures, ' by HTTP')]
  return `${uploads} uploads, ${reads} reads, ${deletes} deletes; failed: ${text.join(', ') || 'none'}; slowest ${(slowestMs / 1000).toFixed(1)} s`
}

function emptyPhase(): Phase {
  return { uploads: 0, reads: 0, deletes: 0, failures: {}, httpFailures: {}, slowestMs: 0 }
}

function doorsOf(up: RunningUp, user: string): Door[] {
  const library = Array.from({ length: LIBRARY_CLIENTS }, () => libraryDoor(up.client(), user))
  const http = Array.from({ length: HTTP_CLIENTS }, () => httpDoor(up, user))
  return [...library, ...http]
}

function libraryDoor(client: Client, user: string): Door {
  const keyOf = (file: string) => ({ application: APPLICATION, user, file })
  const call = async <T>(body: () => Promise<T>): Promise<T> => {
    try {
      return await body()
    } catch (error) {
      if (error instanceof TributaryError) throw new Failure(error.code, error.message)
      throw error
    }
  }
  return {
    kind: 'library',
    upload: (file, content) => call(async () => void (await client.upload(content, { key: keyOf(file) }))),
    read: file => call(async () => readAll(client, keyOf(file))),
    delete: file => call(() => client.delete(keyOf(file)))
  }
}

async function readAll(
  client: Client,
  key: { application: string; user: string; file: string }
): Promise<Buffer> {
  const { stream } = await client.download(key)
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function httpDoor(up: RunningUp, user: string): Door {
  const call = async (method: string, file: string, body?: Buffer): Promise<Buffer> => {
    let response: Response
    let bytes: Buffer
    try {
      const signal = AbortSignal.timeout(HTTP_WITHIN_MS)
      response = await fetch(up.urlOf(user, file), { method, signal, ...(body && { body }) })
      bytes = Buffer.from(await response.arrayBuffer())
    } catch (error) {
      if ((error as Error).name === 'TimeoutError') throw new Failure('no answer', `${method} ${file}`)
      throw new Failure('broken', String((error as Error).cause ?? error))
    }
    if (response.ok) return bytes
    const { code, detail } = JSON.parse(bytes.toString()) as { code: string; detail: string }
    throw new Failure(code, `${response.status} ${detail}`)
  }
  return {
    kind: 'http',
    upload: async (file, content) => void (await call('PUT', file, content)),
    read: file => call('GET', file),
    delete: async file => void (await call('DELETE', file))
  }
}
