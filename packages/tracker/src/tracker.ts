import { hostname } from 'node:os'
import { openDatabase, type Database } from '@tributary/database'
import { COMMANDS, type CommandName } from '@tributary/protocol'
import {
  AdminServer,
  formatHostPort,
  LogThrottle,
  Metrics,
  Readiness,
  RequestMeter,
  type Clock,
  type HostPort,
  type Log,
  type ProcessPort
} from '@tributary/runtime'
import { FrameServer } from '@tributary/transport'
import { wireErrorOf } from './database-failure.ts'
import { DATABASE_CONDITION, DatabaseWatch } from './database-watch.ts'
import { Catalog } from './catalog.ts'
import { chooseGroup } from './group-choice.ts'
import { Locator } from './locator.ts'
import type { Member, MemberGroup, MemberStatus } from './member.ts'
import { MemberTable } from './member-table.ts'
import { allowListOf, type TrackerConfig } from './tracker-config.ts'
import { addTableMetrics } from './table-metrics.ts'
import { trackerHandlers } from './tracker-handlers.ts'

/** One call waits so long for the database: what it answers later than in 2 s nobody waits for. */
const QUERY_TIMEOUT_MS = 1_500

export interface TrackerDeps {
  config: TrackerConfig
  /** Opened by the caller, who closes it too; without it the server opens `config.database` itself. */
  database?: Database
  log: Log
  clock: Clock
  /** Of this program, for the handshake. */
  version: string
  /** Balances; 0 up to, not including, 1. */
  random?: () => number
  /** Adds memory, CPU and lag of the process to the metrics. */
  port?: ProcessPort
}

export interface Tracker {
  /** Resolves when it serves; rejects with nothing left open. */
  start(): Promise<HostPort>
  /** Refuses new work, finishes what is in hand, cuts what is left when `deadline` aborts. Idempotent. */
  stop(deadline: AbortSignal): Promise<void>
  /** Where health and metrics are served; undefined where they are not. */
  readonly adminAddress: HostPort | undefined
}

export function createTracker(deps: TrackerDeps): Tracker {
  return new RunningTracker(deps)
}

/** The table is checked this often; what is handed out is checked at that moment too. */
const SWEEP_INTERVAL_MS_MAX = 1_000

const COMMAND_NAMES = (Object.keys(COMMANDS) as CommandName[]).filter(
  name => COMMANDS[name].role === 'tracker'
)

class RunningTracker implements Tracker {
  readonly #deps: TrackerDeps
  readonly #running = new AbortController()
  readonly #closers: ((deadline: AbortSignal) => Promise<void> | void)[] = []
  #admin: AdminServer | undefined
  #started: Promise<HostPort> | undefined
  #stopped: Promise<void> | undefined

  constructor(deps: TrackerDeps) {
    this.#deps = deps
  }

  get adminAddress(): HostPort | undefined {
    const address = this.#admin?.address
    return address && { host: address.address, port: address.port }
  }

  start(): Promise<HostPort> {
    return (this.#started ??= this.#start().catch(async error => {
      await this.#close(AbortSignal.abort())
      throw error
    }))
  }

  stop(deadline: AbortSignal): Promise<void> {
    return (this.#stopped ??= this.#stop(deadline))
  }

  async #start(): Promise<HostPort> {
    const { config, log, clock, version, port } = this.#deps
    const database = await this.#database()
    const readiness = new Readiness([DATABASE_CONDITION])
    const watch = new DatabaseWatch(database, readiness, clock, log)
    await watch.first()
    const throttle = new LogThrottle(log, { clock })
    const onFault = (err: unknown): void => throttle.error('fault', { err }, 'a fault in the server')
    const cluster = await database.clusterId()
    const catalog = new Catalog(database.routes, clock)
    await catalog.read()
    const { checkIntervalS } = config
    const table = new MemberTable({
      clock,
      checkIntervalMs: checkIntervalS * 1_000,
      onChange: (member, before) => reportChange(log, throttle, member, before)
    })
    const random = this.#deps.random ?? Math.random
    const locator = new Locator({
      database,
      catalog,
      clock,
      isUp: () => watch.isUp,
      chooseGroup: () => chooseGroup(openGroups(table, catalog), clock.monotonicMs(), random)
    })
    const meter = new RequestMeter<CommandName | 'UNKNOWN'>([...COMMAND_NAMES, 'UNKNOWN'])
    const allow = allowListOf(config)
    const server = new FrameServer({
      role: 'tracker',
      hostName: config.hostName ?? hostname(),
      handlers: trackerHandlers({
        table,
        locator,
        files: database.files,
        knownGroups: () => catalog.groups,
        cluster,
        clock,
        random
      }),
      greeting: { role: 'tracker', cluster, version },
      allows: ip => allow.allows(ip),
      connectionsMax: config.connectionsMax,
      observe(command, outcome, elapsedMs, bytesIn, bytesOut) {
        meter.record(command, outcome, elapsedMs)
        meter.bytesReceived(bytesIn)
        meter.bytesSent(bytesOut)
      },
      onFault
    })

    const metrics = new Metrics('tracker')
    metrics.addMeter(() => ({
      ...meter.snapshot(),
      connectionsAccepted: server.counts.accepted,
      connectionsRefused: server.counts.refused,
      connectionsOpen: server.counts.open
    }))
    addTableMetrics(metrics, table, clock)
    metrics.gauge('locations', 'Files and users whose group is remembered', () => locator.remembered)
    metrics.gauge('database_up', '1 while the database answers', () => Number(watch.isUp))
    if (port) this.#closers.push(metrics.addProcess(port))

    const address = await server.start({ host: config.host, port: config.port })
    this.#closers.push(deadline => server.stop(deadline))
    if (config.adminPort !== 0) {
      this.#admin = new AdminServer({ readiness, metrics, log, allow })
      await this.#admin.start({ host: config.adminHost, port: config.adminPort })
      const admin = this.#admin
      this.#closers.push(deadline => admin.stop(deadline))
    }
    const { signal } = this.#running
    const background = Promise.all([
      watch.run(signal),
      catalog.run(
        signal,
        () => watch.isUp,
        err => throttle.warn('catalog', { err }, 'applications and groups could not be read')
      ),
      sweepUntil(signal, table, clock)
    ])
    this.#closers.push(async () => {
      await background
    })
    const where = { host: address.address, port: address.port }
    log.info(
      { address: formatHostPort(where), cluster, checkIntervalS, allow: allow.entries },
      'the tracker serves'
    )
    return where
  }

  async #database(): Promise<Database> {
    if (this.#deps.database) return this.#deps.database
    const { config, log } = this.#deps
    const database = await openDatabase(config.database, {
      ...(config.redis === undefined ? {} : { cache: { redisUrl: config.redis } }),
      queryTimeoutMs: QUERY_TIMEOUT_MS,
      onEvent: ({ level, text }) => log[level](text)
    })
    this.#closers.push(() => database.close())
    return database
  }

  async #stop(deadline: AbortSignal): Promise<void> {
    await this.#started?.catch(() => {})
    await this.#close(deadline)
  }

  async #close(deadline: AbortSignal): Promise<void> {
    this.#running.abort()
    // In the reverse order of opening: nobody is served any more when the database closes.
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close(deadline)
      } catch (error) {
        this.#deps.log.error({ err: wireErrorOf(error) }, 'closing failed')
      }
    }
  }
}

/** Groups that may get new users. */
function openGroups(table: MemberTable, catalog: Catalog): MemberGroup[] {
  const open: MemberGroup[] = []
  for (const { name, draining } of catalog.groups.values()) {
    const group = draining ? undefined : table.group(name)
    if (group) open.push(group)
  }
  return open
}

async function sweepUntil(signal: AbortSignal, table: MemberTable, clock: Clock): Promise<void> {
  const intervalMs = Math.min(SWEEP_INTERVAL_MS_MAX, table.checkIntervalMs / 2)
  while (!signal.aborted) {
    await clock.sleep(intervalMs, signal).catch(() => {})
    table.sweep()
  }
}

function reportChange(log: Log, throttle: LogThrottle, member: Member, before: MemberStatus): void {
  const { group, hostName, status, reason } = member
  const address = formatHostPort({ host: member.ip, port: member.port })
  const fields = { group, hostName, address, before, status, ...(reason === '' ? {} : { reason }) }
  log.debug(fields, 'a storage server changed its status')
  if (status === 'OFFLINE')
    throttle.warn(`${group} ${address} OFFLINE`, fields, 'a storage server is OFFLINE')
  else if (status === 'ACTIVE')
    throttle.info(`${group} ${address} ACTIVE`, fields, 'a storage server is ACTIVE')
}
