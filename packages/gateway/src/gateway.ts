/** The HTTP server: one more client of trackers and storage servers. It holds no data; as many as wanted. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { fastify, type FastifyInstance } from 'fastify'
import { Client } from '@tributary/client'
import {
  AdminServer,
  AllowList,
  Metrics,
  Readiness,
  wireSecurityOf,
  type Clock,
  type Log,
  type ReadinessReport
} from '@tributary/runtime'
import { DegradedWatch } from './access/degraded-watch.ts'
import { Door } from './access/door.ts'
import { makePrivate, privateCacheControl } from './access/private-answers.ts'
import { WebhookCourier } from './access/webhook-courier.ts'
import { accessHandlers } from './api/access-handlers.ts'
import { registerApi, type ApiOptions } from './api/api.ts'
import { ClusterView, type GatewayCounts } from './api/cluster-handlers.ts'
import { jobsHandlers } from './api/jobs-handlers.ts'
import { libraryHandlers } from './api/library-handlers.ts'
import { reportHandlers } from './api/report-handlers.ts'
import { shareHandlers, signedDetails } from './api/share-handlers.ts'
import { Answering, type Work } from './answering.ts'
import { reportCertificate } from './certificate.ts'
import { ClusterProbe } from './cluster-probe.ts'
import { methodNotAllowed, sendWhole } from './exchange.ts'
import { CORS_HEADERS, FileHeaderCache } from './file-headers.ts'
import { FileReader } from './file-reader.ts'
import { FileRoutes } from './file-routes.ts'
import type { FileService } from './file-service.ts'
import { ABSOLUTE_FORM, FILES_PREFIX, type Owner } from './file-target.ts'
import { FileWriter } from './file-writer.ts'
import { FilmGuard } from './film-guard.ts'
import { FilmPictures, POSTER_PREFIX, THUMBNAILS_PREFIX } from './film-pictures.ts'
import { sendSubtitles, SUBTITLES_PREFIX } from './film-subtitles.ts'
import type { GatewayConfig } from './gateway-config.ts'
import { HttpListener } from './http-listener.ts'
import { HttpMeter, routeOf, type Route } from './http-meter.ts'
import { addPageRoutes } from './page-routes.ts'
import { PREFLIGHT_HEADERS, READ_METHODS } from './preflight.ts'
import { HttpProblem } from './problem.ts'
import { addServiceRoutes } from './service-routes.ts'
import { Streaming } from './streaming/streaming.ts'
import { DASH_PREFIX, HLS_PREFIX } from './streaming/streaming-target.ts'
import { maySeeTrash } from './stored-film.ts'
import { UPLOADS_PREFIX } from './uploads/tus-headers.ts'
import { UploadEndpoint } from './uploads/upload-endpoint.ts'
import { lookUpFilm } from './watched-film.ts'

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
/** Ids are at most 255 bytes, three characters each; the router is given room for what we refuse in our own words. */
const PARAMETER_CHARACTERS_MAX = 1024 * 1024

export function createGateway(dependencies: GatewayDependencies): Gateway {
  return new HttpGateway(dependencies)
}

class HttpGateway implements Gateway {
  #config: GatewayConfig
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
  readonly #answering: Answering
  readonly #fileRoutes: FileRoutes
  readonly #guard: FilmGuard
  readonly #listener: HttpListener
  readonly #admin: AdminServer
  readonly #app: FastifyInstance
  #stopping = false
  #stopped: Promise<void> | undefined

  constructor({ config, log, clock, version, client, metrics }: GatewayDependencies) {
    this.#config = config
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
    this.#answering = new Answering({ door: this.#door, meter: this.#meter, clock, log, owner: this.#owner })
    this.#guard = new FilmGuard(this.#door, this.#answering)
    this.#fileRoutes = new FileRoutes({
      files: this.#files,
      door: this.#door,
      reader: this.#reader,
      writer: this.#writer,
      meter: this.#meter,
      owner: this.#owner
    })
    let serve: (request: IncomingMessage, response: ServerResponse) => void = () => {}
    this.#listener = new HttpListener({
      config,
      allow: allowedNetworks(config),
      meter: this.#meter,
      clock,
      log,
      onRequest: (request, response) => this.#receive(request, response, serve),
      onExpectation: (request, response) =>
        this.#refuse(request, response, 417, 'the only expectation that can be met is 100-continue')
    })
    this.#app = fastify({
      serverFactory: handler => {
        serve = handler
        return this.#listener.server
      },
      logger: false,
      return503OnClosing: false,
      routerOptions: { maxParamLength: PARAMETER_CHARACTERS_MAX },
      exposeHeadRoutes: false,
      clientErrorHandler: (error, socket) => this.#listener.refuseBytes(error, socket),
      frameworkErrors: (_error, request, reply) => {
        this.#answering.run('other', request.raw, reply, () => {
          throw new HttpProblem(400, 'the URL is not percent-encoded UTF-8')
        })
      }
    })
    this.#addRoutes()
  }

  async start(): Promise<{ host: string; port: number }> {
    await this.#app.ready()
    this.#door.start()
    this.#courier.start()
    this.#degraded.start()
    let address: { host: string; port: number }
    try {
      address = await this.#listener.start()
    } catch (error) {
      await this.#closeDoor(AbortSignal.abort())
      this.#release()
      throw error
    }
    const { adminHost, adminPort } = this.#config
    if (adminPort !== 0) await this.#admin.start({ host: adminHost, port: adminPort })
    return address
  }

  reload(config: GatewayConfig): void {
    const { certificate, privateKey } = this.#config
    this.#config = config
    this.#door.guard.useToken(config.writeToken)
    this.#ownClient?.useTls(wireSecurityOf(config).tls)
    if (config.certificate?.text === certificate?.text && config.privateKey?.text === privateKey?.text) return
    this.#listener.useCertificate(config)
  }

  stop(deadline: AbortSignal): Promise<void> {
    return (this.#stopped ??= this.#drain(deadline))
  }

  async #drain(deadline: AbortSignal): Promise<void> {
    this.#stopping = true
    await this.#listener.stop(deadline)
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
    this.#listener.release()
    void this.#streaming.close()
    this.#ownClient?.close()
  }

  /** Every request, before any route has it. */
  #receive(
    request: IncomingMessage,
    response: ServerResponse,
    serve: (request: IncomingMessage, response: ServerResponse) => void
  ): void {
    // One spelling from here on: what the door sees is what the router does.
    request.url = request.url!.replace(ABSOLUTE_FORM, '') || '/'
    if (request.url.includes('#')) {
      return this.#refuse(request, response, 400, 'the URL holds a #, which must be percent-encoded')
    }
    const signed = this.#door.takeSignature(request)
    if (this.#guard.guard(signed, request, response, serve)) return
    // What players ask for, hundreds of times a film, takes the short way; the router knows it as well.
    if (request.method === 'GET' && request.url.startsWith(FILES_PREFIX)) {
      this.#answering.answer('GET file', request, response, this.#fileRoutes.get)
    } else serve(request, response)
  }

  #refuse(request: IncomingMessage, response: ServerResponse, status: number, detail: string): void {
    const exchange = this.#answering.exchange('other', request, response)
    this.#answering.fail(exchange, new HttpProblem(status, detail))
  }

  #addRoutes(): void {
    const app = this.#app
    const answering = this.#answering
    // Content is never parsed here: whoever wants it reads it.
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', (_request, _payload, done) => done(null))
    this.#fileRoutes.add(app, answering)
    for (const url of [UPLOADS_PREFIX, `${UPLOADS_PREFIX}/*`]) {
      app.route({
        method: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'PATCH'],
        url,
        onRequest: (request, reply) =>
          answering.run(routeOf(request.method, 'upload'), request.raw, reply, exchange =>
            this.#meter.receiving(exchange.request, this.#uploads.answer(exchange))
          ),
        handler: () => {}
      })
    }
    addServiceRoutes({
      app,
      answering,
      metrics: this.#metrics,
      report: async () => {
        await this.#probe.refresh()
        return this.#report()
      },
      about: () => ({
        version: this.#version,
        application: this.#config.defaultApp,
        user: this.#config.defaultUser,
        writeToken: this.#door.guard.needsToken,
        uploadBytesMax: this.#config.uploadMaxBytes
      })
    })
    const library = libraryHandlers({
      files: this.#files,
      clock: this.#clock,
      trashMs: this.#config.trashDays * DAY_MS,
      events: this.#door.events,
      quotas: this.#door.quotas,
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
    const ofFilm = (prefix: string, route: Route, work: Work): void => {
      app.route({
        method: ['GET', 'HEAD'],
        url: `${prefix}*`,
        handler: (request, reply) =>
          answering.run(route, request.raw, reply, exchange => {
            exchange.errorHeaders = CORS_HEADERS
            // The router also takes spellings that the door passed by.
            if (!request.raw.url!.startsWith(prefix))
              throw new HttpProblem(404, 'there is nothing at this URL')
            return work(exchange)
          })
      })
      app.route({
        method: 'OPTIONS',
        url: `${prefix}*`,
        handler: (request, reply) =>
          answering.run('other', request.raw, reply, exchange => {
            sendWhole(exchange, 204, ['Allow', `${READ_METHODS}, OPTIONS`, ...PREFLIGHT_HEADERS])
            return 204
          })
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
        run: answering.run.bind(answering),
        version: this.#version,
        contentMs: this.#config.silenceS * 1_000
      })
    })
    addPageRoutes({
      app,
      run: answering.run.bind(answering),
      fallback: this.#owner,
      isSecure: this.#listener.isSecure,
      lookUp: async (key, exchange, given) => {
        const { request, response } = exchange
        this.#door.guard.checkName(request.headers)
        const wayIn = await this.#door.admitVisitor(exchange, key, given)
        if (this.#door.isPrivate(key.application)) makePrivate(request, response)
        return { ...(await lookUpFilm(this.#files, key)), wayIn }
      }
    })
    app.setNotFoundHandler((request, reply) => {
      answering.run('other', request.raw, reply, () => {
        throw this.#noRoute(request.method, request.url)
      })
    })
    app.setErrorHandler((error, request, reply) => {
      answering.run('other', request.raw, reply, () => Promise.reject(error))
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

  #noRoute(method: string, url: string): HttpProblem {
    const path = url.split('?', 1)[0]!
    if (path.startsWith(FILES_PREFIX)) return this.#fileRoutes.refusal(url)
    const known = method !== 'GET' && this.#app.hasRoute({ method: 'GET', url: path })
    return known ? methodNotAllowed(READ_METHODS) : new HttpProblem(404, 'there is nothing at this URL')
  }
}

function allowedNetworks({ allow, insecure }: GatewayConfig): AllowList {
  return AllowList.parse(['loopback', ...allow, ...(insecure && allow.length === 0 ? ['any'] : [])])
}
