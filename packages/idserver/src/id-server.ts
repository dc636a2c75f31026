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
import { IdAllocator } from './id-allocator.ts'
import { idHandlers } from './id-handlers.ts'
import { allowListOf, type IdServerConfig } from './id-server-config.ts'

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
  /** Where health and metrics are served; undefined where they are not. */
  readonly adminAddress: HostPort | undefined
}

export function createIdServer(deps: IdServerDeps): IdServer {
  return new RunningIdServer(deps)
}

const COMMAND_NAMES = (Object.keys(COMMANDS) as CommandName[]).filter(name => COMMANDS[name].role === 'id')

class RunningIdServer implements IdServer {
  readonly #deps: IdServerDeps
  readonly #running = new AbortController()
  readonly #closers: ((deadline: AbortSignal) => Promise<void> | void)[] = []
  #admin: AdminServer | undefined
  #started: Promise<HostPort> | undefined
  #stopped: Promise<void> | undefined

  constructor(deps: IdServerDeps) {
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
    const allocator = new IdAllocator({
      counters: database.counters,
      clock,
      step: config.step,
      onFault
    })
    const meter = new RequestMeter<CommandName | 'UNKNOWN'>([...COMMAND_NAMES, 'UNKNOWN'])
    const allow = allowListOf(config)
    const server = new FrameServer({
      role: 'id',
      hostName: config.hostName ?? hostname(),
      handlers: idHandlers(allocator),
      greeting: { role: 'id', cluster: await database.clusterId(), version },
      allows: ip => allow.allows(ip),
      connectionsMax: config.connectionsMax,
      observe(command, outcome, elapsedMs, bytesIn, bytesOut) {
        meter.record(command, outcome, elapsedMs)
        meter.bytesReceived(bytesIn)
        meter.bytesSent(bytesOut)
      },
      onFault
    })

    const metrics = new Metrics('id')
    metrics.addMeter(() => ({
      ...meter.snapshot(),
      connectionsAccepted: server.counts.accepted,
      connectionsRefused: server.counts.refused,
      connectionsOpen: server.counts.open
    }))
    metrics.counter('ids_total', 'Ids handed out', () => allocator.counts.ids)
    metrics.counter('blocks_total', 'Blocks reserved in the database', () => allocator.counts.blocks)
    metrics.counter('reservation_failures_total', 'Reservations failed', () => allocator.counts.failures)
    metrics.gauge('keys', 'Keys with ids in memory', () => allocator.counts.keys)
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
    const watching = watch.run(this.#running.signal)
    this.#closers.push(() => watching)
    const where = { host: address.address, port: address.port }
    log.info(
      { address: formatHostPort(where), step: config.step, allow: allow.entries },
      'the ID server serves'
    )
    return where
  }

  async #database(): Promise<Database> {
    if (this.#deps.database) return this.#deps.database
    const { config, log } = this.#deps
    const database = await openDatabase(config.database, {
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
