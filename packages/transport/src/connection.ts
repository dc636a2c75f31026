/**
 * One connection of ours to a server: requests go out, replies come back in the same order. Received bytes land in
 * buffers of our own, so that a large reply costs few and large reads.
 */
import { connect, type Socket } from 'node:net'
import {
  decodeErrorBody,
  encodeFrame,
  ERROR_BODY_BYTES_MAX,
  formatAddress,
  HEADER_BYTES,
  HELLO_OF,
  ProtocolError,
  RejectedError,
  readBodyBytes,
  REPLY_CODES,
  CancelledError,
  UnavailableError,
  type Address,
  type Hello,
  type Role
} from '@tributary/protocol'
import { checkGreeting, encodeGreeting, type Greeting } from './greeting.ts'

/** Read buffer of a connection; replies up to this size cost one read. */
const READ_BYTES = 64 * 1024
/** Read buffers while a large reply streams: two of these, filled in turn. */
const STREAM_READ_BYTES = 256 * 1024
/** A silent sender is looked for this often while a reply streams. */
const WATCH_INTERVAL_MS = 1_000
/** A reply of at least so much content is worth the large buffers. */
const STREAM_BUFFERS_FROM_BYTES = 1024 * 1024

/**
 * Takes one piece of a reply. The bytes are the taker's until it calls `release`; while both buffers are
 * taken, nothing is read: that is the back-pressure.
 */
export type PieceTaker = (bytes: Buffer, release: () => void) => void

export interface CallOptions {
  /** Until the reply's header (streamed) or the whole reply (buffered) is there. */
  timeoutMs: number
  /** A buffered reply's body may have so many bytes. */
  replyBytesMax?: number
  signal?: AbortSignal | undefined
}

/** Told how long the reply's body is, answers with who takes it. */
export type BodyOpener = (bodyBytes: number) => PieceTaker

export interface StreamOptions extends CallOptions {
  /** Longest wait for further bytes of the body while they are wanted. */
  silenceMs: number
}

interface PendingCall {
  startedMs: number
  deadlineMs: number
  replyBytesMax: number
  stream: { open: BodyOpener; silenceMs: number } | undefined
  resolve: (body: Buffer) => void
  reject: (error: Error) => void
}

/** A reply's body on its way. */
interface Incoming {
  remainingBytes: number
  receivedMs: number
  readonly taker: PieceTaker
  readonly call: PendingCall
  readonly watch: NodeJS.Timeout
}

export interface ConnectOptions {
  timeoutMs: number
  signal?: AbortSignal | undefined
}

export class Connection {
  readonly address: Address
  readonly role: Role
  /** Set once the server answered HELLO: a program of ours. */
  hello: Hello | undefined
  readonly #socket: Socket
  readonly #pending: PendingCall[] = []
  #buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  #stash: Buffer | undefined
  #body: Incoming | undefined
  #outgoing: Buffer[] = []
  #flushSoon: NodeJS.Immediate | undefined
  #timer: NodeJS.Timeout | undefined
  #failure: Error | undefined
  #ring: [Buffer, Buffer] | undefined
  #ringBusy: [number, number] = [0, 0]
  #ringAt = 0
  /** Reading is paused until a buffer is released. */
  #held = false
  #onIdle: (() => void) | undefined

  /**
   * Opens a connection.
   *
   * @throws {UnavailableError} CONNECTION_LOST: refused or unreachable. TIMED_OUT.
   */
  static async open(
    role: Role,
    address: Address,
    { timeoutMs, signal }: ConnectOptions
  ): Promise<Connection> {
    signal?.throwIfAborted()
    const connection = new Connection(role, address)
    const socket = connection.#socket
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        fail(
          new UnavailableError(
            'TIMED_OUT',
            `${connection.name} does not accept a connection in ${timeoutMs} ms`
          )
        )
      }, timeoutMs)
      const fail = (error: Error): void => {
        cleanUp()
        socket.destroy()
        reject(error)
      }
      const onError = (cause: NodeJS.ErrnoException): void =>
        fail(
          new UnavailableError(
            'CONNECTION_LOST',
            `no connection to ${connection.name}: ${cause.code ?? cause.message}`,
            { cause }
          )
        )
      const onAbort = (): void => fail(cancelled(signal!))
      const cleanUp = (): void => {
        clearTimeout(timer)
        socket.off('error', onError)
        signal?.removeEventListener('abort', onAbort)
      }
      socket.once('error', onError)
      socket.once('connect', () => {
        cleanUp()
        resolve()
      })
      signal?.addEventListener('abort', onAbort, { once: true })
    })
    socket.on('error', cause => {
      connection.#fail(
        new UnavailableError('CONNECTION_LOST', `connection to ${connection.name} broke: ${cause.message}`, {
          cause
        })
      )
    })
    return connection
  }

  private constructor(role: Role, address: Address) {
    this.role = role
    this.address = address
    this.#socket = connect({
      host: address.host,
      port: address.port,
      noDelay: true,
      onread: {
        buffer: () => this.#nextBuffer(),
        callback: (bytes, buffer) => this.#onBytes(buffer as Buffer, bytes)
      }
    })
    this.#socket.on('error', () => {})
    this.#socket.on('close', () => this.#fail(this.#lost()))
    this.#socket.on('end', () => this.#fail(this.#lost()))
  }

  get name(): string {
    return `${this.role === 'id' ? 'ID server' : this.role === 'storage' ? 'storage server' : 'tracker'} ${formatAddress(this.address)}`
  }

  /** Usable for a further request. */
  get alive(): boolean {
    return this.#failure === undefined
  }

  /** Requests without a whole reply. */
  get inFlight(): number {
    return this.#pending.length + (this.#body ? 1 : 0)
  }

  /** For how long the oldest request in flight has been waiting; 0 when none is. */
  get waitingMs(): number {
    const oldest = this.#pending[0]
    return oldest ? performance.now() - oldest.startedMs : 0
  }

  /** IP address of this end, as the other side may see it. */
  get localIp(): string {
    return this.#socket.localAddress ?? ''
  }

  /** One listener, told when the last reply in flight has come, and when the connection is lost. */
  onIdle(callback: (() => void) | undefined): void {
    this.#onIdle = callback
  }

  /** Does not keep the process alive while idle. */
  unref(): void {
    this.#socket.unref()
  }

  ref(): void {
    this.#socket.ref()
  }

  /**
   * The handshake of our own programs.
   *
   * @returns false: a legacy server, which closes the connection after its error.
   * @throws {ProtocolError} VERSION_UNSUPPORTED or WRONG_CLUSTER.
   */
  async greet(own: Greeting, options: CallOptions): Promise<boolean> {
    try {
      const body = await this.call(encodeFrame(HELLO_OF[this.role].code, encodeGreeting(own)), options)
      this.hello = checkGreeting(body, own)
      return true
    } catch (error) {
      this.destroy()
      // Legacy servers know one errno only; a server of ours that refuses says which of the table it is.
      if (error instanceof RejectedError && error.code === 'PEER_ERROR') return false
      throw error
    }
  }

  /** Sends one request frame; resolves with the reply's body, a copy of its own. Calls may be pipelined. */
  call(frame: Buffer, options: CallOptions): Promise<Buffer> {
    return this.#begin(frame, options, undefined)
  }

  /**
   * The same, for a reply whose body is streamed: `open` is called when its length is known, and what it returns
   * takes the pieces. Resolves after the last piece was given.
   *
   * @throws {UnavailableError} CONNECTION_LOST or TIMED_OUT, also in mid-body.
   */
  async callStreamed(frame: Buffer, options: StreamOptions, open: BodyOpener): Promise<void> {
    await this.#begin(frame, options, { open, silenceMs: options.silenceMs })
  }

  /**
   * Sends bytes of a request's body behind its head. Resolves when more may be sent.
   *
   * @throws {UnavailableError} CONNECTION_LOST
   */
  send(bytes: Buffer): Promise<void> | undefined {
    if (this.#failure) throw this.#failure
    this.#flush()
    if (this.#socket.write(bytes)) return undefined
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#socket.off('drain', settle)
        this.#socket.off('close', settle)
        if (this.#failure) reject(this.#failure)
        else resolve()
      }
      this.#socket.on('drain', settle)
      this.#socket.on('close', settle)
    })
  }

  /** Bytes of request bodies that have not left yet. */
  get unsentBytes(): number {
    return this.#socket.writableLength
  }

  destroy(error?: Error): void {
    this.#fail(error ?? this.#lost())
    this.#socket.destroy()
  }

  #begin(
    frame: Buffer,
    { timeoutMs, replyBytesMax, signal }: CallOptions,
    stream: PendingCall['stream']
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure)
      if (signal?.aborted) return reject(cancelled(signal))
      const nowMs = performance.now()
      const call: PendingCall = {
        startedMs: nowMs,
        deadlineMs: nowMs + timeoutMs,
        replyBytesMax: replyBytesMax ?? READ_BYTES * 4,
        stream,
        resolve,
        reject
      }
      if (signal) {
        // A reply that is no longer wanted cannot be told from the next one: the connection goes with the call.
        const onAbort = (): void => this.destroy(cancelled(signal))
        signal.addEventListener('abort', onAbort, { once: true })
        const off = (): void => signal.removeEventListener('abort', onAbort)
        call.resolve = body => {
          off()
          resolve(body)
        }
        call.reject = error => {
          off()
          reject(error)
        }
      }
      this.#pending.push(call)
      this.#outgoing.push(frame)
      // Requests of one turn of the event loop leave in one write.
      this.#flushSoon ??= setImmediate(() => this.#flush())
      this.#timer ??= setTimeout(() => this.#checkDeadline(), timeoutMs)
    })
  }

  #flush(): void {
    if (this.#flushSoon) clearImmediate(this.#flushSoon)
    this.#flushSoon = undefined
    const frames = this.#outgoing
    if (frames.length === 0 || this.#failure) return
    this.#outgoing = []
    this.#socket.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames))
  }

  #checkDeadline(): void {
    this.#timer = undefined
    const first = this.#pending[0]
    if (!first) return
    const leftMs = first.deadlineMs - performance.now()
    if (leftMs > 0) this.#timer = setTimeout(() => this.#checkDeadline(), leftMs)
    else this.destroy(new UnavailableError('TIMED_OUT', `${this.name} did not answer in time`))
  }

  #onBytes(buffer: Buffer, bytes: number): boolean {
    let chunk = buffer.subarray(0, bytes)
    const ownedBy = this.#ring && buffer === this.#ring[this.#ringAt] ? this.#ringAt : undefined
    if (this.#stash) {
      chunk = Buffer.concat([this.#stash, chunk])
      this.#stash = undefined
    }
    let offset = 0
    while (offset < chunk.byteLength && !this.#failure) {
      if (this.#body) {
        const piece = chunk.subarray(offset, offset + this.#body.remainingBytes)
        offset += piece.byteLength
        this.#givePiece(this.#body, piece, ownedBy)
      } else {
        const end = this.#parseReply(chunk, offset)
        if (end < 0) {
          this.#stash = Buffer.from(chunk.subarray(offset))
          break
        }
        offset = end
      }
    }
    if (ownedBy === undefined || !this.#ring) return true
    this.#ringAt = 1 - ownedBy
    this.#held = this.#ringBusy[this.#ringAt]! > 0
    return !this.#held
  }

  #nextBuffer(): Buffer {
    return this.#ring ? this.#ring[this.#ringAt]! : this.#buffer
  }

  #givePiece(body: Incoming, piece: Buffer, ownedBy: number | undefined): void {
    body.remainingBytes -= piece.byteLength
    body.receivedMs = performance.now()
    if (body.remainingBytes === 0) this.#closeBody(body)
    if (ownedBy === undefined) body.taker(Buffer.from(piece), noRelease)
    else {
      const busy = this.#ringBusy
      busy[ownedBy]!++
      let released = false
      body.taker(piece, () => {
        if (released) return
        released = true
        busy[ownedBy]!--
        if (!this.#held || busy !== this.#ringBusy || busy[this.#ringAt]! > 0) return
        this.#held = false
        body.receivedMs = performance.now()
        this.#socket.resume()
      })
    }
    if (body.remainingBytes > 0) return
    body.call.resolve(EMPTY)
    this.#idleIfSo()
  }

  #openBody(call: PendingCall, bodyBytes: number): void {
    const { open, silenceMs } = call.stream!
    const taker = open(bodyBytes)
    if (bodyBytes === 0) return call.resolve(EMPTY)
    const body: Incoming = {
      remainingBytes: bodyBytes,
      receivedMs: performance.now(),
      taker,
      call,
      watch: setInterval(() => {
        if (!this.#held && performance.now() - body.receivedMs > silenceMs) {
          this.destroy(new UnavailableError('TIMED_OUT', `${this.name} fell silent in mid-reply`))
        }
      }, WATCH_INTERVAL_MS)
    }
    this.#body = body
    if (bodyBytes >= STREAM_BUFFERS_FROM_BYTES) {
      this.#ring = [Buffer.allocUnsafeSlow(STREAM_READ_BYTES), Buffer.allocUnsafeSlow(STREAM_READ_BYTES)]
      this.#ringBusy = [0, 0]
      this.#ringAt = 0
    }
  }

  #closeBody(body: Incoming): void {
    clearInterval(body.watch)
    this.#body = undefined
    this.#ring = undefined
    this.#held = false
  }

  /** Returns where the next reply begins, or -1 when this one is not complete. */
  #parseReply(chunk: Buffer, offset: number): number {
    const available = chunk.byteLength - offset
    if (available < HEADER_BYTES) return -1
    const call = this.#pending[0]
    if (!call) return this.#distrust('sent a reply that nobody asked for')
    const bodyBytes = readBodyBytes(chunk, offset)
    const failed = chunk[offset + 9] !== 0
    if (chunk[offset + 8] !== REPLY_CODES[this.role])
      return this.#distrust("answered with another role's code")
    const boundBytes = failed
      ? ERROR_BODY_BYTES_MAX
      : call.stream
        ? Number.MAX_SAFE_INTEGER
        : call.replyBytesMax
    if (bodyBytes < 0 || bodyBytes > boundBytes)
      return this.#distrust(`announced a reply of ${bodyBytes} bytes`)
    const start = offset + HEADER_BYTES
    if (call.stream && !failed) {
      this.#pending.shift()
      this.#openBody(call, bodyBytes)
      this.#idleIfSo()
      return start
    }
    if (available < HEADER_BYTES + bodyBytes) return -1
    this.#pending.shift()
    const body = Buffer.from(chunk.subarray(start, start + bodyBytes))
    if (failed) call.reject(decodeErrorBody(body))
    else call.resolve(body)
    this.#idleIfSo()
    return start + bodyBytes
  }

  #distrust(what: string): number {
    this.destroy(new ProtocolError('BAD_REPLY', `${this.name} ${what}`))
    return -1
  }

  #idleIfSo(): void {
    if (this.#pending.length === 0 && !this.#body) this.#onIdle?.()
  }

  #lost(): UnavailableError {
    return new UnavailableError('CONNECTION_LOST', `${this.name} closed the connection`)
  }

  #fail(error: Error): void {
    if (this.#failure) return
    this.#failure = error
    clearTimeout(this.#timer)
    if (this.#flushSoon) clearImmediate(this.#flushSoon)
    this.#socket.destroy()
    const body = this.#body
    if (body) {
      this.#closeBody(body)
      body.call.reject(error)
    }
    for (const call of this.#pending.splice(0)) call.reject(error)
    this.#onIdle?.()
  }
}

const EMPTY = Buffer.alloc(0)
const noRelease = (): void => {}

function cancelled(signal: AbortSignal): CancelledError {
  return new CancelledError('the caller cancelled the call', { cause: signal.reason })
}
