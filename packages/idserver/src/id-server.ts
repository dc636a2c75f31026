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
import { IdAllocator } from './id-allocator.ts'
import { idHandlers } from './id-handlers.ts'
import type { IdServerConfig } from './id-server-config.ts'

/** One call waits so long for the database: what it answers later than in 2 s nobody waits for. */
const QUERY_TIMEOUT_MS = 1_500

export interface IdServerDeps {
  config: IdServerConfig
  /** Opened by the caller, who closes it too; without it the server opens `config.database` itself. */
  database?: Database
  log: Log
  clock: Clock
  /** Of this program, for the handshake. */
  version: string
  /** Adds memory, CPU and lag of the process to the metrics. */
  port?: ProcessPort
}

export interface IdServer {
  /** Resolves when it serves; rejects with nothing left open. */
  start(): Promise<HostPort>
  /** Refuses new work, finishes what is in hand, cuts what is left when `deadline` aborts. Idempotent. */
  stop(deadline: AbortSignal): Promise<void>
  /** Takes the reloadable keys over: the certificate of the wire, for new connections. */
  reload(config: IdServerConfig): void
  /** Where health and metrics are served; undefined where they are not. */
  readonly adminAddress: HostPort | undefined
}

export function createIdServer(deps: IdServerDeps): IdServer {
  return new RunningIdServer(deps)
}

class RunningIdServer implements IdServer {
  readonly #deps: IdServerDeps
  readonly #life: Lifespan<HostPort>
  #adminAddress: HostPort | undefined
  #server: FrameServer<'id'> | undefined

  constructor(deps: IdServerDeps) {
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

  reload(config: IdServerConfig): void {
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
    const allocator = new IdAllocator({
      counters: database.counters,
      clock,
      step: config.step,
      onFault
    })
    const meter = new RequestMeter<CommandName | 'UNKNOWN'>([...commandNamesOf('id'), 'UNKNOWN'])
    const allow = allowListOf(config)
    const server = new FrameServer({
      role: 'id',
      hostName: config.hostName ?? hostname(),
      handlers: idHandlers(allocator),
      greeting: {
        role: 'id',
        cluster: await database.clusterId(),
        version,
        clusterKey: config.clusterKey
      },
      ...wireServerSecurityOf(config),
      allows: ip => allow.allows(ip),
      connectionsMax: config.connectionsMax,
      observe: meter.observe.bind(meter),
      onFault
    })

    const metrics = new Metrics('id')
    metrics.addMeter(() => meter.snapshot(server.counts))
    metrics.counter('ids_total', 'Ids handed out', () => allocator.counts.ids)
    metrics.counter('blocks_total', 'Blocks reserved in the database', () => allocator.counts.blocks)
    metrics.counter('reservation_failures_total', 'Reservations failed', () => allocator.counts.failures)
    metrics.gauge('keys', 'Keys with ids in memory', () => allocator.counts.keys)
    metrics.gauge('database_up', '1 while the database answers', () => Number(watch.isUp))
    if (port) life.onEnd(metrics.addProcess(port))

    this.#server = server
    const address = await server.start({ host: config.host, port: config.port })
    life.onEnd(deadline => server.stop(deadline))
    this.#adminAddress = await serveAdmin(config, life, { readiness, metrics, log })
    const watching = watch.run(life.ending)
    life.onEnd(() => watching)
    const where = { host: address.address, port: address.port }
    log.info(
      { address: formatHostPort(where), step: config.step, allow: allow.entries },
      'the ID server serves'
    )
    return where
  }

  async #openDatabase(): Promise<Database> {
    const { config, log } = this.#deps
    const database = await openDatabase(config.database, {
      queryTimeoutMs: QUERY_TIMEOUT_MS,
      onEvent: ({ level, text }) => log[level](text)
    })
    this.#life.onEnd(() => database.close())
    return database
  }
}
