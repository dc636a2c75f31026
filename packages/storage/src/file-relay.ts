/**
 * Requests of clients that know no other groups, for files that another group has: passed on, and the reply with them.
 * Content passes through piece by piece, as fast as the client takes it.
 */
import {
  COMMANDS,
  encodeFrame,
  formatAddress,
  UnavailableError,
  type Address,
  type FileKey
} from '@tributary/protocol'
import {
  replyHeader,
  replyOf,
  type Lease,
  type Outlet,
  type PieceTaker,
  type Reply,
  type StreamedReply
} from '@tributary/transport'
import type { Neighbours } from './neighbours.ts'

/** Relayed at a time by one worker: each costs a connection, and two buffers where the content is large. */
export const RELAYS_MAX = 64
/** Until the other member's reply begins. */
const REPLY_TIMEOUT_MS = 10_000
const SILENCE_MS = 10_000

export class FileRelay {
  readonly #neighbours: Neighbours
  #relays = 0

  constructor(neighbours: Neighbours) {
    this.#neighbours = neighbours
  }

  /**
   * @param body Of the request; a copy of its own.
   * @throws {TributaryError} what the other group answered, or OVERLOADED.
   */
  async forward(command: 'FILESIZE' | 'DOWNLOAD' | 'DELETE', key: FileKey, body: Buffer): Promise<Reply> {
    if (this.#relays >= RELAYS_MAX) {
      throw new UnavailableError('OVERLOADED', `${RELAYS_MAX} requests are passed on to other groups already`)
    }
    this.#relays++
    let isStreaming = false
    try {
      const { addresses, group } = await this.#neighbours.locate(key)
      const frame = encodeFrame(COMMANDS[command].code, body)
      const lease = await this.#leaseAny(addresses, group)
      if (command === 'DOWNLOAD') {
        const reply = await this.#stream(lease, frame)
        isStreaming = !Buffer.isBuffer(reply)
        return reply
      }
      try {
        return replyOf('storage', await lease.connection.call(frame, { timeoutMs: REPLY_TIMEOUT_MS }))
      } finally {
        lease.release()
      }
    } finally {
      if (!isStreaming) this.#relays--
    }
  }

  /** The first member that takes a connection: what fails later is the client's to repeat. */
  async #leaseAny(addresses: readonly Address[], group: string): Promise<Lease> {
    let failure: unknown = new UnavailableError(
      'NO_STORAGE_READY',
      `no active storage server in group ${group}`
    )
    for (const address of addresses) {
      try {
        const lease = await this.#neighbours.lease(address)
        if (lease.ours) return lease
        lease.release()
        failure = new UnavailableError('INTERNAL', `${formatAddress(address)} is an older program`)
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  #stream(lease: Lease, frame: Buffer): Promise<Reply> {
    return new Promise((resolve, reject) => {
      let reply: RelayedReply | undefined
      const ended = (error?: Error): void => {
        if (reply) reply.end(error)
        else if (error) reject(error)
        lease.release()
      }
      lease.connection
        .callStreamed(frame, { timeoutMs: REPLY_TIMEOUT_MS, silenceMs: SILENCE_MS }, bodyBytes => {
          if (bodyBytes === 0) {
            resolve(replyOf('storage'))
            return ignored
          }
          reply = new RelayedReply(bodyBytes, lease, () => this.#relays--)
          resolve(reply)
          return reply.take
        })
        .then(
          () => ended(),
          (error: Error) => ended(error)
        )
    })
  }
}

const ignored: PieceTaker = (_bytes, release) => release()

interface Piece {
  bytes: Buffer
  release: () => void
}

class RelayedReply implements StreamedReply {
  readonly head: Buffer
  readonly contentBytes: number
  readonly #lease: Lease
  readonly #onEnd: () => void
  readonly #pieces: Piece[] = []
  #wake: () => void = () => {}
  #failure: Error | undefined
  #isOver = false

  constructor(contentBytes: number, lease: Lease, onEnd: () => void) {
    this.head = replyHeader('storage', contentBytes)
    this.contentBytes = contentBytes
    this.#lease = lease
    this.#onEnd = onEnd
  }

  /** What is not taken away holds the other member back. */
  readonly take: PieceTaker = (bytes, release) => {
    if (this.#isOver) return release()
    this.#pieces.push({ bytes, release })
    this.#wake()
  }

  /** The other member's reply is over: all of it was given, or it broke. */
  end(error?: Error): void {
    this.#failure = error
    this.#wake()
  }

  async pump(out: Outlet): Promise<void> {
    try {
      for (let left = this.contentBytes; left > 0;) {
        const { bytes, release } = await this.#next()
        await new Promise<void>((resolve, reject) =>
          out.write(bytes, error => (error ? reject(receiverGone(error)) : resolve()))
        ).finally(release)
        left -= bytes.byteLength
      }
    } finally {
      this.abandon()
    }
  }

  abandon(): void {
    if (this.#isOver) return
    this.#isOver = true
    for (const { release } of this.#pieces.splice(0)) release()
    // Of a reply that nobody takes any more nothing is read: its connection goes.
    if (!this.#lease.connection.settled) this.#lease.connection.destroy()
    this.#onEnd()
  }

  async #next(): Promise<Piece> {
    for (;;) {
      const piece = this.#pieces.shift()
      if (piece) return piece
      if (this.#failure) throw this.#failure
      await new Promise<void>(resolve => (this.#wake = resolve))
    }
  }
}

function receiverGone(cause: Error): UnavailableError {
  return new UnavailableError('CONNECTION_LOST', 'the receiver is gone', { cause })
}
