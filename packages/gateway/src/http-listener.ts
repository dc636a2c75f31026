/** The listening socket, with TLS or without: who is let in, what is no HTTP, and how it ends. */
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
import { LogThrottle, type AllowList, type Clock, type Log } from '@tributary/runtime'
import { markAwaitingContinue } from './answering.ts'
import { reportCertificate, secureOptions } from './certificate.ts'
import { ConnectionWatch } from './connection-watch.ts'
import type { GatewayConfig } from './gateway-config.ts'
import type { HttpMeter } from './http-meter.ts'
import { HttpProblem, problemReply } from './problem.ts'

const CHECK_INTERVAL_MS = 1_000
const STOP_SWEEP_MS = 25
const BAD_BYTES: Record<string, readonly [number, string]> = {
  HPE_HEADER_OVERFLOW: [431, 'the request line and headers are too long'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request did not come in time']
}
const PHRASES: Record<number, string> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large'
}

export interface HttpListenerOptions {
  config: GatewayConfig
  allow: AllowList
  meter: HttpMeter
  clock: Clock
  log: Log
  onRequest: (request: IncomingMessage, response: ServerResponse) => void
  /** One that expects something else than `100-continue`. */
  onExpectation: (request: IncomingMessage, response: ServerResponse) => void
}

export class HttpListener {
  readonly server: Server
  readonly #options: HttpListenerOptions
  /** The same, where it speaks HTTPS. */
  readonly #secureServer: SecureServer | undefined
  readonly #watch: ConnectionWatch
  #stopping = false

  constructor(options: HttpListenerOptions) {
    this.#options = options
    const { config, allow, meter, clock, log } = options
    const refusals = new LogThrottle(log, { clock })
    this.#watch = new ConnectionWatch({
      allow,
      connectionsMax: config.connectionsMax,
      stallMs: config.stallS * 1_000,
      meter: meter.requests,
      clock,
      onRefused: (address, why) => refusals.warn(why, { address }, `connection refused: the peer ${why}`)
    })
    const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
      if (this.#stopping) response.shouldKeepAlive = false
      this.#watch.note(request.socket, response)
      options.onRequest(request, response)
    }
    const serverOptions: ServerOptions = {
      maxHeaderSize: config.headerMaxBytes,
      headersTimeout: config.headerWaitS * 1_000,
      requestTimeout: 0, // a film takes as long as it takes; silence is what ends an upload
      keepAliveTimeout: config.keepAliveS * 1_000,
      connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS, config.headerWaitS * 250),
      noDelay: true
    }
    if (config.certificate) {
      const handshakeTimeout = config.headerWaitS * 1_000
      this.#secureServer = createSecureServer(
        { ...serverOptions, ...secureOptions(config), handshakeTimeout },
        onRequest
      )
    }
    this.server = this.#secureServer ?? createServer(serverOptions, onRequest)
    this.#watch.attach(this.server)
    this.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      markAwaitingContinue(request)
      this.server.emit('request', request, response)
    })
    this.server.on('checkExpectation', options.onExpectation)
  }

  get isSecure(): boolean {
    return this.#secureServer !== undefined
  }

  /** @throws what `listen` does (EADDRINUSE, …), with nothing left open. */
  async start(): Promise<{ host: string; port: number }> {
    const { config, log } = this.#options
    this.server.listen({ host: config.host, port: config.port })
    await once(this.server, 'listening')
    this.server.on('error', err => log.error({ err }, 'the listener failed'))
    const { address, port } = this.server.address() as AddressInfo
    log.info({ host: address, port, scheme: this.isSecure ? 'https' : 'http' }, 'gateway serves')
    this.#tellCertificate('the certificate', config)
    return { host: address, port }
  }

  /** Shows the certificate of this configuration from the next connection on. */
  useCertificate(config: GatewayConfig): void {
    this.#secureServer?.setSecureContext(secureOptions(config))
    this.#tellCertificate('another certificate, for new connections', config)
  }

  #tellCertificate(what: string, { certificate }: GatewayConfig): void {
    const { clock, log } = this.#options
    if (certificate === undefined) return
    const { serial, names, expires, warning } = reportCertificate(certificate, clock.nowMs())
    const fields = { file: certificate.path, serial, names, expires }
    if (warning === undefined) log.info(fields, what)
    else log.warn(fields, `${what}: ${warning}`)
  }

  /** Lets nobody in any more; resolves when every answer has left, or was cut because `deadline` aborted. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.#stopping = true
    if (!this.server.listening) return
    const closed = once(this.server, 'close')
    // The listener alone: http's own close would cut answers that have not left yet.
    NetServer.prototype.close.call(this.server)
    // A connection becomes idle when its answer ends, and would linger for its keep-alive time.
    const sweep = setInterval(() => this.#watch.closeIdle(0), STOP_SWEEP_MS)
    const cut = (): void => this.#watch.closeAll()
    if (deadline.aborted) cut()
    deadline.addEventListener('abort', cut, { once: true })
    await closed
    deadline.removeEventListener('abort', cut)
    clearInterval(sweep)
    this.server.close(() => {}) // ends its timers; that it no longer listens is known
  }

  release(): void {
    this.#watch.detach()
  }

  /** What came is no HTTP, too long, or too late: there is a socket only, and it gets an answer before it goes. */
  refuseBytes(error: NodeJS.ErrnoException, socket: Socket | Duplex): void {
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
    this.#options.meter.record('other', status, 'BAD_REQUEST', 0)
  }

  /** Before there is TLS a browser that was sent here with http:// can still be told; everybody else is let go. */
  #refuseHandshake({ code, message }: NodeJS.ErrnoException, accepted: Socket): void {
    const { log, meter } = this.#options
    if (code !== 'ERR_SSL_HTTP_REQUEST') {
      log.debug({ address: accepted.remoteAddress, code, reason: message }, 'a TLS handshake failed')
      accepted.destroy()
      return
    }
    accepted.end(this.#answerText(400, 'this port speaks HTTPS: the address must begin with https://'))
    meter.record('other', 400, 'BAD_REQUEST', 0)
  }

  /** A whole answer as bytes, where Node has no response to write it to. */
  #answerText(status: number, detail: string): string {
    const { headers, body } = problemReply(new HttpProblem(status, detail))
    const date = new Date(this.#options.clock.nowMs()).toUTCString()
    let text = `HTTP/1.1 ${status} ${PHRASES[status]}\r\nDate: ${date}\r\nConnection: close\r\n`
    for (let index = 0; index < headers.length; index += 2)
      text += `${String(headers[index])}: ${String(headers[index + 1])}\r\n`
    return `${text}\r\n${body.toString()}`
  }
}
