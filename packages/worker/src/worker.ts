/**
 * The worker: a client that looks into new films and makes what belongs to them. It holds nothing that cannot be made again; as
 * many as wanted work beside each other.
 */
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { JOB_KINDS, WORKER_NAME_LENGTH_MAX, type JobKind } from '@tributary/calls'
import { Client } from '@tributary/client'
import {
  Lifespan,
  LogThrottle,
  Metrics,
  Readiness,
  serveAdmin,
  wireSecurityOf,
  type Clock,
  type HostPort,
  type Log,
  type ProcessPort
} from '@tributary/runtime'
import { findTools, type FfmpegProgram, type Tools } from './ffmpeg-program.ts'
import type { Cluster } from './film-access.ts'
import { FilmServer } from './film-server.ts'
import { HeldJob } from './held-job.ts'
import { JobRunner, type JobEnd } from './job-runner.ts'
import { TempFolder } from './temp-folder.ts'
import { Upkeep } from './upkeep.ts'
import { isWorkerName, type WorkerConfig } from './worker-config.ts'

const REPORT_INTERVAL_MS = 20_000
/** A program may be installed, or removed, while the worker runs. */
const TOOLS_INTERVAL_MS = 60_000
const UPKEEP_INTERVAL_MS = 10 * 60_000
/** New films that are taken up at once. */
const DISCOVERED_MAX = 50
/** While the index is away it is asked less and less often, up to this. */
const AWAY_MS_MAX = 15_000

export interface WorkerDeps {
  config: WorkerConfig
  log: Log
  clock: Clock
  /** Of this program. */
  version: string
  /** Where programs are looked for, as PATH has it. */
  path: string
  /** Default: a client of its own for `config.trackers`, closed with the worker. */
  cluster?: Cluster
  /** Adds memory, CPU and lag of the process to the metrics. */
  port?: ProcessPort
}

export interface Worker {
  /** Resolves when it works; where health and metrics are served, or port 0. */
  start(): Promise<HostPort>
  /** Takes nothing new and gives back at once what it has. Idempotent. */
  stop(deadline: AbortSignal): Promise<void>
  /** Takes the reloadable keys over: the certificate of the wire, for new connections. */
  reload(config: WorkerConfig): void
}

export function createWorker(deps: WorkerDeps): Worker {
  return new RunningWorker(deps)
}

class RunningWorker implements Worker {
  readonly #deps: WorkerDeps
  readonly #life: Lifespan<HostPort>
  readonly #name: string
  readonly #running = new Map<string, { kind: JobKind; done: Promise<void> }>()
  readonly #ends = new Map<string, number>()
  readonly #readiness = new Readiness(['tracker'])
  /** Unless it was given one. */
  #client: Client | undefined
  #tools: Tools = { pictures: false, renditions: false, toneMapping: false, version: '', lacks: [] }

  constructor(deps: WorkerDeps) {
    this.#deps = deps
    this.#name = deps.config.name ?? nameOf(hostname())
    this.#life = new Lifespan(
      () => this.#open(),
      err => deps.log.error({ err }, 'closing failed')
    )
  }

  start(): Promise<HostPort> {
    return this.#life.start()
  }

  stop(deadline: AbortSignal): Promise<void> {
    return this.#life.stop(deadline)
  }

  reload(config: WorkerConfig): void {
    this.#client?.useTls(wireSecurityOf(config).tls)
  }

  async #open(): Promise<HostPort> {
    const { config, log, version, path, port } = this.#deps
    const life = this.#life
    const temp = await TempFolder.take(config.tempFolder, this.#name)
    life.onEnd(() => temp.release())
    const films = new FilmServer()
    await films.start()
    life.onEnd(() => films.stop())
    const cluster = this.#deps.cluster ?? this.#connect()
    const program: FfmpegProgram = { command: config.ffmpeg, path }
    this.#tools = await findTools(program)
    this.#tellTools()
    const runner = new JobRunner({
      cluster,
      films,
      temp,
      program,
      tools: () => this.#tools,
      limits: {
        threads: config.ffmpegThreads,
        memoryBytes: config.ffmpegMemoryBytes,
        niceness: config.niceness
      },
      profiles: config.profiles,
      preset: config.preset,
      renditionBytesMax: config.renditionMaxBytes,
      log
    })
    const upkeep = new Upkeep(cluster, log)
    const metrics = this.#metrics()
    if (port) life.onEnd(metrics.addProcess(port))
    const where = await serveAdmin(config, life, { readiness: this.#readiness, metrics, log })
    const loops = [
      this.#work(cluster, runner),
      this.#every(REPORT_INTERVAL_MS, 'reporting', () =>
        cluster.index('jobs.report', { worker: this.#name, version, lacks: this.#tools.lacks })
      ),
      this.#every(UPKEEP_INTERVAL_MS, 'upkeep', () => upkeep.round(life.ending)),
      this.#every(TOOLS_INTERVAL_MS, 'looking for ffmpeg', async () => {
        const before = this.#tools.lacks.join()
        this.#tools = await findTools(program)
        if (this.#tools.lacks.join() !== before) this.#tellTools()
      })
    ]
    // Closed first: jobs in hand are given back while there is still a client to say so.
    life.onEnd(async () => {
      await Promise.all(loops)
      await Promise.all([...this.#running.values()].map(({ done }) => done))
    })
    log.info(
      { name: this.#name, profiles: config.profiles.map(({ name }) => name), ffmpeg: this.#tools.version },
      'the worker serves'
    )
    return where ?? { host: '127.0.0.1', port: 0 }
  }

  #connect(): Cluster {
    const { config, log, version } = this.#deps
    const client = new Client({
      trackers: config.trackers.map(({ host, port }) => ({ host, port })),
      version,
      ...wireSecurityOf(config),
      onEvent: ({ level, text }) => log[level](text)
    })
    this.#life.onEnd(() => client.close())
    this.#client = client
    return client
  }

  /** Takes one job after the other, as many at a time as configured, and looks for new films when there is none. */
  async #work(cluster: Cluster, runner: JobRunner): Promise<void> {
    const { config, log, clock } = this.#deps
    const { ending } = this.#life
    const throttle = new LogThrottle(log, { clock })
    const pollMs = config.pollS * 1_000
    const leaseMs = Math.round(config.leaseS * 1_000)
    let waitMs = 0
    while (!ending.aborted) {
      if (waitMs > 0) await this.#pause(waitMs)
      if (ending.aborted) return
      if (this.#running.size >= config.jobsMax) {
        waitMs = 0
        await Promise.race([...[...this.#running.values()].map(({ done }) => done), aborted(ending)])
        continue
      }
      try {
        const { kinds, profiles } = this.#able()
        const claim = await cluster.index('jobs.claim', { worker: this.#name, kinds, profiles, leaseMs })
        this.#readiness.set('tracker', true)
        if (claim.job && claim.token !== undefined) {
          const held = new HeldJob({ job: claim.job, token: claim.token, leaseMs, cluster, clock, log })
          this.#take(held, runner)
          waitMs = 0
        } else waitMs = (await this.#discover(cluster)) ? 0 : pollMs
      } catch (err) {
        this.#readiness.set('tracker', false, 'no tracker answers')
        throttle.warn('claim', { err }, 'no job can be had now; it is tried again')
        waitMs = Math.min(AWAY_MS_MAX, Math.max(pollMs, waitMs * 2))
      }
    }
  }

  /** Until the time is over, a job ends, or the worker does. */
  async #pause(ms: number): Promise<void> {
    const over = new AbortController()
    const { ending } = this.#life
    const waited = sleep(ms, undefined, { signal: AbortSignal.any([over.signal, ending]) }).catch(() => {})
    await Promise.race([waited, ...[...this.#running.values()].map(({ done }) => done)])
    over.abort()
  }

  /** What may be begun now. */
  #able(): { kinds: JobKind[]; profiles: string[] } {
    const { config } = this.#deps
    const renditions = [...this.#running.values()].filter(({ kind }) => kind === 'rendition').length
    const isAble: Record<JobKind, boolean> = {
      inspect: true,
      poster: this.#tools.pictures,
      thumbnails: this.#tools.pictures,
      rendition: this.#tools.renditions && config.profiles.length > 0 && renditions < config.renditionsMax
    }
    return {
      kinds: JOB_KINDS.filter(kind => isAble[kind]),
      profiles: config.profiles.map(({ name }) => name)
    }
  }

  #take(held: HeldJob, runner: JobRunner): void {
    const { id, kind } = held.job
    const done = runner.run(held, this.#life.ending).then((end: JobEnd) => {
      this.#running.delete(id)
      this.#ends.set(`${kind} ${end}`, (this.#ends.get(`${kind} ${end}`) ?? 0) + 1)
    })
    this.#running.set(id, { kind, done })
  }

  /** Makes jobs of films that nobody has looked into. @returns whether there is something new to do. */
  async #discover(cluster: Cluster): Promise<boolean> {
    const { films } = await cluster.index('library.pending', { limit: DISCOVERED_MAX })
    if (films.length === 0) return false
    const { jobs } = await cluster.index('jobs.add', {
      jobs: films.map(({ application, user, file, generation, title }) => ({
        application,
        user,
        file,
        generation,
        title,
        kind: 'inspect' as const
      }))
    })
    for (const { state, application, user, file, generation } of jobs) {
      // What is not looked into any more would stay in the way of those that come after it.
      if (state !== 'failed' && state !== 'cancelled') continue
      await cluster.index('library.setFacts', { application, user, file, generation }).catch(ignoreGone)
    }
    return jobs.some(({ state, attempts }) => state === 'waiting' && attempts === 0)
  }

  async #every(intervalMs: number, what: string, act: () => Promise<unknown>): Promise<void> {
    const { log } = this.#deps
    const { ending } = this.#life
    while (!ending.aborted) {
      try {
        await act()
      } catch (err) {
        log.debug({ err }, `${what} failed; it is tried again`)
      }
      await sleep(intervalMs, undefined, { signal: ending, ref: false }).catch(() => {})
    }
  }

  #tellTools(): void {
    const { lacks, version } = this.#tools
    const { log } = this.#deps
    for (const lack of lacks) log.warn(`this machine lacks ${lack}`)
    if (lacks.length === 0) log.info({ ffmpeg: version }, 'this machine has all that jobs need')
    this.#readiness.note('tools', lacks.length > 0 ? `it lacks ${lacks.join('; ')}` : '')
  }

  #metrics(): Metrics {
    const metrics = new Metrics('worker')
    metrics.counter(
      'jobs_total',
      'Jobs that ended here, by kind and end',
      () =>
        [...this.#ends].map(([name, value]) => {
          const [kind, end] = name.split(' ') as [string, string]
          return { labels: { kind, end }, value }
        }),
      ['kind', 'end']
    )
    metrics.gauge(
      'jobs_running',
      'Jobs being done, by kind',
      () =>
        JOB_KINDS.map(kind => ({
          labels: { kind },
          value: [...this.#running.values()].filter(job => job.kind === kind).length
        })),
      ['kind']
    )
    metrics.gauge('lacks', 'Programs that are missing', () => this.#tools.lacks.length)
    return metrics
  }
}

/** What a worker of this machine is called. */
function nameOf(host: string): string {
  const name = host.replaceAll(/[^A-Za-z0-9._-]/g, '-').slice(0, WORKER_NAME_LENGTH_MAX)
  return isWorkerName(name) ? name : 'worker'
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
}

function ignoreGone(error: unknown): void {
  const { code } = error as { code?: string }
  if (code !== 'GENERATION_MISMATCH' && code !== 'FILE_NOT_FOUND') throw error
}
