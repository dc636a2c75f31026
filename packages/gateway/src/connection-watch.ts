/** Every open connection of the listener: who is let in, how many, and who takes nothing of its answer. */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
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
  flushedBytes: number
  sinceMs: number
}

const SWEEP_MS_MAX = 5_000

export class ConnectionWatch {
  readonly #options: ConnectionWatchOptions
  readonly #open = new Map<Socket, Progress>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: ConnectionWatchOptions) {
    this.#options = options
  }

  get openCount(): number {
    return this.#open.size
  }

  attach(server: Server): void {
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
        server.closeIdleConnections()
        meter.connectionRefused()
        onRefused(address, `came when ${connectionsMax} connections were open`)
        socket.destroy()
        return
      }
      meter.connectionOpened()
      this.#open.set(socket, { flushedBytes: 0, sinceMs: this.#options.clock.monotonicMs() })
      socket.once('close', () => {
        this.#open.delete(socket)
        meter.connectionClosed()
      })
    })
    this.#timer = setInterval(() => this.#sweep(), Math.min(stallMs / 4, SWEEP_MS_MAX))
    this.#timer.unref()
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
