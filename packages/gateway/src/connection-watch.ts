/** Every open connection of the listener: who is let in, how many, and who takes nothing of its answer. */
import type { Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Server as TlsServer, type TLSSocket } from 'node:tls'
import type { AllowList, Clock, RequestMeter } from '@tributary/runtime'

export interface ConnectionWatchOptions {
  allow: AllowList
  connectionsMax: number
  /** A peer that takes nothing of what waits for it, for so long, is cut. */
  stallMs: number
  meter: RequestMeter
  clock: Clock
  /** Told of addresses that were turned away. */
  onRefused: (address: string, why: string) => void
}

interface Progress {
  socket: Socket
  readonly openedMs: number
  /** Of the latest request; when it has left, those before it have. */
  response: ServerResponse | undefined
  flushedBytes: number
  sinceMs: number
}

const SWEEP_MS_MAX = 5_000
/** A connection that has said nothing for so long makes room when there is none. */
const SILENT_MS = 1_000

export class ConnectionWatch {
  readonly #options: ConnectionWatchOptions
  /** By the socket that requests come on: with TLS not the one that was accepted, but until its handshake is done. */
  readonly #open = new Map<Socket, Progress>()
  /** Sockets in their handshake, by both of their ends: TLS has no other name that its two sockets share. */
  readonly #shaking = new Map<string, Socket>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: ConnectionWatchOptions) {
    this.#options = options
  }

  get openCount(): number {
    return this.#open.size
  }

  attach(server: Server): void {
    const isSecure = server instanceof TlsServer
    const { allow, connectionsMax, stallMs, meter, onRefused } = this.#options
    server.on('connection', (socket: Socket) => {
      const address = socket.remoteAddress ?? ''
      if (!allow.allows(address)) {
        meter.connectionRefused()
        onRefused(address, 'is not in the allow list')
        socket.destroy()
        return
      }
      if (this.#open.size >= connectionsMax) {
        // Whoever idles makes room, so that a crowd of silent connections keeps nobody out for long.
        this.closeIdle(SILENT_MS)
        meter.connectionRefused()
        onRefused(address, `came when ${connectionsMax} connections were open`)
        socket.destroy()
        return
      }
      meter.connectionOpened()
      const nowMs = this.#options.clock.monotonicMs()
      const progress: Progress = {
        socket,
        openedMs: nowMs,
        response: undefined,
        flushedBytes: 0,
        sinceMs: nowMs
      }
      this.#open.set(socket, progress)
      const ends = endsOf(socket)
      if (isSecure) {
        this.#shaking.set(ends, socket)
        socket.on('error', () => {}) // 'close' follows
      }
      socket.once('close', () => {
        this.#open.delete(progress.socket)
        if (this.#shaking.get(ends) === socket) this.#shaking.delete(ends)
        meter.connectionClosed()
      })
    })
    server.on('secureConnection', (secured: TLSSocket) => {
      const accepted = this.acceptedSocket(secured)
      const progress = accepted && this.#open.get(accepted)
      if (progress === undefined) {
        secured.destroy() // its peer is gone already
        return
      }
      this.#shaking.delete(endsOf(secured))
      this.#open.delete(accepted!)
      progress.socket = secured
      this.#open.set(secured, progress)
    })
    this.#timer = setInterval(() => this.#sweep(), Math.min(stallMs / 4, SWEEP_MS_MAX))
    this.#timer.unref()
  }

  /** A request came on a connection. */
  note(socket: Socket, response: ServerResponse): void {
    const progress = this.#open.get(socket)
    if (progress) progress.response = response
  }

  /** An answer on this connection has begun and not left: other bytes would fall into it. */
  isAnswering(socket: Socket): boolean {
    const response = this.#open.get(socket)?.response
    return response !== undefined && !response.writableFinished
  }

  /**
   * Closes connections that are owed no answer, and those that asked nothing for so long. Node's own
   * closeIdleConnections also cuts answers that were ended and have not left yet.
   */
  closeIdle(silentMs: number): void {
    const sinceMs = this.#options.clock.monotonicMs() - silentMs
    for (const [socket, { openedMs, response }] of this.#open) {
      if (response ? response.writableFinished : openedMs <= sinceMs) socket.destroy()
    }
  }

  /** Whatever it is owed. Node's own closeAllConnections leaves those out that are in their TLS handshake. */
  closeAll(): void {
    for (const socket of this.#open.keys()) socket.destroy()
  }

  /** What was accepted of a TLS socket whose handshake is not done; undefined for every other. */
  acceptedSocket(secured: Socket): Socket | undefined {
    return this.#shaking.get(endsOf(secured))
  }

  detach(): void {
    clearInterval(this.#timer)
  }

  #sweep(): void {
    const nowMs = this.#options.clock.monotonicMs()
    for (const [socket, progress] of this.#open) {
      const waitingBytes = socket.writableLength
      const flushedBytes = socket.bytesWritten - waitingBytes
      if (waitingBytes === 0 || flushedBytes !== progress.flushedBytes) {
        progress.flushedBytes = flushedBytes
        progress.sinceMs = nowMs
      } else if (nowMs - progress.sinceMs > this.#options.stallMs) socket.destroy()
    }
  }
}

function endsOf({ remoteAddress, remotePort, localAddress }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`
}
