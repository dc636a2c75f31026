/**
 * One connection of ours to a server: requests go out, replies come back in the same order. Received bytes land in
 * buffers of our own, so that a large reply costs few and large reads.
 */
import { connect, isIP, type Socket, type TcpNetConnectOpts } from 'node:net'
import { connect as connectTls, TLSSocket } from 'node:tls'
import {
  AUTHENTICATE_OF,
  decodeErrorBody,
  encodeFrame,
  ERROR_BODY_BYTES_MAX,
  extension,
  formatAddress,
  HEADER_BYTES,
  HELLO_OF,
  invariant,
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
import { bindingOf, isProof, proofOf, type ProofOf } from './authentication.ts'
import { checkGreeting, encodeGreeting, makeNonce, type Greeting } from './greeting.ts'
import { ReadRing } from './read-ring.ts'
import { Stash } from './stash.ts'
import { TLS_VERSION_MIN, type WireTls } from './wire-tls.ts'

/** Read buffer of a connection; replies up to this size cost one read. */
const READ_BYTES = 64 * 1024
/** A silent sender is looked for this often while a reply streams, or four times within its bound. */
const WATCH_INTERVAL_MS_MAX = 1_000
/** A buffered reply is at most so long, unless the caller says otherwise. */
const REPLY_BYTES_MAX = 256 * 1024
/** A server whose machine is gone is noticed by TCP's own probes, from so long after its last byte on. */
const KEEP_ALIVE_DELAY_MS = 60_000
/** A reply of at least so much content is worth the large buffers. */
const STREAM_BUFFERS_FROM_BYTES = 1024 * 1024

/**
 * Takes one piece of a reply. The bytes are the taker's until it calls `release`; while both buffers are
 * taken, nothing is read: that is the back-pressure. Replies below STREAM_BUFFERS_FROM_BYTES come in copies that
 * hold nothing back. What it throws ends the call and the connection.
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
  readonly startedMs: number
  readonly deadlineMs: number
  readonly replyBytesMax: number
  readonly stream: { open: BodyOpener; silenceMs: number } | undefined
  resolve: (body: Buffer) => void
  reject: (error: Error) => void
}

/** A reply's body on its way. */
interface Incoming {
  readonly call: PendingCall
  readonly taker: PieceTaker
  /** Large buffers, where the body is worth them. */
  readonly ring: ReadRing | undefined
  remainingBytes: number
  receivedMs: number
  /** Reading is paused until a buffer is released. */
  held: boolean
}

export interface ConnectOptions {
  timeoutMs: number
  /** The server speaks TLS. */
  tls?: WireTls | undefined
  signal?: AbortSignal | undefined
}

export class Connection {
  readonly address: Address
  readonly role: Role
  /** Set once the server answered HELLO: a program of ours. */
  hello: Hello | undefined
  readonly #socket: Socket
  /** In request order. One whose caller has gone stays, so that its reply is not taken for the next one's. */
  readonly #pending: PendingCall[] = []
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  /** A reply that spans reads. */
  #stash: Stash | undefined
  #body: Incoming | undefined
  #watch: NodeJS.Timeout | undefined
  #outgoing: Buffer[] = []
  /** Bytes of request bodies that heads have announced and `send` has not brought yet. */
  #owedBytes = 0
  #flushSoon: NodeJS.Immediate | undefined
  #timer: NodeJS.Timeout | undefined
  #timerAtMs = 0
  #failure: Error | undefined
  #onIdle: (() => void) | undefined

  /**
   * Opens a connection.
   *
   * @throws {UnavailableError} CONNECTION_LOST: refused or unreachable. TIMED_OUT.
   * @throws {CancelledError} `signal` aborted.
   */
  static open(role: Role, address: Address, { timeoutMs, tls, signal }: ConnectOptions): Promise<Connection> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(cancelled(signal))
      const connection = new Connection(role, address, tls)
      const onAbort = (): void => connection.destroy(cancelled(signal!))
      const timer = setTimeout(() => {
        const why = `${connection.name} does not accept a connection in ${timeoutMs} ms`
        connection.destroy(new UnavailableError('TIMED_OUT', why))
      }, timeoutMs)
      const settle = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        connection.onIdle(undefined)
        if (connection.#failure) reject(connection.#failure)
        else resolve(connection)
      }
      connection.onIdle(settle)
      connection.#socket.once(tls ? 'secureConnect' : 'connect', settle)
      signal?.addEventListener('abort', onAbort)
    })
  }

  private constructor(role: Role, address: Address, tls: WireTls | undefined) {
    this.role = role
    this.address = address
    const options: TcpNetConnectOpts = {
      host: address.host,
      port: address.port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS,
      onread: {
        buffer: () => this.#nextBuffer(),
        callback: (bytes, buffer) => this.#onBytes(buffer as Buffer, bytes)
      }
    }
    this.#socket = tls ? connectSecurely(options, tls) : connect(options)
    let wasConnected = false // the socket's own `connecting` is over by the time a failure is told
    this.#socket.once(tls ? 'secureConnect' : 'connect', () => {
      wasConnected = true
    })
    this.#socket.on('error', (cause: NodeJS.ErrnoException) => {
      const what = wasConnected ? 'lost the connection to' : 'no connection to'
      const why = `${what} ${this.name}: ${tls ? tlsFault(cause) : (cause.code ?? cause.message)}`
      this.#fail(new UnavailableError('CONNECTION_LOST', why, { cause }))
    })
    this.#socket.on('end', () => this.#fail(this.#lost()))
    this.#socket.on('close', () => this.#fail(this.#lost()))
  }

  get name(): string {
    const server = this.role === 'id' ? 'ID server' : this.role === 'storage' ? 'storage server' : 'tracker'
    return `${server} ${formatAddress(this.address)}`
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

  /** No reply is awaited, and no request is half sent: the next request may follow. */
  get settled(): boolean {
    return this.inFlight === 0 && this.#owedBytes === 0 && this.#socket.writableLength === 0
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
   * @throws {ProtocolError} VERSION_UNSUPPORTED, WRONG_CLUSTER or BAD_REPLY.
   */
  async greet(own: Greeting, options: CallOptions): Promise<boolean> {
    try {
      const nonce = makeNonce()
      const body = await this.call(encodeFrame(HELLO_OF[this.role].code, encodeGreeting(own, nonce)), options)
      const hello = checkGreeting(body, own)
      await this.#authenticate(own, hello, nonce, options)
      this.hello = hello
      return true
    } catch (error) {
      this.destroy()
      if (error instanceof RejectedError) {
        // Legacy servers know one errno only; a server of ours that refuses says which of the table it is.
        if (error.code === 'PEER_ERROR') return false
        if (error.code === 'BAD_FIELD') {
          throw new ProtocolError('BAD_REPLY', `${this.name}: ${error.message}`, { cause: error })
        }
      }
      throw error
    }
  }

  /** Both ends show that they have the cluster key, where there is one. @throws {ProtocolError} NOT_AUTHENTICATED */
  async #authenticate(
    { clusterKey }: Greeting,
    { features, nonce: serverNonce }: Hello,
    clientNonce: string,
    options: CallOptions
  ): Promise<void> {
    const wants = (features & extension.FEATURES.AUTHENTICATE) !== 0
    if (clusterKey === undefined && !wants) return
    if (clusterKey === undefined)
      throw new ProtocolError(
        'NOT_AUTHENTICATED',
        `${this.name} wants proof of a cluster key, and none is set here`
      )
    if (!wants) throw new ProtocolError('NOT_AUTHENTICATED', `${this.name} has no cluster key`)
    const of: ProofOf = {
      side: 'client',
      role: this.role,
      clientNonce,
      serverNonce,
      binding: bindingOf(this.#socket)
    }
    const body = extension.authenticate.encode({ proof: proofOf(clusterKey, of) })
    const reply = await this.call(encodeFrame(AUTHENTICATE_OF[this.role].code, body), options)
    const { proof } = extension.authenticate.decode(reply)
    if (!isProof(proof, clusterKey, { ...of, side: 'server' }))
      throw new ProtocolError('NOT_AUTHENTICATED', `${this.name} has another cluster key`)
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
   * Sends bytes of a request's body behind its head, which a call has sent. They are the connection's for good.
   *
   * @returns Nothing: go on at once. A promise: go on when it resolves.
   * @throws {UnavailableError} CONNECTION_LOST
   */
  send(bytes: Buffer): Promise<void> | undefined {
    if (this.#failure) throw this.#failure
    this.#owedBytes -= bytes.byteLength
    invariant(this.#owedBytes >= 0, 'a request body is not longer than its head announced')
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
  }

  #begin(frame: Buffer, options: CallOptions, stream: PendingCall['stream']): Promise<Buffer> {
    const { timeoutMs, replyBytesMax = REPLY_BYTES_MAX, signal } = options
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure)
      if (signal?.aborted) return reject(cancelled(signal))
      invariant(this.#owedBytes === 0, 'the body of the request before was sent whole')
      this.#owedBytes = HEADER_BYTES + readBodyBytes(frame, 0) - frame.byteLength
      const startedMs = performance.now()
      const deadlineMs = startedMs + timeoutMs
      const call: PendingCall = { startedMs, deadlineMs, replyBytesMax, stream, resolve, reject }
      if (signal) this.#cancelWith(signal, call)
      this.#pending.push(call)
      this.#outgoing.push(frame)
      // Requests of one turn of the event loop leave in one write.
      this.#flushSoon ??= setImmediate(() => this.#flush())
      if (this.#timer === undefined || deadlineMs < this.#timerAtMs) this.#setTimer(deadlineMs, timeoutMs)
    })
  }

  /**
   * A reply that nobody wants any more is still read where others wait behind it; else the connection goes, which
   * also tells the server.
   */
  #cancelWith(signal: AbortSignal, call: PendingCall): void {
    const { resolve, reject } = call
    const onAbort = (): void => {
      call.reject(cancelled(signal))
      if (this.inFlight === 1 || call.stream || this.#owedBytes > 0) this.destroy()
    }
    const off = (): void => signal.removeEventListener('abort', onAbort)
    call.resolve = body => {
      off()
      resolve(body)
    }
    call.reject = error => {
      off()
      reject(error)
    }
    signal.addEventListener('abort', onAbort)
  }

  #flush(): void {
    if (this.#flushSoon) clearImmediate(this.#flushSoon)
    this.#flushSoon = undefined
    const frames = this.#outgoing
    if (frames.length === 0 || this.#failure) return
    this.#outgoing = []
    this.#socket.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames))
  }

  #setTimer(atMs: number, inMs: number): void {
    clearTimeout(this.#timer)
    this.#timerAtMs = atMs
    this.#timer = setTimeout(() => this.#checkDeadlines(), inMs)
    this.#timer.unref() // the socket keeps the process alive for as long as somebody waits
  }

  /** The connection goes with the first call that timed out; those that had time left learn that it is lost. */
  #checkDeadlines(): void {
    this.#timer = undefined
    const nowMs = performance.now()
    let nextMs = Infinity
    let late = false
    for (const call of this.#pending) {
      if (call.deadlineMs > nowMs) nextMs = Math.min(nextMs, call.deadlineMs)
      else {
        late = true
        call.reject(new UnavailableError('TIMED_OUT', `${this.name} did not answer in time`))
      }
    }
    if (late) this.destroy()
    else if (nextMs < Infinity) this.#setTimer(nextMs, nextMs - nowMs)
  }

  #onBytes(buffer: Buffer, bytes: number): boolean {
    const ring = this.#body?.ring?.current === buffer ? this.#body.ring : undefined
    const chunk = buffer.subarray(0, bytes)
    let offset = 0
    while (offset < bytes && !this.#failure) {
      if (this.#body) {
        const piece = chunk.subarray(offset, offset + this.#body.remainingBytes)
        offset += piece.byteLength
        this.#givePiece(this.#body, piece, ring)
      } else offset = this.#parseReply(chunk, offset)
    }
    const body = this.#body
    if (!body) return true
    this.#watch ??= this.#watchSilence(body.call.stream!.silenceMs)
    if (!ring || body.ring !== ring) return true
    ring.turn()
    body.held = !ring.free
    return !body.held
  }

  #nextBuffer(): Buffer {
    return this.#body?.ring?.current ?? this.#buffer
  }

  #givePiece(body: Incoming, piece: Buffer, readInto: ReadRing | undefined): void {
    body.remainingBytes -= piece.byteLength
    body.receivedMs = performance.now()
    if (body.remainingBytes === 0) this.#endBody()
    try {
      // What another reply's buffers, or the common one, hold is overwritten soon.
      if (!body.ring || body.ring !== readInto) body.taker(Buffer.from(piece), noRelease)
      else
        body.taker(
          piece,
          body.ring.take(() => this.#released(body))
        )
    } catch (error) {
      body.call.reject(error as Error)
      this.destroy()
      return
    }
    if (body.remainingBytes > 0 || this.#failure) return
    body.call.resolve(EMPTY)
    this.#idleIfSo()
  }

  #released(body: Incoming): void {
    if (!body.held || this.#body !== body || !body.ring!.free) return
    body.held = false
    body.receivedMs = performance.now()
    this.#socket.resume()
  }

  #openBody(call: PendingCall, bodyBytes: number): void {
    let taker: PieceTaker
    try {
      taker = call.stream!.open(bodyBytes)
    } catch (error) {
      call.reject(error as Error)
      this.destroy()
      return
    }
    if (bodyBytes === 0) {
      call.resolve(EMPTY)
      return
    }
    this.#body = {
      call,
      taker,
      ring: bodyBytes >= STREAM_BUFFERS_FROM_BYTES ? new ReadRing() : undefined,
      remainingBytes: bodyBytes,
      receivedMs: performance.now(),
      held: false
    }
  }

  #endBody(): void {
    clearInterval(this.#watch)
    this.#watch = undefined
    this.#body = undefined
  }

  #watchSilence(silenceMs: number): NodeJS.Timeout {
    const watch = setInterval(
      () => {
        const body = this.#body
        if (!body || body.held || performance.now() - body.receivedMs <= silenceMs) return
        body.call.reject(new UnavailableError('TIMED_OUT', `${this.name} fell silent in mid-reply`))
        this.destroy()
      },
      Math.min(WATCH_INTERVAL_MS_MAX, silenceMs / 4)
    )
    return watch.unref()
  }

  /** Reads one reply, or the head of a streamed one; stashes what is here of it. Returns where to go on. */
  #parseReply(chunk: Buffer, offset: number): number {
    let source = chunk
    let headerAt = offset
    let end = offset + HEADER_BYTES
    if (this.#stash || end > chunk.byteLength) {
      this.#stash ??= new Stash()
      end = this.#stash.fill(chunk, offset, HEADER_BYTES)
      if (this.#stash.bytes < HEADER_BYTES) return end
      source = this.#stash.gathered
      headerAt = 0
    }
    if (source[headerAt + 8] !== REPLY_CODES[this.role])
      return this.#distrust("answered with another role's code", end)
    const call = this.#pending[0]
    const failed = source[headerAt + 9] !== 0
    if (!call && !failed) return this.#distrust('sent a reply that nobody asked for', end)
    const bodyBytes = readBodyBytes(source, headerAt)
    const streams = call?.stream !== undefined && !failed
    const boundBytes = failed ? ERROR_BODY_BYTES_MAX : streams ? Number.MAX_SAFE_INTEGER : call!.replyBytesMax
    if (bodyBytes < 0 || bodyBytes > boundBytes)
      return this.#distrust(`announced a reply of ${bodyBytes} bytes`, end)
    if (streams) {
      this.#stash = undefined
      this.#pending.shift()
      this.#openBody(call, bodyBytes)
      this.#idleIfSo()
      return end
    }
    let body: Buffer
    if (this.#stash || end + bodyBytes > chunk.byteLength) {
      const stash = (this.#stash ??= new Stash())
      end = stash.fill(chunk, stash.bytes === 0 ? offset : end, HEADER_BYTES + bodyBytes)
      if (stash.bytes < HEADER_BYTES + bodyBytes) return end
      body = stash.gathered.subarray(HEADER_BYTES)
      this.#stash = undefined
    } else {
      body = Buffer.from(chunk.subarray(end, end + bodyBytes))
      end += bodyBytes
    }
    if (!call) return this.#heedGoodbye(body, end)
    this.#pending.shift()
    if (!failed) call.resolve(body)
    else {
      call.reject(decodeErrorBody(body))
      // Legacy servers close after an error; a request sent meanwhile would be lost.
      if (!this.hello) this.destroy()
    }
    this.#idleIfSo()
    return end
  }

  /** An error that nobody asked for: a server that stops says so (docs/PROTOCOL.md §4). */
  #heedGoodbye(body: Buffer, end: number): number {
    const error = decodeErrorBody(body)
    if (error.code !== 'SHUTTING_DOWN') return this.#distrust('sent an error that nobody asked for', end)
    this.destroy(error)
    return end
  }

  #distrust(what: string, end: number): number {
    this.destroy(new ProtocolError('BAD_REPLY', `${this.name} ${what}`))
    return end
  }

  #idleIfSo(): void {
    if (this.#pending.length === 0 && !this.#body && !this.#failure) this.#onIdle?.()
  }

  #lost(): UnavailableError {
    return new UnavailableError('CONNECTION_LOST', `the connection to ${this.name} was closed`)
  }

  #fail(error: Error): void {
    if (this.#failure) return
    this.#failure = error
    clearTimeout(this.#timer)
    if (this.#flushSoon) clearImmediate(this.#flushSoon)
    // What is given up must not be carried out later: a reset takes back what the server has not been given yet.
    // Of TLS only the inner socket could be reset: there a server finds out by its own clock what came too late.
    const canReset = !this.#socket.connecting && !(this.#socket instanceof TLSSocket)
    if (this.inFlight > 0 && canReset) this.#socket.resetAndDestroy()
    else this.#socket.destroy()
    this.#body?.call.reject(error)
    this.#endBody()
    for (const call of this.#pending.splice(0)) call.reject(error)
    this.#onIdle?.()
  }
}

function connectSecurely(
  options: TcpNetConnectOpts,
  { authorities, certificate, privateKey }: WireTls
): TLSSocket {
  const { host = '' } = options
  return connectTls({
    ...options,
    ca: authorities,
    cert: certificate,
    key: privateKey,
    minVersion: TLS_VERSION_MIN,
    // An address has no place in SNI; it is checked against the certificate all the same.
    ...(isIP(host) === 0 && { servername: host })
  })
}

/** Codes of OpenSSL say little to who has to put it right. */
function tlsFault({ code, message }: NodeJS.ErrnoException): string {
  return code === undefined || message.includes(code) ? message : `${code}: ${message}`
}

const EMPTY = Buffer.alloc(0)
const noRelease = (): void => {}

/** What a call rejects with when the caller's signal ends it. */
export function cancelled(signal: AbortSignal): CancelledError {
  return new CancelledError('the caller cancelled the call', { cause: signal.reason })
}
