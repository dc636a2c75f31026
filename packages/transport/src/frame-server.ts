/**
 * A TCP server that speaks the frame protocol: accepts, bounds, and stops in order. What a frame means is the
 * handlers' business; how one is read is server-connection.ts's.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import {
  createServer as createTlsServer,
  type SecureContextOptions,
  type Server as TlsServer,
  type TLSSocket,
  type TlsOptions
} from 'node:tls'
import { once } from 'node:events'
import { plainIp, UnavailableError, type Role } from '@tributary/protocol'
import { CONNECTIONS_MAX, SILENCE_MS, STALL_MS, type FrameServerOptions } from './frame-server-options.ts'
import type { Handler } from './handler.ts'
import { commandEntries, ServerConnection, type CommandEntries } from './server-connection.ts'
import { TLS_HANDSHAKE_MS, TLS_VERSION_MIN, type ServerTls } from './wire-tls.ts'

/** Sweeps look for silent and stalled peers this often, or four times within the shortest bound. */
const SWEEP_INTERVAL_MS_MAX = 1_000
/** The same while the server stops and somebody waits for it. */
const DRAIN_SWEEP_INTERVAL_MS = 100
/** A peer whose machine is gone is noticed by TCP's own probes, from so long after its last byte on. */
const KEEP_ALIVE_DELAY_MS = 60_000

/** Newcomers that the kernel keeps until we accept them. */
const BACKLOG = 1_024

export interface ConnectionCounts {
  open: number
  accepted: number
  refused: number
}

export class FrameServer<R extends Role> {
  readonly #server: Server
  readonly #open = new Set<ServerConnection<R>>()
  /** Sockets below TLS, from their acceptance on. */
  readonly #shaking = new Set<Socket>()
  readonly #options: FrameServerOptions<R>
  readonly #connectionsMax: number
  readonly #entries: CommandEntries
  #sweep: NodeJS.Timeout | undefined
  #started: Promise<AddressInfo> | undefined
  #stopped: Promise<void> | undefined
  #allClosed: (() => void) | undefined
  #accepted = 0
  #refused = 0

  constructor(options: FrameServerOptions<R>) {
    this.#options = options
    this.#entries = commandEntries(options.role, options.handlers as Record<string, Handler>)
    this.#connectionsMax = options.connectionsMax ?? CONNECTIONS_MAX
    const socketOptions = {
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS
    }
    const { tls } = options
    if (!tls) {
      this.#server = createServer(socketOptions, socket => this.#accept(socket))
      return
    }
    const secure = createTlsServer(
      { ...socketOptions, ...secureOptions(tls), handshakeTimeout: TLS_HANDSHAKE_MS },
      socket => this.#accept(socket)
    )
    // Whoever is not let in costs no handshake; how many are in theirs is bounded like the rest.
    secure.prependListener('connection', socket => this.#admitToHandshake(socket))
    secure.on('tlsClientError', (_error, socket: TLSSocket) => {
      this.#refused++
      socket.destroy()
    })
    this.#server = secure
  }

  get counts(): ConnectionCounts {
    return { open: this.#open.size, accepted: this.#accepted, refused: this.#refused }
  }

  /** Peers that are served since `sinceMs` or longer, or are in the middle of something. */
  busySince(sinceMs: number): number {
    const { isBusy } = this.#options
    let busy = 0
    for (const connection of this.#open) {
      if ((connection.inHandSinceMs ?? Infinity) <= sinceMs || isBusy?.(connection)) busy++
    }
    return busy
  }

  /**
   * Resolves when it can serve; rejects (EADDRINUSE, …) with nothing left open.
   *
   * @param where A host, always: a bare port would listen on every interface. `reusePort` lets processes share it.
   */
  start(where: { host: string; port: number; reusePort?: boolean }): Promise<AddressInfo> {
    return (this.#started ??= this.#listen(where))
  }

  /** Refuses new work, waits for requests in hand, cuts what is left when `deadline` aborts. */
  stop(deadline: AbortSignal): Promise<void> {
    return (this.#stopped ??= this.#drain(deadline)) // every caller sees the one outcome
  }

  async #listen(where: { host: string; port: number; reusePort?: boolean }): Promise<AddressInfo> {
    if (this.#stopped) throw new UnavailableError('SHUTTING_DOWN', 'the server was stopped')
    this.#server.listen({ ...where, backlog: BACKLOG })
    await once(this.#server, 'listening')
    this.#server.on('error', error => this.#options.onFault?.(error)) // EMFILE on accept must not end the process
    const { silenceMs = SILENCE_MS, stallMs = STALL_MS } = this.#options
    this.#sweepEvery(Math.min(SWEEP_INTERVAL_MS_MAX, silenceMs / 4, stallMs / 4))
    return this.#server.address() as AddressInfo
  }

  #sweepEvery(intervalMs: number): void {
    clearInterval(this.#sweep)
    this.#sweep = setInterval(() => {
      const nowMs = performance.now()
      for (const connection of this.#open) connection.sweep(nowMs)
    }, intervalMs)
    this.#sweep.unref()
  }

  /** A certificate that was renewed, for new connections; only of a server that speaks TLS. */
  useTls(tls: ServerTls): void {
    if ('setSecureContext' in this.#server) (this.#server as TlsServer).setSecureContext(secureOptions(tls))
  }

  #admitToHandshake(socket: Socket): void {
    const { allows } = this.#options
    const ip = plainIp(socket.remoteAddress ?? '')
    const isRefused = ip === '' || (allows && !allows(ip))
    if (isRefused || this.#shaking.size >= this.#connectionsMax) {
      this.#refused++
      socket.on('error', () => {})
      socket.destroy()
      return
    }
    this.#shaking.add(socket)
    socket.once('close', () => this.#shaking.delete(socket))
  }

  #accept(socket: Socket): void {
    const { allows } = this.#options
    const ip = plainIp(socket.remoteAddress ?? '')
    if (
      ip === '' ||
      (allows && !allows(ip)) ||
      (this.#open.size >= this.#connectionsMax && !this.#makeRoom())
    ) {
      this.#refused++
      socket.on('error', () => {})
      socket.destroy()
      return
    }
    this.#accepted++
    const connection = new ServerConnection(socket, ip, this.#options, this.#entries, closed => {
      this.#open.delete(closed)
      if (this.#open.size === 0) this.#allClosed?.()
    })
    this.#open.add(connection)
  }

  #makeRoom(): boolean {
    let longest: ServerConnection<R> | undefined
    for (const connection of this.#open) {
      if (connection.idle && (!longest || connection.lastActiveMs < longest.lastActiveMs))
        longest = connection
    }
    longest?.cut()
    return longest !== undefined
  }

  async #drain(deadline: AbortSignal): Promise<void> {
    // A server that is just starting is stopped once it listens; one that could not start has nothing to stop.
    const listens = await this.#started?.then(
      () => true,
      () => false
    )
    if (!listens) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#sweepEvery(DRAIN_SWEEP_INTERVAL_MS)
    for (const connection of this.#open) connection.drain()
    if (this.#open.size > 0 && !deadline.aborted) {
      await new Promise<void>(resolve => {
        const settle = (): void => {
          deadline.removeEventListener('abort', settle)
          resolve()
        }
        this.#allClosed = settle
        deadline.addEventListener('abort', settle)
      })
    }
    for (const connection of this.#open) connection.cut()
    for (const socket of this.#shaking) socket.destroy()
    await closed
    // The server says that it is closed before its sockets do.
    if (this.#open.size > 0) {
      await new Promise<void>(resolve => {
        this.#allClosed = resolve
      })
    }
    clearInterval(this.#sweep)
  }
}

function secureOptions({
  certificate,
  privateKey,
  clientAuthorities
}: ServerTls): TlsOptions & SecureContextOptions {
  return {
    cert: certificate,
    key: privateKey,
    minVersion: TLS_VERSION_MIN,
    ...(clientAuthorities !== undefined && {
      ca: clientAuthorities,
      requestCert: true,
      rejectUnauthorized: true
    })
  }
}
