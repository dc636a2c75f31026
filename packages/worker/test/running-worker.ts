// A worker over a real cluster, and small films for it.
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { IndexJob, LibraryFilmReply } from '@tributary/calls'
import { Client } from '@tributary/client'
import { derivedKey, formatAddress, type FileKey } from '@tributary/protocol'
import { loadConfig, systemClock, type Log } from '@tributary/runtime'
import { startCluster, testLog, type TestCluster } from '../../../test/testkit/cluster.ts'
import { createWorker, workerConfig, type Worker } from '../src/index.ts'

export const run = promisify(execFile)
const ENDED = new Set(['done', 'failed', 'cancelled'])

export class WorkerScene {
  readonly cluster: TestCluster
  readonly client: Client
  readonly folder: string
  readonly #workers: Worker[] = []

  private constructor(cluster: TestCluster, folder: string) {
    this.cluster = cluster
    this.folder = folder
    this.client = new Client({ trackers: [formatAddress(cluster.tracker)] })
  }

  static async start(): Promise<WorkerScene> {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-worker-'))
    return new WorkerScene(await startCluster({ tracker: {} }), folder)
  }

  async work(
    flags: Readonly<Record<string, unknown>> = {},
    { path = process.env['PATH'] ?? '', log = testLog() }: { path?: string; log?: Log } = {}
  ): Promise<Worker> {
    const worker = createWorker({
      config: loadConfig(workerConfig, {
        flags: {
          trackers: formatAddress(this.cluster.tracker),
          tempFolder: join(this.folder, 'temp'),
          name: 'w1',
          pollS: '0.1',
          ...flags
        }
      }),
      log,
      clock: systemClock(),
      version: '0.0.0',
      path
    })
    await worker.start()
    this.#workers.push(worker)
    return worker
  }

  async rest(): Promise<void> {
    await Promise.all(this.#workers.splice(0).map(worker => worker.stop(AbortSignal.timeout(10_000))))
  }

  async stop(): Promise<void> {
    await this.rest()
    this.client.close()
    await this.cluster.stop()
    await rm(this.folder, { recursive: true, force: true })
  }

  async upload(file: string, source: string | Uint8Array): Promise<FileKey> {
    const key = { application: 'media', user: 'public', file }
    await this.client.upload(source, { key, name: file })
    await this.client.index('library.note', key)
    return key
  }

  film(key: FileKey): Promise<LibraryFilmReply> {
    return this.client.index('library.film', key)
  }

  async jobsOf(key: FileKey): Promise<IndexJob[]> {
    return (await this.client.index('jobs.list', { ...key, limit: 50 })).jobs
  }

  /** Until it was looked into, and all that came of it has ended. */
  async settled(key: FileKey, withinMs = 60_000): Promise<IndexJob[]> {
    const untilMs = performance.now() + withinMs
    for (;;) {
      const { film } = await this.film(key)
      const jobs = await this.jobsOf(key)
      if (film.factsState !== 'pending' && jobs.every(({ state }) => ENDED.has(state))) return jobs
      if (performance.now() > untilMs)
        throw new Error(`${key.file} is not done: ${JSON.stringify({ film, jobs }, undefined, 1)}`)
      await sleep(50)
    }
  }

  async derived(key: FileKey, what: string): Promise<Buffer> {
    const { film } = await this.film(key)
    const { stream } = await this.client.download(derivedKey(key, film.generation, what))
    return Buffer.concat(await stream.toArray())
  }

  /** Made by ffmpeg in this scene's folder. */
  async make(name: string, ...args: string[]): Promise<string> {
    const path = join(this.folder, name)
    await run('ffmpeg', ['-hide_banner', '-loglevel', 'error', '-nostdin', '-y', ...args, path])
    return path
  }
}

/** Pictures of a test card and a tone; a key picture about every two seconds. */
export function cardArgs(seconds: number, size = '320x180', rate = '30'): string[] {
  return [
    `-f lavfi -i testsrc2=size=${size}:rate=${rate}`,
    '-f lavfi -i sine=frequency=440:sample_rate=48000',
    `-t ${seconds} -c:v libx264 -preset ultrafast -pix_fmt yuv420p`,
    '-g 60 -bf 2 -c:a aac -b:a 64k'
  ].flatMap(options => options.split(' '))
}
