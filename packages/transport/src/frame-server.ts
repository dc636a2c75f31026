/**
 * A TCP server that speaks the frame protocol: accepts, bounds, and stops in order. What a frame means is the
 * handlers' business; how one is read is server-connection.ts's.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import type { CommandName, CommandsOf, ErrorCode, Role } from '@tributary/protocol'
import { plainIp } from '@tributary/protocol'
import type { Greeting } from './greeting.ts'
import type { IncomingContent } from './incoming-content.ts'
import type { Reply } from './reply.ts'
import { commandEntries, ServerConnection, type CommandEntries } from './server-connection.ts'

/** Sweeps look for silent and stalled peers this often. */
const SWEEP_INTERVAL_MS = 1_000

/** Who is on the other side of a connection, for as long as it lasts. */
export interface Peer {
  readonly ip: string
  readonly port: number
  /** A program of ours that sent HELLO. Legacy peers never do. */
  ours: boolean
  /** Handlers' own notes about this connection. */
  readonly notes: Map<unknown, unknown>
  /** Runs when the connection closes. */
  onClose(callback: () => void): void
}

export interface Call {
  readonly peer: Peer
  /** What follows the collected part of the body, for commands that carry content. */
  readonly content: IncomingContent
  /** Aborts when the connection closes or the server cuts it. */
  readonly signal: AbortSignal
}

/**
 * Answers one request. `body` is a view that is valid until the handler returns (until its first await): copy what
 * must live longer. Throw a TributaryError to refuse; anything else thrown is a fault and answered as INTERNAL.
 */
export type Handler = (body: Buffer, call: Call) => Reply | Promise<Reply>
type HelloName = 'TRACKER_HELLO' | 'ID_HELLO' | 'STORAGE_HELLO'
export type Handlers<R extends Role> = Record<Exclude<CommandsOf<R>, HelloName>, Handler>

/** Called once for every request answered. `elapsedMs` ends when the reply is handed to the socket. */
export type CallObserver = (
  command: CommandName | 'UNKNOWN',
  outcome: 'ok' | ErrorCode,
  elapsedMs: number,
  bytesIn: number,
  bytesOut: number
) => void

export interface FrameServerOptions<R extends Role> {
  role: R
  /** Put in front of error texts, in square brackets. */
  hostName: string
  handlers: Handlers<R>
  greeting: Greeting
  /** Peers whose address it refuses are closed at once. */
  allows?: (ip: string) => boolean
  /** Reached: the longest idle connection makes room; where none is idle, the newcomer is refused. */
  connectionsMax?: number
  /** Silence inside a frame after which a peer is given up. */
  silenceMs?: number
  /** A receiver that takes nothing for so long is given up. */
  stallMs?: number
  observe?: CallObserver
  /** A fault of ours behind an INTERNAL reply. */
  onFault?: (error: unknown) => void
}

export const CONNECTIONS_MAX = 10_000
export const SILENCE_MS = 30_000
export const STALL_MS = 120_000

export interface ConnectionCounts {
  open: number
  accepted: number
  refused: number
}

export class FrameServer<R extends Role> {
  readonly #server: Server
  readonly #open = new Set<ServerConnection<R>>()
  readonly #options: FrameServerOptions<R>
  readonly #connectionsMax: number
  readonly #entries: CommandEntries
  #sweep: NodeJS.Timeout | undefined
  #stopped: Promise<void> | undefined
  #allClosed: (() => void) | undefined
  #accepted = 0
  #refused = 0

  constructor(options: FrameServerOptions<R>) {
    this.#options = options
    this.#entries = commandEntries(options.role, options.handlers as Record<string, Handler>)
    this.#connectionsMax = options.connectionsMax ?? CONNECTIONS_MAX
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, socket => this.#accept(socket))
  }

  get counts(): ConnectionCounts {
    return { open: this.#open.size, accepted: this.#accepted, refused: this.#refused }
  }

  /**
   * Resolves when it can serve; rejects (EADDRINUSE, …) with nothing left open.
   *
   * @param where A host, always: a bare port would listen on every interface. `reusePort` lets processes share it.
   */
  async start(where: { host: string; port: number; reusePort?: boolean }): Promise<AddressInfo> {
    this.#server.listen({ ...where, backlog: 1_024 })
    await once(this.#server, 'listening')
    this.#server.on('error', error => this.#options.onFault?.(error)) // EMFILE on accept must not end the process
    this.#sweep = setInterval(() => {
      const nowMs = performance.now()
      for (const connection of this.#open) connection.sweep(nowMs)
    }, SWEEP_INTERVAL_MS)
    return this.#server.address() as AddressInfo
  }

  /** Refuses new work, waits for requests in hand, cuts what is left when `deadline` aborts. */
  stop(deadline: AbortSignal): Promise<void> {
    return (this.#stopped ??= this.#drain(deadline)) // every caller sees the one outcome
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
    clearInterval(this.#sweep)
    if (!this.#server.listening) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const connection of this.#open) connection.drain()
    if (this.#open.size > 0 && !deadline.aborted) {
      await new Promise<void>(resolve => {
        this.#allClosed = resolve
        deadline.addEventListener('abort', () => resolve(), { once: true })
      })
    }
    for (const connection of this.#open) connection.cut()
    await closed
  }
}
