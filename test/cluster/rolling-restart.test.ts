/** Every process of a cluster restarted, one after the other, while clients work: nobody notices. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@tributary/client'
import { TributaryError, type FileKey } from '@tributary/protocol'
import { runFsck } from '@tributary/storage'
import { contentOf, Random, someSize } from '../faults/random.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { startRole, type RoleServer } from '../testkit/role-processes.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'
import { ENGINES } from './engines.ts'
import { GatedReader } from './gated-reader.ts'

const CLIENTS = 16
/** Load before each restart and after it. */
const LOAD_MS = 400
const GIVEN_UP_MS = 40_000
/** The film is read more slowly: whoever serves it cuts it then, and its reader goes on elsewhere. */
const STORAGE_STOP_S = 2
const FILM_BYTES = 208 * 1024 * 1024
/** More than all buffers on the way hold. */
const FILM_STEP_BYTES = 16 * 1024 * 1024
const LARGE_BYTES = 6 * 1024 * 1024
const USER = 'rolling'

interface Stored {
  file: string
  sizeBytes: number
}

/** One client of its own, with files that the others read. */
class Worker {
  readonly #client: Client
  readonly #random: Random
  readonly #name: string
  readonly failures: string[] = []
  readonly stored: Stored[] = []
  readonly deleted: Stored[] = []
  operations = 0
  slowestMs = 0

  constructor(name: string, trackers: readonly string[], random: Random) {
    this.#name = name
    this.#random = random
    this.#client = new Client({ trackers: [...trackers] })
  }

  close(): void {
    this.#client.close()
  }

  async work(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const startMs = performance.now()
      const what = await this.#operate()
      this.operations++
      const tookMs = performance.now() - startMs
      this.slowestMs = Math.max(this.slowestMs, tookMs)
      if (what !== undefined) this.failures.push(`${this.#name} after ${Math.round(tookMs)} ms: ${what}`)
      await sleep(10)
    }
  }

  /** @returns what went wrong. */
  async #operate(): Promise<string | undefined> {
    const kind = this.#random.below(10)
    try {
      if (kind < 4 || this.stored.length === 0) return await this.#upload()
      if (kind < 9) return await this.#read(this.#random.pick(this.stored))
      return await this.#delete(this.stored.splice(this.#random.below(this.stored.length), 1)[0]!)
    } catch (error) {
      if (!(error instanceof TributaryError)) throw error
      return `${kind < 4 ? 'upload' : kind < 9 ? 'read' : 'delete'}: ${error.code}: ${error.message}`
    }
  }

  async #upload(): Promise<undefined> {
    const sizeBytes = this.#random.below(40) === 0 ? LARGE_BYTES : someSize(this.#random)
    const file = `${this.#name}-${this.operations}`
    const content = contentOf(file, sizeBytes)
    // Bytes at hand, or a stream that says its size, in turn.
    const source = this.#random.below(2) === 0 ? content : Readable.from(piecesOf(content))
    await this.#client.upload(source, { key: keyOf(file), sizeBytes })
    this.stored.push({ file, sizeBytes })
    return undefined
  }

  async #read({ file, sizeBytes }: Stored): Promise<string | undefined> {
    const content = contentOf(file, sizeBytes)
    const start = this.#random.below(3) === 0 || sizeBytes === 0 ? 0 : this.#random.below(sizeBytes)
    const { stream } = await this.#client.download(keyOf(file), start === 0 ? {} : { start })
    const found = await buffer(stream)
    return found.equals(content.subarray(start)) ? undefined : `${file} from ${start} is not what was stored`
  }

  async #delete(entry: Stored): Promise<string | undefined> {
    await this.#client.delete(keyOf(entry.file))
    this.deleted.push(entry)
    const found = await this.#client.size(keyOf(entry.file)).catch((error: unknown) => error)
    if (found instanceof TributaryError && found.code === 'FILE_NOT_FOUND') return undefined
    return `${entry.file} was deleted, and asking for it gave ${String(found)}`
  }
}

for (const engine of ENGINES) {
  describe(`a rolling restart on ${engine.name}`, { skip: engine.skip, timeout: 240_000 }, () => {
    const endings: (() => unknown)[] = []
    const afterwards = cleanUps({ after: callback => void endings.push(callback) })
    let folder: string
    let databaseUrl: string
    let trackers: RoleServer[]
    let ids: RoleServer[]
    let storages: RoleServer[]
    let gateways: RoleServer[]
    const store = (): string => join(folder, 'store')

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'tributary-rolling-'))
      afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
      const backing = await engine.start()
      afterwards(() => backing.stop())
      databaseUrl = backing.databaseUrl ?? `sqlite:${join(folder, 'index.db')}`
      const database = ['--database', databaseUrl]
      for (const args of [
        ['db', 'migrate'],
        ['db', 'add-application', 'media'],
        ['storage', 'init', store(), '--group', 'group001']
      ]) {
        const { exitCode } = await new TributaryProcess([...args, ...database], { folder }).ended
        equal(exitCode, 0, args.join(' '))
      }
      const { redisUrl } = backing
      const common = { database: [databaseUrl], ...(redisUrl !== undefined && { redis: redisUrl }) }
      const two = async (
        role: Parameters<typeof startRole>[0],
        settings: (name: string) => Parameters<typeof startRole>[3]
      ): Promise<RoleServer[]> =>
        Promise.all(
          [1, 2].map(async number => {
            const name = `${role}${number}`
            const server = await startRole(role, name, folder, settings(name))
            afterwards(() => server.stop())
            return server
          })
        )
      trackers = await two('tracker', () => common)
      ids = await two('id', () => ({ database: [databaseUrl] }))
      const addresses = trackers.map(({ address }) => address)
      storages = await two('storage', name => ({
        ...common,
        stores: [store()],
        trackers: addresses,
        id_servers: ids.map(({ address }) => address),
        member: name,
        reserve_bytes: '1MiB',
        stop_timeout_s: STORAGE_STOP_S
      }))
      gateways = await two('gateway', () => ({ trackers: addresses }))
      for (const tracker of trackers) await untilWhole(tracker)
    })
    after(async () => {
      for (const end of endings) await end()
    })

    /** Resolves when a tracker hands out both storage servers. */
    const untilWhole = (tracker: RoleServer): Promise<unknown> =>
      until(`${tracker.name} has the whole table`, GIVEN_UP_MS, async () => {
        const own = new Client({ trackers: [tracker.address], retryForMs: 0 })
        try {
          const { groups } = await own.groups()
          const members = groups.flatMap(group => group.members)
          return members.filter(({ status, serving }) => status === 'ACTIVE' && serving).length === 2
        } catch {
          return false // not yet
        } finally {
          own.close()
        }
      })

    it(`fails not one operation of ${CLIENTS} busy clients`, async t => {
      const random = new Random()
      t.diagnostic(`TRIBUTARY_SEED=${random.seed}`)
      const addresses = trackers.map(({ address }) => address)
      const workers = Array.from({ length: CLIENTS }, (_, at) => {
        const worker = new Worker(`client${at}`, addresses, new Random(random.below(2 ** 31)))
        t.after(() => worker.close())
        return worker
      })
      const viewer = new Client({ trackers: addresses })
      t.after(() => viewer.close())
      const film = randomFillSync(Buffer.allocUnsafe(FILM_BYTES))
      await viewer.upload(film, { key: keyOf('film') })
      const watching = new GatedReader((await viewer.download(keyOf('film'))).stream, FILM_STEP_BYTES)
      const stop = new AbortController()
      const work = Promise.all(workers.map(worker => worker.work(stop.signal)))
      const failures = (): string[] => workers.flatMap(worker => worker.failures)
      try {
        for (const server of [...trackers, ...ids, ...storages, ...gateways]) {
          await sleep(LOAD_MS)
          const before = failures().length
          const startMs = performance.now()
          server.process.send('SIGTERM')
          const { exitCode } = await server.process.ended
          const stoppedMs = performance.now()
          equal(exitCode, 0, `${server.name} stops in order`)
          await server.start()
          for (const tracker of trackers) await untilWhole(tracker)
          watching.allow(watching.bytes + FILM_STEP_BYTES)
          t.diagnostic(
            `${server.name}: stopped after ${Math.round(stoppedMs - startMs)} ms, whole again ` +
              `${Math.round(performance.now() - stoppedMs)} ms later, ${failures().length - before} failures`
          )
        }
        await sleep(LOAD_MS)
        ok(watching.bytes < FILM_BYTES, 'the film was being watched all the time')
        watching.allow(Infinity)
        equal((await watching.ended).sha256, createHash('sha256').update(film).digest('hex'))
      } finally {
        stop.abort()
        await work
      }
      const operations = workers.reduce((sum, worker) => sum + worker.operations, 0)
      const slowestMs = Math.max(...workers.map(worker => worker.slowestMs))
      t.diagnostic(`${operations} operations, slowest ${Math.round(slowestMs)} ms`)
      deepEqual(failures(), [])
      ok(operations > 500, `${operations} operations`)

      const stored = workers.flatMap(worker => worker.stored)
      const report = await runFsck({
        stores: [store()],
        database: [databaseUrl],
        checksums: true,
        rebuildIndex: false
      })
      deepEqual(report.findings, [])
      equal(report.stores[0]!.files, stored.length + 1)
    })
  })
}

function keyOf(file: string): FileKey {
  return { application: 'media', user: USER, file }
}

function* piecesOf(content: Buffer): Generator<Buffer> {
  for (let at = 0; at < content.byteLength; at += 65_536) yield content.subarray(at, at + 65_536)
}
