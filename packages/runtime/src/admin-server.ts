import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { AllowList } from './access.ts'
import { formatHostPort, type HostPort } from './host-port.ts'
import type { Lifespan } from './lifespan.ts'
import { allowListOf, type ListenerConfig } from './listener-config.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Readiness } from './readiness.ts'

/** A scraper and a handful of probes; whoever comes beyond is turned away. */
const CONNECTIONS_MAX = 64
const HEADERS_WAIT_MS = 5_000
const REQUEST_WAIT_MS = 10_000
const KEEP_ALIVE_MS = 30_000
/** A peer that does not read its answer is let go after this silence. */
const SILENCE_MS = 30_000
const HEADER_BYTES_MAX = 8 * 1024
/** Reading a gauge may ask a disk that hangs; a scrape does not wait for ever. */
const METRICS_WAIT_MS = 5_000

export interface AdminServerOptions {
  readiness: Pick<Readiness, 'report'>
  /** Makes what the readiness says fresh, where that is looked up only when somebody asks. Never rejects. */
  refresh?: () => Promise<void>
  metrics: Metrics
  log: Log
  /** Peers outside it are disconnected; without it the host alone decides who gets in. */
  allow?: AllowList
  /** True: a port that is taken stops the start. Default: a warning, and the server works without it. */
  required?: boolean
}

/**
 * Tells operators and probes how a server does: GET /healthz (the process answers), /readyz (503 and the
 * reasons when it should get no work), /metrics.
 */
export class AdminServer {
  readonly #options: AdminServerOptions
  readonly #server
  #stopped: Promise<void> | undefined
  #address: AddressInfo | undefined

  constructor(options: AdminServerOptions) {
    this.#options = options
    this.#server = createServer(
      {
        headersTimeout: HEADERS_WAIT_MS,
        requestTimeout: REQUEST_WAIT_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: 1_000,
        maxHeaderSize: HEADER_BYTES_MAX
      },
      (request, response) => {
        this.#answer(request, response).catch((err: unknown) => {
          options.log.error({ err }, 'an administrative request failed')
          response.destroy()
        })
      }
    )
    this.#server.maxConnections = CONNECTIONS_MAX
    this.#server.setTimeout(SILENCE_MS)
    this.#server.on('connection', socket => {
      if (options.allow && !options.allow.allows(socket.remoteAddress ?? '')) socket.destroy()
    })
    this.#server.on('clientError', (_error, socket) => socket.destroy())
  }

  /** Where it listens; undefined before the start and where the port could not be had. */
  get address(): AddressInfo | undefined {
    return this.#address
  }

  /**
   * Listens; a port that cannot be had is a warning, unless `required`.
   *
   * @param where  host always given: a bare port would listen on every interface. Port 0: any free one.
   */
  async start(where: { host: string; port: number }): Promise<AddressInfo | undefined> {
    try {
      this.#server.listen({ host: where.host, port: where.port })
      await once(this.#server, 'listening')
    } catch (err) {
      if (this.#options.required) throw err
      this.#options.log.warn(
        { err, address: formatHostPort(where) },
        'health and metrics cannot be served there'
      )
      return undefined
    }
    this.#server.on('error', err => this.#options.log.error({ err }, 'administrative listener'))
    this.#address = this.#server.address() as AddressInfo
    return this.#address
  }

  /** Ends the listener; answers in progress are let finish until the deadline. */
  stop(deadline: AbortSignal): Promise<void> {
    return (this.#stopped ??= this.#close(deadline))
  }

  async #close(deadline: AbortSignal): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()))
    this.#server.closeIdleConnections()
    const cut = (): void => this.#server.closeAllConnections()
    if (deadline.aborted) cut()
    deadline.addEventListener('abort', cut, { once: true })
    await closed
    deadline.removeEventListener('abort', cut)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume()
    const path = (request.url ?? '/').split('?', 1)[0]
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      return sendJson(response, 405, { error: 'only GET and HEAD are served' })
    }
    switch (path) {
      case '/healthz':
        return sendJson(response, 200, { status: 'ok' })
      case '/readyz': {
        await this.#options.refresh?.()
        const report = this.#options.readiness.report()
        return sendJson(response, report.ready ? 200 : 503, report)
      }
      case '/metrics': {
        const text = await within(this.#options.metrics.text(), METRICS_WAIT_MS)
        if (text === undefined)
          return sendJson(response, 503, { error: 'the metrics could not be read in time' })
        return send(response, 200, this.#options.metrics.contentType, text)
      }
      default:
        return sendJson(response, 404, { error: 'there are /healthz, /readyz and /metrics' })
    }
  }
}

/**
 * Serves health and metrics where the configuration wants them, until the end of `life`.
 *
 * @returns where; undefined where they are not wanted or the port could not be had.
 */
export async function serveAdmin(
  config: Pick<ListenerConfig, 'adminHost' | 'adminPort' | 'allow' | 'insecure'>,
  life: Pick<Lifespan<unknown>, 'onEnd'>,
  options: Omit<AdminServerOptions, 'allow'>
): Promise<HostPort | undefined> {
  if (config.adminPort === 0) return undefined
  const admin = new AdminServer({
    ...options,
    allow: allowListOf({ allow: config.allow, insecure: config.insecure })
  })
  const bound = await admin.start({ host: config.adminHost, port: config.adminPort })
  life.onEnd(deadline => admin.stop(deadline))
  return bound && { host: bound.address, port: bound.port }
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  send(response, status, 'application/json; charset=utf-8', `${JSON.stringify(body)}\n`)
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff'
  })
  response.end(body) // node leaves the body out for HEAD
}

function within<Value>(promise: Promise<Value>, ms: number): Promise<Value | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), ms)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
