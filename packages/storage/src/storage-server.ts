/**
 * The main process of a storage server: trackers, health, metrics, supervision. It touches no file system, so
 * that heartbeats and health tell the truth while a disk hangs; client connections and files are the workers'.
 */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { fileURLToPath } from 'node:url'
import {
  formatAddress,
  HOST_NAME_BYTES_MAX,
  plainIp,
  type ExtendedAddress,
  type Presence
} from '@tributary/protocol'
import {
  formatHostPort,
  Lifespan,
  MeterSum,
  Metrics,
  ProcessSupervisor,
  Readiness,
  serveAdmin,
  wireSecurityOf,
  type Clock,
  type HostPort,
  type Log,
  type ProcessPort
} from '@tributary/runtime'
import { isIP } from 'node:net'
import { openMemberDoor, type MemberState } from './member-door.ts'
import type { ScrubReport } from './scrubber.ts'
import type { StorageConfig } from './storage-config.ts'
import { TrackerLink } from './tracker-link.ts'
import { POOL_THREADS } from './volume.ts'
import {
  isWorkerMessage,
  type OrderMessage,
  type ReloadMessage,
  type ReplicationReport,
  type ReportMessage,
  type StoreReport
} from './worker/worker-message.ts'

const WORKER_MODULE = import.meta.url.endsWith('.ts') ? './worker/main.ts' : './worker/main.js'
/** A worker whose event loop answers nothing for so long is replaced. */
const HANG = { intervalMs: 1_000, toleranceMs: 5_000 }
/** A worker that has reported nothing for so long does not serve. */
const REPORT_AGE_MS_MAX = 4_000
/** A server that is being replaced needs a moment to let go of its port. */
const PORT_WAIT_MS = 3_000
const PORT_RETRY_MS = 100
const WATCH_INTERVAL_MS = 1_000
/** Clients remember for 5 s where a file is: so long somebody may come who was sent here before. */
const REMEMBERED_MS = 6_000
const LEAVE_LOOK_MS = 250

export interface StorageDeps {
  config: StorageConfig
  log: Log
  clock: Clock
  /** Of this program, for the handshake and the trackers' lists. */
  version: string
  /** The process: its environment is what workers get. */
  port: ProcessPort
}

export interface StorageServer {
  /** Resolves when it serves; rejects with nothing left running. */
  start(signal?: AbortSignal): Promise<HostPort>
  /** Leaves the trackers, finishes what is in hand, cuts what is left when `deadline` aborts. Idempotent. */
  stop(deadline: AbortSignal): Promise<void>
  /** Hands the reloadable keys to the workers, those that run and those to come. */
  reload(config: StorageConfig): void
  /**
   * Tells the trackers, so that nobody is sent here any more, and goes on serving until the clients that remember it have
   * forgotten it and no transfer is under way. Stop it then. For one that starts again nothing has changed.
   */
  leave(): Promise<void>
  readonly adminAddress: HostPort | undefined
}

export function createStorage(deps: StorageDeps): StorageServer {
  return new RunningStorageServer(deps)
}

interface Worker {
  index: number
  supervisor: ProcessSupervisor
  report: ReportMessage | undefined
  reportedMs: number
  /** Share of a core between the last two reports; threads may make it more than 1,000. */
  busyPermille: number
  /** Counts restarts, so that the counters of each run are kept apart. */
  run: number
}

class RunningStorageServer implements StorageServer {
  #deps: StorageDeps
  readonly #life: Lifespan<HostPort>
  readonly #meters = new MeterSum()
  readonly #readiness: Readiness
  readonly #workers: Worker[] = []
  readonly #links: TrackerLink[] = []
  readonly #startedAtS: number
  #adminAddress: HostPort | undefined
  #starting: AbortSignal | undefined
  #where: HostPort = { host: '', port: 0 }
  #rates = { atMs: 0, requests: 0, bytes: 0, requestsPerS: 0, bytesPerS: 0 }
  #told = ''
  #hasStarted = false
  #leaving = false

  constructor(deps: StorageDeps) {
    this.#deps = deps
    this.#life = new Lifespan(
      () => this.#start(),
      err => deps.log.error({ err }, 'closing failed')
    )
    this.#startedAtS = Math.floor(deps.clock.nowMs() / 1_000)
    this.#readiness = new Readiness([
      'workers',
      'trackers',
      'database',
      ...deps.config.stores.map(root => `store ${root}`)
    ])
  }

  get adminAddress(): HostPort | undefined {
    return this.#adminAddress
  }

  start(signal?: AbortSignal): Promise<HostPort> {
    this.#starting = signal
    return this.#life.start()
  }

  stop(deadline: AbortSignal): Promise<void> {
    return this.#life.stop(deadline)
  }

  async leave(): Promise<void> {
    const { clock, log } = this.#deps
    this.#leaving = true
    log.info('leaving the group: nobody is sent here any more, transfers in hand are finished')
    this.#look()
    const forgottenMs = clock.monotonicMs() + REMEMBERED_MS
    let told = -1
    while (clock.monotonicMs() < forgottenMs || this.#transfers() > 0) {
      if (this.#life.ending.aborted) return
      if (this.#transfers() !== told && clock.monotonicMs() >= forgottenMs) {
        told = this.#transfers()
        log.info({ transfers: told }, 'waiting for transfers to end')
      }
      await clock.sleep(LEAVE_LOOK_MS)
    }
  }

  #transfers(): number {
    return this.#workers.reduce((sum, { report }) => sum + (report?.transfers ?? 0), 0)
  }

  #state(): MemberState {
    const { config, port, version } = this.#deps
    return {
      pid: port.pid,
      address: formatHostPort(this.#where),
      member: this.#memberName,
      hostName: this.#hostName,
      group: config.group,
      trackers: config.trackers.map(formatAddress),
      version,
      supervised: port.hasParent,
      leaving: this.#leaving,
      transfers: this.#transfers()
    }
  }

  reload(config: StorageConfig): void {
    this.#deps = { ...this.#deps, config }
    const { tls } = wireSecurityOf(config)
    for (const link of this.#links) link.useTls(tls)
    for (const { supervisor } of this.#workers)
      supervisor.send({ type: 'reload', config } satisfies ReloadMessage)
  }

  async #start(): Promise<HostPort> {
    const { config, log, version, port } = this.#deps
    this.#where = await this.#freePort(config.host, config.port)
    for (let index = 0; index < config.workers; index++) this.#workers.push(this.#newWorker(index))
    this.#life.onEnd(async deadline => {
      await Promise.all(this.#workers.map(({ supervisor }) => supervisor.stop(deadline)))
    })
    await Promise.all(this.#workers.map(({ supervisor }) => supervisor.start(this.#starting)))
    for (const tracker of config.trackers) {
      this.#links.push(
        new TrackerLink({
          tracker,
          greeting: { role: 'storage', cluster: '', version, ...wireSecurityOf(config) },
          heartbeatMs: config.heartbeatS * 1_000,
          presence: () => this.#presence(),
          log
        })
      )
    }
    this.#hasStarted = true
    this.#look()
    for (const link of this.#links) link.start()
    const watch = setInterval(() => this.#look(), WATCH_INTERVAL_MS)
    // Closed first: nobody is sent here any more, then what is in hand is finished.
    this.#life.onEnd(async () => {
      this.#leaving = true
      clearInterval(watch)
      await Promise.all(this.#links.map(link => link.stop()))
    })
    const { group, stores, workers } = config
    log.info({ address: formatHostPort(this.#where), group, stores, workers }, 'the storage server serves')
    const closeDoor = await openMemberDoor(formatHostPort(this.#where), () => this.#state())
    if (closeDoor) this.#life.onEnd(closeDoor)
    const metrics = this.#metrics(port)
    this.#adminAddress = await serveAdmin(config, this.#life, { readiness: this.#readiness, metrics, log })
    return this.#where
  }

  /**
   * Finds the port that the workers will share. It is taken alone first: sharing is for the workers of one server,
   * and another program's port must be a clear error.
   */
  async #freePort(host: string, port: number): Promise<HostPort> {
    const endMs = this.#deps.clock.monotonicMs() + PORT_WAIT_MS
    for (;;) {
      const probe = createServer()
      try {
        probe.listen({ host, port, exclusive: true })
        await once(probe, 'listening')
        const { address, port: taken } = probe.address() as AddressInfo
        probe.close()
        await once(probe, 'close')
        return { host: address, port: taken }
      } catch (error) {
        const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
        if (!isTaken || this.#deps.clock.monotonicMs() > endMs) throw error
        await this.#deps.clock.sleep(PORT_RETRY_MS)
      }
    }
  }

  #newWorker(index: number): Worker {
    const { log, port } = this.#deps
    const worker: Worker = {
      index,
      report: undefined,
      reportedMs: -Infinity,
      busyPermille: 0,
      run: 0,
      supervisor: new ProcessSupervisor({
        name: `storage worker ${index}`,
        command: {
          module: fileURLToPath(new URL(WORKER_MODULE, import.meta.url)),
          // With an arena of its own for each thread glibc keeps some 15 MB more of memory that is free.
          env: { MALLOC_ARENA_MAX: '2', ...port.env, UV_THREADPOOL_SIZE: String(POOL_THREADS) },
          execArgv: [...port.execArgv]
        },
        hang: HANG,
        onLine: (_stream, line) => port.writeError(`${line}\n`),
        onMessage: message => this.#hear(worker, message),
        onReady: () => this.#look(),
        onCrash: ({ reason }, restartInMs) => {
          this.#meters.retire(`${index}.${worker.run++}`)
          worker.report = undefined
          if (this.#leaving) return
          log.error(
            restartInMs === undefined
              ? `worker ${index} ended again (${reason}) and is given up`
              : `worker ${index} ended (${reason}); it is started again`
          )
          this.#look()
        }
      })
    }
    return worker
  }

  #hear(worker: Worker, message: unknown): void {
    if (!isWorkerMessage(message)) return
    if (message.type === 'ask') {
      const { config, version } = this.#deps
      worker.supervisor.send({
        type: 'order',
        config,
        host: this.#where.host,
        port: this.#where.port,
        index: worker.index,
        member: this.#memberName,
        hostName: this.#hostName,
        version,
        waitsForStores: this.#hasStarted
      } satisfies OrderMessage)
      return
    }
    const nowMs = this.#deps.clock.monotonicMs()
    const before = worker.report?.cpuSeconds
    const seconds = (nowMs - worker.reportedMs) / 1_000
    if (before !== undefined && seconds > 0) {
      worker.busyPermille = Math.round((1_000 * (message.cpuSeconds - before)) / seconds)
    }
    const isNews = troublesOf(message) !== troublesOf(worker.report)
    worker.report = message
    worker.reportedMs = nowMs
    this.#meters.update(`${worker.index}.${worker.run}`, message.meter)
    if (isNews && this.#hasStarted) this.#look()
  }

  get #memberName(): string {
    return this.#deps.config.member ?? memberName(this.#hostName, this.#where.port)
  }

  get #hostName(): string {
    return (this.#deps.config.hostName ?? hostname()).slice(0, HOST_NAME_BYTES_MAX)
  }

  /** Brings readiness up to date, and tells the trackers when clients should come, or no longer come. */
  #look(): void {
    const nowMs = this.#deps.clock.monotonicMs()
    const alive = this.#workers.filter(
      ({ report, reportedMs }) => report && nowMs - reportedMs < REPORT_AGE_MS_MAX
    )
    this.#readiness.set('workers', alive.length > 0, 'no data worker answers')
    const stores = this.#stores()
    for (const root of this.#deps.config.stores) {
      const store = stores.find(report => report.root === root)
      this.#readiness.set(
        `store ${root}`,
        store !== undefined && store.trouble === undefined,
        store?.trouble ?? 'not reported'
      )
    }
    for (const { root, text } of this.#scrubs()) this.#readiness.note(`content of ${root}`, text)
    this.#noteReplication(stores)
    const database = alive.find(({ report }) => report!.database.ok) ?? alive[0]
    this.#readiness.set(
      'database',
      database?.report?.database.ok ?? false,
      database?.report?.database.reason ?? 'not reported'
    )
    const heard = this.#links.some(
      link => link.heartbeatAgeMs < this.#deps.config.heartbeatS * 2_000 + REPORT_AGE_MS_MAX
    )
    this.#readiness.set('trackers', heard, 'no tracker takes heartbeats')
    if (this.#leaving) this.#readiness.set('membership', false, 'it leaves its group')
    const { serving, taking, reason = '' } = this.#presence()
    const told = `${serving} ${taking} ${reason}`
    if (told !== this.#told) {
      this.#told = told
      for (const link of this.#links) link.tellNow()
    }
    this.#measureRates(nowMs)
  }

  /**
   * Missing copies are told, and make nobody unready: every member of the group sees the same, and files can be read. An
   * address that followed readiness would leave them all.
   */
  #noteReplication(stores: readonly StoreReport[]): void {
    if (this.#deps.config.replication === 'none') return
    const texts = stores.flatMap(({ root, replication }) => {
      const text = replication?.refusal ?? (replication?.trouble && `${root}: ${replication.trouble}`)
      return text ? [text] : []
    })
    this.#readiness.note('replication', texts.join('; '))
  }

  /** One usable store path and one worker are enough; a database that is away fails requests one by one. */
  #isServing(): boolean {
    const nowMs = this.#deps.clock.monotonicMs()
    const answers = this.#workers.some(
      ({ report, reportedMs }) => report && nowMs - reportedMs < REPORT_AGE_MS_MAX
    )
    return answers && this.#stores().some(({ trouble }) => trouble === undefined)
  }

  /** Each store path as the latest report has it. */
  #stores(): StoreReport[] {
    let latest: Worker | undefined
    for (const worker of this.#workers) {
      if (worker.report && (!latest || worker.reportedMs > latest.reportedMs)) latest = worker
    }
    return latest?.report?.stores ?? []
  }

  #scrubs(): readonly ScrubReport[] {
    return this.#workers[0]?.report?.scrubs ?? []
  }

  #measureRates(nowMs: number): void {
    const { commands, bytesReceived, bytesSent } = this.#meters.snapshot()
    let requests = 0
    for (const { outcomes } of Object.values(commands)) {
      for (const count of Object.values(outcomes)) requests += count
    }
    const bytes = bytesReceived + bytesSent
    const seconds = (nowMs - this.#rates.atMs) / 1_000
    if (this.#rates.atMs > 0 && seconds > 0) {
      this.#rates.requestsPerS = Math.max(0, Math.round((requests - this.#rates.requests) / seconds))
      this.#rates.bytesPerS = Math.max(0, Math.round((bytes - this.#rates.bytes) / seconds))
    }
    this.#rates = { ...this.#rates, atMs: nowMs, requests, bytes }
  }

  #presence(): Presence {
    const { config, version } = this.#deps
    const stores = this.#stores().filter(({ trouble }) => trouble === undefined)
    const taking = stores.filter(({ replication }) => replication?.refusal === undefined)
    const freeBytes = taking.reduce((sum, store) => sum + store.freeBytes, 0)
    const trouble = this.#stores().find(store => store.trouble !== undefined)?.trouble
    const mirrored = stores.flatMap(({ replication }) => (replication ? [replication] : []))
    const fewest = mirrored.sort((a, b) => a.copies - a.copiesWanted - (b.copies - b.copiesWanted))[0]
    return {
      version,
      group: config.group,
      hostName: this.#hostName,
      port: this.#where.port,
      startedAtS: this.#startedAtS,
      joinedAtS: Math.floor(this.#deps.clock.nowMs() / 1_000),
      serving: this.#isServing() && !this.#leaving,
      taking: freeBytes > 0 && !this.#leaving,
      reason: trouble ?? fewest?.refusal ?? fewest?.trouble,
      advertised: config.advertise?.map(extendedAddress),
      freeBytes,
      totalBytes: stores.reduce((sum, store) => sum + store.totalBytes, 0),
      connections: this.#meters.snapshot().connectionsOpen,
      requestsPerS: this.#rates.requestsPerS,
      bytesPerS: this.#rates.bytesPerS,
      busyPermille: Math.max(0, ...this.#workers.map(worker => worker.busyPermille)),
      copies: fewest?.copies,
      copiesWanted: fewest?.copiesWanted,
      ...(config.wireCertificate && { tls: true })
    }
  }

  #addReplicationMetrics(metrics: Metrics): void {
    const perMirror = (value: (replication: ReplicationReport) => number | undefined) => () =>
      this.#stores().flatMap(({ root, replication }) => {
        const known = replication && value(replication)
        return known === undefined ? [] : [{ labels: { store: root }, value: known }]
      })
    metrics.gauge(
      'store_copies',
      'Copies of a store path that can be reached; where replication is known',
      perMirror(r => r.copies),
      ['store']
    )
    metrics.gauge(
      'store_copies_wanted',
      'Copies of a store path that there should be',
      perMirror(r => r.copiesWanted),
      ['store']
    )
    metrics.gauge(
      'store_degraded',
      '1 while fewer copies than is safe can be reached',
      perMirror(r => (r.degraded ? 1 : 0)),
      ['store']
    )
    metrics.gauge(
      'store_healed',
      '1 while every copy has everything, 0 while not; absent while nobody has said so lately',
      perMirror(r => (r.healed === undefined ? undefined : Number(r.healed))),
      ['store']
    )
    metrics.gauge(
      'store_unhealed_entries',
      'Entries that a copy lacks, by the last heal report; absent while there is none',
      perMirror(r => r.unhealedEntries),
      ['store']
    )
  }

  #metrics(port: ProcessPort): Metrics {
    const metrics = new Metrics('storage')
    metrics.addMeter(() => this.#meters.snapshot())
    const perStore = (value: (store: StoreReport) => number) => () =>
      this.#stores().map(store => ({ labels: { store: store.root }, value: value(store) }))
    metrics.gauge(
      'store_free_bytes',
      'Bytes that new files may take, above the reserve',
      perStore(s => s.freeBytes),
      ['store']
    )
    metrics.gauge(
      'store_size_bytes',
      'Size of the file system of a store path',
      perStore(s => s.totalBytes),
      ['store']
    )
    metrics.gauge(
      'store_usable',
      '1 while a store path is in use, 0 while it is not',
      perStore(s => (s.trouble === undefined ? 1 : 0)),
      ['store']
    )
    this.#addReplicationMetrics(metrics)
    metrics.gauge(
      'tracker_heartbeat_age_seconds',
      'Time since a tracker last took a heartbeat',
      () => this.#links.map(link => ({ labels: { tracker: link.name }, value: link.heartbeatAgeMs / 1_000 })),
      ['tracker']
    )
    metrics.gauge(
      'worker_resident_bytes',
      'Memory of each data worker',
      () =>
        this.#workers.map(({ index, report }) => ({
          labels: { worker: String(index) },
          value: report?.residentBytes ?? 0
        })),
      ['worker']
    )
    metrics.gauge(
      'orphaned_files',
      'Files without a row at the last sweep',
      () => this.#workers[0]?.report?.sweep?.orphans ?? 0
    )
    metrics.gauge('sweep_alert', '1 while the last sweep found too much to be lost files', () =>
      this.#workers[0]?.report?.sweep?.alert === undefined ? 0 : 1
    )
    const perScrub = (value: (scrub: ScrubReport) => number) => () =>
      this.#scrubs().map(scrub => ({ labels: { store: scrub.root }, value: value(scrub) }))
    metrics.counter(
      'scrubbed_files_total',
      'Files read in the search for damage',
      perScrub(s => s.files),
      ['store']
    )
    metrics.counter(
      'scrubbed_bytes_total',
      'Bytes read in the search for damage',
      perScrub(s => s.bytes),
      ['store']
    )
    metrics.gauge(
      'scrub_last_round_timestamp_seconds',
      'UNIX time at which all files of a store had been read, by whichever member; 0 before',
      perScrub(s => s.lastRoundMs / 1_000),
      ['store']
    )
    metrics.gauge(
      'scrub_damaged_files',
      'Files that the scrub found to be not what was stored, up to 100',
      perScrub(s => s.damaged),
      ['store']
    )
    metrics.gauge(
      'scrub_missing_files',
      'Files that the scrub did not find, up to 100',
      perScrub(s => s.missing),
      ['store']
    )
    metrics.counter(
      'checksum_mismatches_total',
      'Reads for clients that met other content than was stored',
      () => this.#workers.reduce((sum, { report }) => sum + (report?.checksumMismatches ?? 0), 0)
    )
    this.#life.onEnd(metrics.addProcess(port))
    return metrics
  }
}

/** What of a report must not wait for the next look. */
function troublesOf(report: ReportMessage | undefined): string {
  return (report?.stores ?? [])
    .map(({ root, trouble, replication }) => [root, trouble, replication?.trouble].join(' '))
    .join('\n')
}

function extendedAddress({ host, port }: HostPort): ExtendedAddress {
  return { host: plainIp(host), port, family: isIP(plainIp(host)) }
}

function memberName(hostName: string, port: number): string {
  return `${hostName.replaceAll(/[^A-Za-z0-9_-]/g, '-').slice(0, 48)}-${port}`
}
