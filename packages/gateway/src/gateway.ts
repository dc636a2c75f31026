/** The HTTP server: one more client of trackers and storage servers. It holds no data; as many as wanted. */
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse
} from 'node:http'
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https'
import { once } from 'node:events'
import { Server as NetServer, type AddressInfo, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { fastify, type FastifyInstance, type FastifyReply, type RouteHandlerMethod } from 'fastify'
import { Client, signedPath } from '@tributary/client'
import type { FileKey } from '@tributary/protocol'
import {
  AdminServer,
  AllowList,
  LogThrottle,
  Metrics,
  OUTCOME_OK,
  Readiness,
  wireSecurityOf,
  type Clock,
  type Log,
  type ReadinessReport
} from '@tributary/runtime'
import { DegradedWatch } from './access/degraded-watch.ts'
import { Door } from './access/door.ts'
import { makePrivate, markPrivate, privateCacheControl } from './access/private-answers.ts'
import { auditedOf } from './access/audited-request.ts'
import { nameOf } from './access/principal.ts'
import { accessHandlers } from './api/access-handlers.ts'
import { registerApi, type ApiOptions } from './api/api.ts'
import { ClusterView, type GatewayCounts } from './api/cluster-handlers.ts'
import { jobsHandlers } from './api/jobs-handlers.ts'
import { libraryHandlers } from './api/library-handlers.ts'
import { reportHandlers } from './api/report-handlers.ts'
import { shareHandlers, signedDetails } from './api/share-handlers.ts'
import { reportCertificate, secureOptions } from './certificate.ts'
import { ClusterProbe } from './cluster-probe.ts'
import { ConnectionWatch } from './connection-watch.ts'
import type { About } from './contract/index.ts'
import { methodNotAllowed, sendJson, sendProblem, sendWhole, type Exchange } from './exchange.ts'
import { CORS_HEADERS, FileHeaderCache } from './file-headers.ts'
import { listFiles } from './file-listing.ts'
import { FileReader } from './file-reader.ts'
import type { FileService } from './file-service.ts'
import {
  ABSOLUTE_FORM,
  FILES_PREFIX,
  filmOfTree,
  isFilmTree,
  isPlaylistTree,
  parseTarget,
  type Owner,
  type Target
} from './file-target.ts'
import { FileWriter } from './file-writer.ts'
import { FilmPictures, POSTER_PREFIX, THUMBNAILS_PREFIX } from './film-pictures.ts'
import type { GatewayConfig } from './gateway-config.ts'
import { HttpMeter, type Route } from './http-meter.ts'
import { sendSubtitles, SUBTITLES_PREFIX } from './film-subtitles.ts'
import { addPageRoutes } from './page-routes.ts'
import { HttpProblem, isOurFault, problemReply } from './problem.ts'
import { WebhookCourier } from './access/webhook-courier.ts'
import { Streaming } from './streaming/streaming.ts'
import { DASH_PREFIX, HLS_PREFIX } from './streaming/streaming-target.ts'
import { maySeeTrash } from './stored-film.ts'
import { lookUpFilm } from './watched-film.ts'
import { UPLOADS_PREFIX } from './uploads/tus-headers.ts'
import { UploadEndpoint } from './uploads/upload-endpoint.ts'

export interface GatewayDependencies {
  config: GatewayConfig
  log: Log
  clock: Clock
  /** Of the program. */
  version: string
  /** Default: a client of its own for `config.trackers`, closed with the gateway. */
  client?: FileService
  /** What /metrics shows besides the requests; a program adds its process there. */
  metrics?: Metrics
}

export interface Gateway {
  /** @throws what `listen` does (EADDRINUSE, …), with nothing left open. */
  start(): Promise<{ host: string; port: number }>
  /** Finishes the answers in hand, cuts what is left when `deadline` aborts. Idempotent. */
  stop(deadline: AbortSignal): Promise<void>
  /** Takes the reloadable keys over: the write token, from the next request on; certificates, from the next connection on. */
  reload(config: GatewayConfig): void
}

const DAY_MS = 86_400_000
const CHECK_INTERVAL_MS = 1_000
const STOP_SWEEP_MS = 25
/** Ids are at most 255 bytes, three characters each; the router is given room for what we refuse in our own words. */
const PARAMETER_CHARACTERS_MAX = 1024 * 1024
const PREFLIGHT_AGE_S = '86400'
const FILE_METHODS = 'GET, HEAD, PUT, DELETE, OPTIONS'
const FOLDER_METHODS = 'GET, HEAD, POST, OPTIONS'
const READ_METHODS = 'GET, HEAD'
const READ_HEADERS =
  'Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, Cache-Control'

const PREFLIGHT_HEADERS = [
  ...CORS_HEADERS,
  'Access-Control-Allow-Methods',
  READ_METHODS,
  'Access-Control-Allow-Headers',
  READ_HEADERS,
  'Access-Control-Max-Age',
  PREFLIGHT_AGE_S
]

export function createGateway(dependencies: GatewayDependencies): Gateway {
  return new HttpGateway(dependencies)
}

class HttpGateway implements Gateway {
  #config: GatewayConfig
  readonly #log: Log
  readonly #clock: Clock
  readonly #version: string
  readonly #files: FileService
  /** Unless it was given one. */
  readonly #ownClient: Client | undefined
  readonly #owner: Owner
  readonly #door: Door
  readonly #courier: WebhookCourier
  readonly #cluster: ClusterView
  readonly #degraded: DegradedWatch
  readonly #reader: FileReader
  readonly #writer: FileWriter
  readonly #uploads: UploadEndpoint
  readonly #streaming: Streaming
  readonly #meter = new HttpMeter()
  readonly #metrics: Metrics
  readonly #readiness = new Readiness(['tracker', 'storage'])
  readonly #probe: ClusterProbe
  readonly #watch: ConnectionWatch
  readonly #server: Server
  /** The same, where it speaks HTTPS. */
  readonly #secureServer: SecureServer | undefined
  readonly #admin: AdminServer
  readonly #app: FastifyInstance
  #stopping = false
  #stopped: Promise<void> | undefined

  constructor({ config, log, clock, version, client, metrics }: GatewayDependencies) {
    this.#config = config
    this.#log = log
    this.#clock = clock
    this.#version = version
    if (client === undefined) {
      this.#ownClient = new Client({
        trackers: config.trackers.map(({ host, port }) => ({ host, port })),
        version,
        keptContentBytesMax: config.keptContentBytes,
        ...wireSecurityOf(config),
        onEvent: ({ level, text }) => log[level](text)
      })
    }
    this.#files = client ?? this.#ownClient!
    this.#owner = { application: config.defaultApp, user: config.defaultUser }
    this.#door = new Door({
      files: this.#files,
      clock,
      log,
      writeToken: config.writeToken,
      insecure: config.insecure,
      names: config.names,
      proxies: config.proxies
    })
    this.#courier = new WebhookCourier({
      files: this.#files,
      copy: this.#door.copy,
      clock,
      log,
      version,
      networks: config.webhookNetworks
    })
    this.#reader = new FileReader({
      files: this.#files,
      headers: new FileHeaderCache(config.cacheControl),
      privateHeaders: new FileHeaderCache(privateCacheControl(config.cacheControl)),
      clock
    })
    this.#writer = new FileWriter({
      files: this.#files,
      clock,
      uploadBytesMax: config.uploadMaxBytes,
      uploadsMax: config.uploadsMax,
      silenceMs: config.silenceS * 1_000,
      quotas: this.#door.quotas,
      events: this.#door.events
    })
    this.#streaming = new Streaming({
      files: this.#files,
      clock,
      log,
      cacheBytes: config.streamCacheBytes,
      filmsMax: config.streamFilmsMax
    })
    this.#cluster = new ClusterView({
      files: this.#files,
      clock,
      counts: () => this.#counts(),
      authorizeAgain: exchange => this.#door.authorizeAgain(exchange, 'read', {})
    })
    this.#degraded = new DegradedWatch({
      look: () => this.#cluster.now(),
      copy: this.#door.copy,
      events: this.#door.events,
      clock
    })
    this.#uploads = new UploadEndpoint({
      files: this.#files,
      clock,
      owner: this.#owner,
      uploadBytesMax: config.uploadMaxBytes,
      uploadsMax: config.uploadsMax,
      silenceMs: config.silenceS * 1_000,
      quotas: this.#door.quotas,
      events: this.#door.events,
      admitWrite: (exchange, scope) => this.#door.admitWrite(exchange, scope)
    })
    this.#probe = new ClusterProbe(this.#files, this.#readiness, clock)
    this.#metrics = metrics ?? new Metrics('gateway')
    this.#meter.expose(this.#metrics)
    this.#streaming.expose(this.#metrics)
    this.#metrics.gauge(
      'uploads_in_progress',
      'Uploads in progress',
      () => this.#writer.uploadsInProgress + this.#uploads.uploadsInProgress
    )
    this.#metrics.gauge(
      'certificate_expiry_timestamp_seconds',
      'UNIX time at which the certificate expires; absent without HTTPS',
      () => {
        const { certificate } = this.#config
        return certificate ? reportCertificate(certificate, clock.nowMs()).expiresMs / 1_000 : []
      }
    )
    this.#admin = new AdminServer({
      readiness: { report: () => this.#report() },
      refresh: () => this.#probe.refresh(),
      metrics: this.#metrics,
      log,
      allow: allowedNetworks(config)
    })
    const refusals = new LogThrottle(log, { clock })
    this.#watch = new ConnectionWatch({
      allow: allowedNetworks(config),
      connectionsMax: config.connectionsMax,
      stallMs: config.stallS * 1_000,
      meter: this.#meter.requests,
      clock,
      onRefused: (address, why) => refusals.warn(why, { address }, `connection refused: the peer ${why}`)
    })
    let serve: (request: IncomingMessage, response: ServerResponse) => void = () => {}
    const options: ServerOptions = {
      maxHeaderSize: config.headerMaxBytes,
      headersTimeout: config.headerWaitS * 1_000,
      requestTimeout: 0, // a film takes as long as it takes; silence is what ends an upload
      keepAliveTimeout: config.keepAliveS * 1_000,
      connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS, config.headerWaitS * 250),
      noDelay: true
    }
    const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
      if (this.#stopping) response.shouldKeepAlive = false
      this.#watch.note(request.socket, response)
      // One spelling from here on: what the door sees is what the router does.
      request.url = request.url!.replace(ABSOLUTE_FORM, '') || '/'
      if (request.url.includes('#')) {
        const exchange = this.#exchange('other', request, response)
        return this.#fail(exchange, new HttpProblem(400, 'the URL holds a #, which must be percent-encoded'))
      }
      const signed = this.#door.takeSignature(request)
      if (isFilmTree(request.url!) && this.#guardFilm(signed, request, response, serve)) return
      // What players ask for, hundreds of times a film, takes the short way; the router knows it as well.
      if (request.method === 'GET' && request.url!.startsWith(FILES_PREFIX)) {
        this.#answer('GET file', request, response, this.#get)
      } else serve(request, response)
    }
    if (config.certificate) {
      const handshakeTimeout = config.headerWaitS * 1_000
      this.#secureServer = createSecureServer(
        { ...options, ...secureOptions(config), handshakeTimeout },
        onRequest
      )
    }
    this.#server = this.#secureServer ?? createServer(options, onRequest)
    this.#watch.attach(this.#server)
    this.#server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      AWAITS_CONTINUE.add(request)
      this.#server.emit('request', request, response)
    })
    this.#server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
      const exchange = this.#exchange('other', request, response)
      this.#fail(exchange, new HttpProblem(417, 'the only expectation that can be met is 100-continue'))
    })
    this.#app = fastify({
      serverFactory: handler => {
        serve = handler
        return this.#server
      },
      logger: false,
      return503OnClosing: false,
      routerOptions: { maxParamLength: PARAMETER_CHARACTERS_MAX },
      exposeHeadRoutes: false,
      clientErrorHandler: (error, socket) => this.#refuseBytes(error, socket),
      frameworkErrors: (_error, request, reply) => {
        this.#run('other', request.raw, reply, () =>
          Promise.reject(new HttpProblem(400, 'the URL is not percent-encoded UTF-8'))
        )
      }
    })
    this.#addRoutes()
  }

  async start(): Promise<{ host: string; port: number }> {
    await this.#app.ready()
    this.#door.start()
    this.#courier.start()
    this.#degraded.start()
    this.#server.listen({ host: this.#config.host, port: this.#config.port })
    try {
      await once(this.#server, 'listening')
    } catch (error) {
      await this.#closeDoor(AbortSignal.abort())
      this.#release()
      throw error
    }
    this.#server.on('error', err => this.#log.error({ err }, 'the listener failed'))
    const { address, port } = this.#server.address() as AddressInfo
    this.#log.info({ host: address, port, scheme: this.#secureServer ? 'https' : 'http' }, 'gateway serves')
    this.#tellCertificate('the certificate')
    const { adminHost, adminPort } = this.#config
    if (adminPort !== 0) await this.#admin.start({ host: adminHost, port: adminPort })
    return { host: address, port }
  }

  reload(config: GatewayConfig): void {
    const { certificate, privateKey } = this.#config
    this.#config = config
    this.#door.guard.useToken(config.writeToken)
    this.#ownClient?.useTls(wireSecurityOf(config).tls)
    if (config.certificate?.text === certificate?.text && config.privateKey?.text === privateKey?.text) return
    this.#secureServer?.setSecureContext(secureOptions(config))
    this.#tellCertificate('another certificate, for new connections')
  }

  #tellCertificate(what: string): void {
    const { certificate } = this.#config
    if (certificate === undefined) return
    const { serial, names, expires, warning } = reportCertificate(certificate, this.#clock.nowMs())
    const fields = { file: certificate.path, serial, names, expires }
    if (warning === undefined) this.#log.info(fields, what)
    else this.#log.warn(fields, `${what}: ${warning}`)
  }

  stop(deadline: AbortSignal): Promise<void> {
    return (this.#stopped ??= this.#drain(deadline))
  }

  async #drain(deadline: AbortSignal): Promise<void> {
    this.#stopping = true
    if (this.#server.listening) {
      const closed = once(this.#server, 'close')
      // The listener alone: http's own close would cut answers that have not left yet.
      NetServer.prototype.close.call(this.#server)
      // A connection becomes idle when its answer ends, and would linger for its keep-alive time.
      const sweep = setInterval(() => this.#watch.closeIdle(0), STOP_SWEEP_MS)
      const cut = (): void => this.#watch.closeAll()
      if (deadline.aborted) cut()
      deadline.addEventListener('abort', cut, { once: true })
      await closed
      deadline.removeEventListener('abort', cut)
      clearInterval(sweep)
      this.#server.close(() => {}) // ends its timers; that it no longer listens is known
    }
    await this.#closeDoor(deadline)
    this.#release()
    await Promise.all([this.#app.close(), this.#admin.stop(deadline)])
  }

  async #closeDoor(deadline: AbortSignal): Promise<void> {
    const stopped = Promise.all([this.#courier.stop(), this.#degraded.stop()])
    await this.#door.stop(deadline)
    if (!deadline.aborted) await stopped
  }

  #release(): void {
    this.#watch.detach()
    void this.#streaming.close()
    this.#ownClient?.close()
  }

  #addRoutes(): void {
    const app = this.#app
    // Content is never parsed here: whoever wants it reads it.
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', (_request, _payload, done) => done(null))
    app.route({
      method: 'GET',
      url: `${FILES_PREFIX}*`,
      handler: (request, reply) => {
        this.#run('GET file', request.raw, reply, this.#get)
      }
    })
    app.route({
      method: ['HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'PATCH'],
      url: `${FILES_PREFIX}*`,
      // Before the framework looks at the content, its type or its length.
      onRequest: (request, reply) => {
        const route = `${request.method} file` as Route
        this.#run(KNOWN_ROUTES.has(route) ? route : 'other', request.raw, reply, this.#other)
      },
      handler: () => {}
    })
    for (const url of [UPLOADS_PREFIX, `${UPLOADS_PREFIX}/*`]) {
      app.route({
        method: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'PATCH'],
        url,
        onRequest: (request, reply) => {
          const route = `${request.method} upload` as Route
          this.#run(KNOWN_ROUTES.has(route) ? route : 'other', request.raw, reply, exchange =>
            this.#received(exchange, this.#uploads.answer(exchange))
          )
        },
        handler: () => {}
      })
    }
    const reading = (url: string, handler: RouteHandlerMethod): void => {
      app.route({ method: ['GET', 'HEAD'], url, handler })
    }
    reading('/healthz', (request, reply) => {
      this.#run('other', request.raw, reply, exchange => {
        sendJson(exchange, 200, { status: 'ok' })
        return 200
      })
    })
    reading('/readyz', (request, reply) => {
      this.#run('other', request.raw, reply, async exchange => {
        await this.#probe.refresh()
        const report = this.#report()
        const status = report.ready ? 200 : 503
        sendJson(exchange, status, report)
        return status
      })
    })
    reading('/metrics', (request, reply) => {
      this.#run('other', request.raw, reply, async exchange => {
        const text = Buffer.from(await this.#metrics.text())
        sendWhole(
          exchange,
          200,
          [
            'Content-Type',
            this.#metrics.contentType,
            'Content-Length',
            String(text.byteLength),
            'Cache-Control',
            'no-store',
            'X-Content-Type-Options',
            'nosniff'
          ],
          text
        )
        return 200
      })
    })
    reading('/about.json', (request, reply) => {
      this.#run('GET page', request.raw, reply, exchange => {
        const about: About = {
          version: this.#version,
          application: this.#config.defaultApp,
          user: this.#config.defaultUser,
          writeToken: this.#door.guard.needsToken,
          uploadBytesMax: this.#config.uploadMaxBytes
        }
        sendJson(exchange, 200, about)
        return 200
      })
    })
    const library = libraryHandlers({
      files: this.#files,
      clock: this.#clock,
      trashMs: this.#config.trashDays * DAY_MS,
      events: this.#door.events,
      authorize: this.#door.authorize.bind(this.#door)
    })
    const pictures = new FilmPictures(this.#files, this.#reader, (exchange, film) => {
      const authorize: ApiOptions['authorize'] = async (...asked) => {
        // A page of another site is to see no more than everybody.
        this.#door.guard.checkOrigin(exchange.request.headers)
        await this.#door.authorize(...asked)
      }
      return maySeeTrash(authorize, exchange, film)
    })
    const ofFilm = (prefix: string, route: Route, work: (exchange: Exchange) => Promise<number>): void => {
      reading(`${prefix}*`, (request, reply) => {
        this.#run(route, request.raw, reply, exchange => {
          exchange.errorHeaders = CORS_HEADERS
          // The router also takes spellings that the door passed by.
          if (!request.raw.url!.startsWith(prefix)) throw new HttpProblem(404, 'there is nothing at this URL')
          return work(exchange)
        })
      })
      app.route({
        method: 'OPTIONS',
        url: `${prefix}*`,
        handler: (request, reply) => {
          this.#run('other', request.raw, reply, exchange => {
            sendWhole(exchange, 204, ['Allow', `${READ_METHODS}, OPTIONS`, ...PREFLIGHT_HEADERS])
            return 204
          })
        }
      })
    }
    ofFilm(HLS_PREFIX, 'GET stream', exchange => this.#streaming.get(exchange))
    ofFilm(DASH_PREFIX, 'GET stream', exchange => this.#streaming.get(exchange))
    ofFilm(SUBTITLES_PREFIX, 'GET file', exchange => sendSubtitles(exchange, this.#files, this.#reader))
    ofFilm(POSTER_PREFIX, 'GET picture', exchange => pictures.poster(exchange))
    ofFilm(THUMBNAILS_PREFIX, 'GET picture', exchange => pictures.thumbnails(exchange))
    void app.register(async api => {
      await registerApi(api, {
        handlers: {
          ...library,
          'GET /api/v1/films/{application}/{user}/{file}': async call => {
            const details = await library['GET /api/v1/films/{application}/{user}/{file}'](call)
            const signature = this.#door.signatureOf(call.exchange.request)
            return signature === undefined ? details : signedDetails(details, signature)
          },
          ...this.#cluster.handlers(),
          ...accessHandlers({ files: this.#files, door: this.#door, clock: this.#clock }),
          ...shareHandlers({ files: this.#files, door: this.#door, clock: this.#clock }),
          ...jobsHandlers({ files: this.#files, authorize: this.#door.authorize.bind(this.#door) }),
          ...reportHandlers({
            files: this.#files,
            door: this.#door,
            webhookNetworks: this.#courier.allow
          })
        },
        authorize: (exchange, right, scope) => this.#door.authorize(exchange, right, scope),
        run: (route, request, reply, work) => this.#run(route, request, reply, work),
        version: this.#version,
        contentMs: this.#config.silenceS * 1_000
      })
    })
    addPageRoutes({
      app,
      run: this.#run.bind(this),
      fallback: this.#owner,
      isSecure: this.#secureServer !== undefined,
      lookUp: async (key, exchange, given) => {
        const { request, response } = exchange
        this.#door.guard.checkName(request.headers)
        const wayIn = await this.#door.admitVisitor(exchange, key, given)
        if (this.#door.isPrivate(key.application)) makePrivate(request, response)
        return { ...(await lookUpFilm(this.#files, key)), wayIn }
      }
    })
    app.setNotFoundHandler((request, reply) => {
      this.#run('other', request.raw, reply, () => Promise.reject(this.#noRoute(request.method, request.url)))
    })
    app.setErrorHandler((error, request, reply) => {
      this.#run('other', request.raw, reply, () => Promise.reject(error))
    })
  }

  #counts(): GatewayCounts {
    const { commands, bytesSent, bytesReceived, connectionsOpen } = this.#meter.requests.snapshot()
    let requests = 0
    for (const { outcomes } of Object.values(commands)) {
      for (const count of Object.values(outcomes)) requests += count
    }
    return {
      connections: connectionsOpen,
      requests,
      bytesSent,
      bytesReceived,
      uploads: this.#writer.uploadsInProgress
    }
  }

  #report(): ReadinessReport {
    const report = this.#readiness.report()
    return { ...report, ready: report.ready && !this.#stopping }
  }

  /** A request that came through the router; the framework has no further part in its answer. */
  #run(
    route: Route,
    request: IncomingMessage,
    reply: FastifyReply,
    work: (exchange: Exchange) => number | Promise<number>
  ): void {
    reply.hijack()
    this.#answer(route, request, reply.raw, work)
  }

  /** Every request ends up here: it is answered by `work`, or by the error of it. */
  #answer(
    route: Route,
    request: IncomingMessage,
    response: ServerResponse,
    work: (exchange: Exchange) => number | Promise<number>
  ): void {
    const exchange = this.#exchange(route, request, response)
    try {
      checkHostHeader(request)
      const status = work(exchange)
      if (typeof status === 'number') return this.#done(exchange, status)
      status.then(
        answered => this.#done(exchange, answered),
        error => this.#fail(exchange, error)
      )
    } catch (error) {
      this.#fail(exchange, error)
    }
  }

  #exchange(route: Route, request: IncomingMessage, response: ServerResponse): Exchange {
    return {
      request,
      response,
      route,
      startedMs: this.#clock.monotonicMs(),
      sentBytes: 0,
      awaitsContinue: request.headers.expect !== undefined && AWAITS_CONTINUE.has(request),
      errorHeaders: NO_HEADERS
    }
  }

  #done(exchange: Exchange, status: number): void {
    const { route, startedMs, sentBytes } = exchange
    this.#audit(exchange, status, '')
    if (sentBytes > 0) this.#meter.requests.bytesSent(sentBytes)
    this.#meter.record(route, status, OUTCOME_OK, this.#clock.monotonicMs() - startedMs)
  }

  #fail(exchange: Exchange, error: unknown): void {
    const { request, response, route, startedMs } = exchange
    const gone = response.destroyed
    const { status } = problemReply(error)
    if (!gone && isOurFault(error)) {
      this.#log.error({ err: error, method: request.method, route }, 'a request failed')
    }
    const code = sendProblem(exchange, error)
    this.#audit(exchange, status, code)
    this.#meter.record(
      route,
      gone ? 499 : status,
      gone ? 'CANCELLED' : code,
      this.#clock.monotonicMs() - startedMs
    )
  }

  readonly #get = (exchange: Exchange): Promise<number> => {
    exchange.errorHeaders = CORS_HEADERS
    const target = parseTarget(exchange.request.url!, this.#owner)
    if (isFile(target)) {
      if (this.#door.isOpen(target.application)) return this.#reader.get(exchange, target, target.query)
      return this.#afterDoor(exchange, target, () => this.#reader.get(exchange, target, target.query))
    }
    exchange.route = 'GET folder'
    exchange.errorHeaders = NO_HEADERS
    return this.#list(exchange, target)
  }

  /** Not for scripts of other sites: a list tells what there is. */
  async #list(exchange: Exchange, target: Target): Promise<number> {
    await this.#door.authorize(exchange, 'read', target)
    return listFiles(exchange, this.#files, target, target.query)
  }

  async #afterDoor(exchange: Exchange, film: FileKey, work: () => number | Promise<number>): Promise<number> {
    await this.#door.admitRead(exchange, film)
    if (this.#door.isPrivate(film.application)) markPrivate(exchange.request)
    return work()
  }

  async #written(exchange: Exchange, target: Target, work: () => Promise<number>): Promise<number> {
    await this.#door.admitWrite(exchange, target)
    return work()
  }

  /**
   * What belongs to a film and has its address: whoever may not read the film gets nothing of it, whichever route has it.
   *
   * @returns whether the request is taken care of
   */
  #guardFilm(
    signed: 'path' | 'query' | undefined,
    request: IncomingMessage,
    response: ServerResponse,
    serve: (request: IncomingMessage, response: ServerResponse) => void
  ): boolean {
    if (request.method === 'OPTIONS') return false
    const exchange = this.#exchange('other', request, response)
    exchange.errorHeaders = CORS_HEADERS
    try {
      const film = filmOfTree(request.url!)
      if (film === undefined || this.#door.isOpen(film.application)) return false
      this.#door.admitRead(exchange, film).then(
        () => {
          if (this.#door.isPrivate(film.application)) makePrivate(request, response)
          const signature = this.#door.signatureOf(request)
          // Relative addresses of a playlist lose a parameter, and keep what is in front of the path.
          if (signed === 'query' && isPlaylistTree(request.url!)) {
            const location = signedPath(signature!, request.url!)
            sendWhole(exchange, 307, ['Location', location, 'Cache-Control', 'no-store', ...CORS_HEADERS])
            this.#done(exchange, 307)
          } else serve(request, response)
        },
        error => this.#fail(exchange, error)
      )
    } catch (error) {
      this.#fail(exchange, error)
    }
    return true
  }

  /** Whatever changes something, and whatever is refused. */
  #audit({ request }: Exchange, status: number, code: string): void {
    const audited = auditedOf(request, status, this.#owner)
    if (!audited) return
    const { outcome } = audited
    const principal = this.#door.knownPrincipal(request)
    // What nobody in particular got wrong is no news: anybody could fill the log with it.
    if (outcome === 'failed' && principal.kind === 'anonymous') return
    this.#door.audit.note({
      ...audited,
      code,
      who: nameOf(principal),
      token: principal.kind === 'token' ? principal.id : '',
      address: this.#door.addressOf(request)
    })
  }

  readonly #other = (exchange: Exchange): number | Promise<number> => {
    const { request } = exchange
    const target = parseTarget(request.url!, this.#owner)
    const file = isFile(target)
    switch (request.method) {
      case 'HEAD':
        if (file) {
          exchange.errorHeaders = CORS_HEADERS
          return this.#afterDoor(exchange, target, () => this.#reader.head(exchange, target, target.query))
        }
        exchange.route = 'HEAD folder'
        return this.#list(exchange, target)
      case 'OPTIONS':
        return this.#options(exchange, file)
      case 'PUT':
        if (!file) break
        return this.#written(exchange, target, () =>
          this.#received(exchange, this.#writer.put(exchange, target, target.query))
        )
      case 'POST':
        if (file) break
        exchange.route = 'POST folder'
        return this.#written(exchange, target, () =>
          this.#received(exchange, this.#writer.post(exchange, target, target.query))
        )
      case 'DELETE':
        if (!file) break
        return this.#written(exchange, target, () => this.#writer.delete(exchange, target))
      default:
    }
    throw methodNotAllowed(file ? FILE_METHODS : FOLDER_METHODS)
  }

  /** Counts what an upload brought, whatever becomes of it. */
  #received({ request }: Exchange, upload: Promise<number>): Promise<number> {
    const { socket } = request
    const beforeBytes = socket.bytesRead
    return upload.finally(() => this.#meter.requests.bytesReceived(socket.bytesRead - beforeBytes))
  }

  /** Also the preflight of a script of another site: it may read files, and no more. */
  #options(exchange: Exchange, file: boolean): number {
    const headers = ['Allow', file ? FILE_METHODS : FOLDER_METHODS]
    if (file) {
      headers.push(...PREFLIGHT_HEADERS)
    }
    sendWhole(exchange, 204, headers)
    return 204
  }

  #noRoute(method: string, url: string): HttpProblem {
    const path = url.split('?', 1)[0]!
    if (path.startsWith(FILES_PREFIX)) {
      try {
        return methodNotAllowed(isFile(parseTarget(url, this.#owner)) ? FILE_METHODS : FOLDER_METHODS)
      } catch {
        return new HttpProblem(404, 'there is nothing at this URL')
      }
    }
    const known = method !== 'GET' && this.#app.hasRoute({ method: 'GET', url: path })
    return known ? methodNotAllowed(READ_METHODS) : new HttpProblem(404, 'there is nothing at this URL')
  }

  /** What came is no HTTP, too long, or too late: there is a socket only, and it gets an answer before it goes. */
  #refuseBytes(error: NodeJS.ErrnoException, socket: Socket | Duplex): void {
    const accepted = this.#watch.acceptedSocket(socket as Socket)
    if (accepted !== undefined) return this.#refuseHandshake(error, accepted)
    if (error.code === 'ECONNRESET' || !socket.writable || this.#watch.isAnswering(socket as Socket)) {
      socket.destroy()
      return
    }
    const [status, detail] = BAD_BYTES[error.code ?? ''] ?? [400, 'this is not an HTTP request']
    socket.end(this.#answerText(status, detail))
    const timer = setTimeout(() => socket.destroy(), CHECK_INTERVAL_MS)
    socket.once('close', () => clearTimeout(timer))
    socket.resume()
    this.#meter.record('other', status, 'BAD_REQUEST', 0)
  }

  /** Before there is TLS a browser that was sent here with http:// can still be told; everybody else is let go. */
  #refuseHandshake({ code, message }: NodeJS.ErrnoException, accepted: Socket): void {
    if (code !== 'ERR_SSL_HTTP_REQUEST') {
      this.#log.debug({ address: accepted.remoteAddress, code, reason: message }, 'a TLS handshake failed')
      accepted.destroy()
      return
    }
    accepted.end(this.#answerText(400, 'this port speaks HTTPS: the address must begin with https://'))
    this.#meter.record('other', 400, 'BAD_REQUEST', 0)
  }

  /** A whole answer as bytes, where Node has no response to write it to. */
  #answerText(status: number, detail: string): string {
    const { headers, body } = problemReply(new HttpProblem(status, detail))
    let text = `HTTP/1.1 ${status} ${PHRASES[status]}\r\nDate: ${new Date(this.#clock.nowMs()).toUTCString()}\r\nConnection: close\r\n`
    for (let index = 0; index < headers.length; index += 2)
      text += `${String(headers[index])}: ${String(headers[index + 1])}\r\n`
    return `${text}\r\n${body.toString()}`
  }
}

const NO_HEADERS: readonly string[] = []
const AWAITS_CONTINUE = new WeakSet<IncomingMessage>()
const KNOWN_ROUTES: ReadonlySet<string> = new Set<Route>([
  'HEAD file',
  'PUT file',
  'DELETE file',
  'OPTIONS file'
])
const BAD_BYTES: Record<string, readonly [number, string]> = {
  HPE_HEADER_OVERFLOW: [431, 'the request line and headers are too long'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request did not come in time']
}
const PHRASES: Record<number, string> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large'
}

function isFile(target: Target): target is Target & { file: string } {
  return target.file !== undefined
}

/** More than one Host, or one that is no host, is an attack or a mistake: RFC 9112 §3.2. */
function checkHostHeader({ rawHeaders }: IncomingMessage): void {
  let hosts = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  if (hosts > 1) throw new HttpProblem(400, 'a request has one Host header')
}

function allowedNetworks({ allow, insecure }: GatewayConfig): AllowList {
  return AllowList.parse(['loopback', ...allow, ...(insecure && allow.length === 0 ? ['any'] : [])])
}
