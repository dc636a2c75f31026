import { hostname } from 'node:os'
import { openDatabase, wireErrorOf, type Database } from '@tributary/database'
import { commandNamesOf, type CommandName } from '@tributary/protocol'
import {
  allowListOf,
  formatHostPort,
  Lifespan,
  LogThrottle,
  Metrics,
  ProbeWatch,
  Readiness,
  RequestMeter,
  serveAdmin,
  type Clock,
  type HostPort,
  type Log,
  type ProcessPort,
  wireServerSecurityOf
} from '@tributary/runtime'
import { FrameServer } from '@tributary/transport'
import { CallDispatcher } from './calls/call-dispatcher.ts'
import { tellOfGone } from './calls/event-book.ts'
import { indexHandlers } from './calls/index-handlers.ts'
import { Catalog } from './catalog.ts'
import { Cataloguer } from './cataloguer.ts'
import { GroupChoice } from './group-choice.ts'
import { Locator } from './locator.ts'
import type { Member, MemberStatus } from './member.ts'
import { MemberTable } from './member-table.ts'
import type { TrackerConfig } from './tracker-config.ts'
import { RegionMap } from './region-map.ts'
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
  /** Takes the reloadable keys over: the certificate of the wire, for new connections. */
  reload(config: TrackerConfig): void
  /** Where health and metrics are served; undefined where they are not. */
  readonly adminAddress: HostPort | undefined
}

export function createTracker(deps: TrackerDeps): Tracker {
  return new RunningTracker(deps)
}

/** The table is checked this often; what is handed out is checked at that moment too. */
const SWEEP_INTERVAL_MS_MAX = 1_000

class RunningTracker implements Tracker {
  readonly #deps: TrackerDeps
  readonly #life: Lifespan<HostPort>
  #adminAddress: HostPort | undefined
  #server: FrameServer<'tracker'> | undefined

  constructor(deps: TrackerDeps) {
    this.#deps = deps
    this.#life = new Lifespan(
      () => this.#open(),
      error => deps.log.error({ err: wireErrorOf(error, 'safe') }, 'closing failed')
    )
  }

  get adminAddress(): HostPort | undefined {
    return this.#adminAddress
  }

  start(): Promise<HostPort> {
    return this.#life.start()
  }

  stop(deadline: AbortSignal): Promise<void> {
    return this.#life.stop(deadline)
  }

  reload(config: TrackerConfig): void {
    const { tls } = wireServerSecurityOf(config)
    if (tls) this.#server?.useTls(tls)
  }

  async #open(): Promise<HostPort> {
    const { config, log, clock, version, port } = this.#deps
    const life = this.#life
    const database = this.#deps.database ?? (await this.#openDatabase())
    const readiness = new Readiness(['database'])
    const watch = new ProbeWatch({
      name: 'database',
      probe: timeoutMs => database.ping(timeoutMs),
      meanwhile: 'what is in memory is served',
      readiness,
      clock,
      log
    })
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
      choice: new GroupChoice({
        table,
        catalog,
        regions: new RegionMap(config.networkRegions, config.applicationRegions),
        clock,
        random
      })
    })
    const meter = new RequestMeter<CommandName | 'UNKNOWN'>([...commandNamesOf('tracker'), 'UNKNOWN'])
    const allow = allowListOf(config)
    tellOfGone(database, clock)
    const server = new FrameServer({
      role: 'tracker',
      hostName: config.hostName ?? hostname(),
      handlers: trackerHandlers({
        table,
        locator,
        files: database.files,
        calls: new CallDispatcher(indexHandlers({ database, clock })),
        knownGroups: () => catalog.groups,
        cluster,
        clock,
        random
      }),
      greeting: { role: 'tracker', cluster, version, clusterKey: config.clusterKey },
      ...wireServerSecurityOf(config),
      allows: ip => allow.allows(ip),
      connectionsMax: config.connectionsMax,
      observe: meter.observe.bind(meter),
      onFault
    })

    const metrics = new Metrics('tracker')
    metrics.addMeter(() => meter.snapshot(server.counts))
    addTableMetrics(metrics, table, clock)
    metrics.gauge('locations', 'Files and users whose group is remembered', () => locator.remembered)
    metrics.gauge('database_up', '1 while the database answers', () => Number(watch.isUp))
    if (port) life.onEnd(metrics.addProcess(port))

    this.#server = server
    const address = await server.start({ host: config.host, port: config.port })
    life.onEnd(deadline => server.stop(deadline))
    this.#adminAddress = await serveAdmin(config, life, { readiness, metrics, log })
    const cataloguer = new Cataloguer({
      database,
      clock,
      isUp: () => watch.isUp,
      onTrouble: err => throttle.warn('cataloguer', { err }, 'the library is not kept up')
    })
    metrics.counter('catalogued_files_total', 'Files looked at for the library', () => cataloguer.noted)
    const background = Promise.all([
      cataloguer.run(life.ending),
      watch.run(life.ending),
      catalog.run(
        life.ending,
        () => watch.isUp,
        err => throttle.warn('catalog', { err }, 'applications and groups could not be read')
      ),
      sweepUntil(life.ending, table, clock)
    ])
    life.onEnd(async () => {
      await background
    })
    const where = { host: address.address, port: address.port }
    log.info(
      { address: formatHostPort(where), cluster, checkIntervalS, allow: allow.entries },
      'the tracker serves'
    )
    return where
  }

  async #openDatabase(): Promise<Database> {
    const { config, log } = this.#deps
    const database = await openDatabase(config.database, {
      ...(config.redis === undefined ? {} : { cache: { redisUrl: config.redis } }),
      queryTimeoutMs: QUERY_TIMEOUT_MS,
      onEvent: ({ level, text }) => log[level](text)
    })
    this.#life.onEnd(() => database.close())
    return database
  }
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
