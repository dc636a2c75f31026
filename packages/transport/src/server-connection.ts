/**
 * One accepted connection: cuts its byte stream into frames, calls the handlers, and sends the replies in
 * request order. Requests may be pipelined; those with content are served one at a time.
 */
import type { Socket } from 'node:net'
import {
  COMMANDS,
  encodeErrorReply,
  ERRNO_UNSPECIFIED,
  HEADER_BYTES,
  HELLO_OF,
  ProtocolError,
  readBodyBytes,
  REPLY_CODES,
  TributaryError,
  UnavailableError,
  type Command,
  type CommandName,
  type ErrorCode,
  type Role
} from '@tributary/protocol'
import type { Call, FrameServerOptions, Handler, Peer } from './frame-server.ts'
import { SILENCE_MS, STALL_MS } from './frame-server.ts'
import { checkGreeting, encodeGreeting } from './greeting.ts'
import { IncomingContent, senderGone } from './incoming-content.ts'
import { replyOf, type Outlet, type Reply, type StreamedReply } from './reply.ts'

/** Requests of one connection that may wait for their reply; more are left in the socket. */
const PIPELINE_DEPTH_MAX = 64
/** Replies that a slow receiver may leave in memory before its requests are left in the socket. */
const OUTPUT_BYTES_MAX = 1024 * 1024
/** Of a refused request's content so much, or for so long, is read and dropped, so that the reply is not lost in a reset. */
const DROP_BYTES_MAX = 64 * 1024 * 1024
const DROP_MS_MAX = 5_000
/** After our last reply, how long a peer that is still sending may take to close its side. */
const LINGER_MS = 5_000
/** Body of an unknown command that is read and dropped; with a longer one the connection is closed. */
const UNKNOWN_BODY_BYTES_MAX = 64 * 1024
/** Small replies of one moment are joined into one write up to this size. */
const JOIN_BYTES_MAX = 64 * 1024

interface Entry {
  name: CommandName
  command: Command
  handler: Handler | undefined
}
/** What a server does with each of the 256 command codes. */
export type CommandEntries = readonly (Entry | undefined)[]

/** A request whose reply is not sent yet. */
interface Slot {
  name: CommandName | 'UNKNOWN'
  startedMs: number
  bytesIn: number
  reply: Reply | undefined
  outcome: 'ok' | ErrorCode
  closeAfter: boolean
}

export class ServerConnection<R extends Role> implements Peer {
  readonly ip: string
  readonly port: number
  ours = false
  lastActiveMs = performance.now()
  readonly #socket: Socket
  readonly #options: FrameServerOptions<R>
  readonly #entries: CommandEntries
  readonly #onClosed: (connection: ServerConnection<R>) => void
  readonly #slots: Slot[] = []
  readonly #outlet: Outlet
  #notes: Map<unknown, unknown> | undefined
  #closers: (() => void)[] | undefined
  #abort: AbortController | undefined
  /** Bytes of an incomplete head. */
  #stash: Buffer | undefined
  #content: IncomingContent | undefined
  #dropBytes = 0
  #dropUntilMs = 0
  /** Bytes received but not parsed, while requests are held back. */
  #rest: Buffer | undefined
  #contentBusy = false
  #contentPaused = false
  #paused = false
  #pumping = false
  #parsing = false
  #out: Buffer[] = []
  #outBytes = 0
  #draining = false
  #ended = false
  #closing = false
  #lingerBytes = 0
  #closed = false
  #flushedBytes = 0
  #flushedMs = 0

  constructor(
    socket: Socket,
    ip: string,
    options: FrameServerOptions<R>,
    entries: CommandEntries,
    onClosed: (connection: ServerConnection<R>) => void
  ) {
    this.#socket = socket
    this.ip = ip
    this.port = socket.remotePort ?? 0
    this.#options = options
    this.#entries = entries
    this.#onClosed = onClosed
    this.#outlet = { write: (bytes, done) => void socket.write(bytes, done) }
    socket.on('data', chunk => this.#onData(chunk as Buffer))
    socket.on('end', () => this.#onEnd())
    socket.on('drain', () => this.#goOn())
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => this.#onClose())
  }

  get notes(): Map<unknown, unknown> {
    return (this.#notes ??= new Map())
  }

  onClose(callback: () => void): void {
    if (this.#closed) callback()
    else (this.#closers ??= []).push(callback)
  }

  /** Nothing is half received and nothing is owed. */
  get idle(): boolean {
    return this.#slots.length === 0 && !this.#inFrame && this.#rest === undefined
  }

  /** Ends after the reply in hand. */
  drain(): void {
    this.#draining = true
    this.#goOn()
  }

  /** Ends now. */
  cut(): void {
    this.#socket.destroy()
  }

  /** Gives up a peer that fell silent inside a frame, or that takes nothing of its reply. */
  sweep(nowMs: number): void {
    if (this.#dropUntilMs > 0 && nowMs > this.#dropUntilMs) return this.cut()
    if (
      this.#inFrame &&
      !this.#paused &&
      nowMs - this.lastActiveMs > (this.#options.silenceMs ?? SILENCE_MS)
    ) {
      return this.cut()
    }
    const pendingBytes = this.#socket.writableLength
    const flushedBytes = this.#socket.bytesWritten - pendingBytes
    if (pendingBytes === 0 || flushedBytes !== this.#flushedBytes) {
      this.#flushedBytes = flushedBytes
      this.#flushedMs = nowMs
    } else if (nowMs - this.#flushedMs > (this.#options.stallMs ?? STALL_MS)) this.cut()
  }

  get #inFrame(): boolean {
    return this.#stash !== undefined || this.#content !== undefined || this.#dropBytes > 0
  }

  #onData(chunk: Buffer): void {
    if (this.#closing) {
      this.#lingerBytes += chunk.byteLength
      if (this.#lingerBytes > DROP_BYTES_MAX) this.cut()
      return
    }
    this.lastActiveMs = performance.now()
    this.#parse(this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]))
  }

  /** Consumes `chunk`; what has to wait is kept in #rest and the socket is paused. */
  #parse(chunk: Buffer): void {
    this.#rest = undefined
    this.#parsing = true
    let offset = 0
    while (offset < chunk.byteLength && !this.#closing) {
      if (this.#content) {
        offset += this.#content.push(offset === 0 ? chunk : chunk.subarray(offset))
        if (this.#content.remainingBytes === 0) this.#content = undefined
      } else if (this.#dropBytes > 0) {
        const bytes = Math.min(this.#dropBytes, chunk.byteLength - offset)
        this.#dropBytes -= bytes
        offset += bytes
        if (this.#dropBytes === 0) this.#dropUntilMs = 0
      } else if (this.#mustWait()) {
        this.#rest = offset === 0 ? chunk : chunk.subarray(offset)
        break
      } else offset = this.#parseHead(chunk, offset)
    }
    this.#parsing = false
    this.#goOn()
  }

  #mustWait(): boolean {
    return (
      this.#contentBusy ||
      this.#draining ||
      this.#slots.length >= PIPELINE_DEPTH_MAX ||
      this.#socket.writableLength + this.#outBytes > OUTPUT_BYTES_MAX
    )
  }

  /** Reads one frame's head at `offset`, or stashes what is there of it. Returns where to go on. */
  #parseHead(chunk: Buffer, offset: number): number {
    let source = chunk
    let start = offset
    if (this.#stash) {
      // Heads are short: joining costs little, and happens only when a head spans chunks.
      source = Buffer.concat([this.#stash, chunk.subarray(offset)])
      start = 0
    }
    const stashedBytes = this.#stash ? this.#stash.byteLength : 0
    const consumedTo = (end: number): number => (this.#stash ? offset + end - stashedBytes : end)
    const available = source.byteLength - start
    if (available < HEADER_BYTES) return this.#keep(source, start, chunk)
    const bodyBytes = readBodyBytes(source, start)
    const entry = this.#entries[source[start + 8]!]
    const bodyStart = start + HEADER_BYTES

    const refusal = refusalOf(entry, source[start + 8]!, bodyBytes, this.ours)
    if (refusal) {
      const end = consumedTo(bodyStart)
      this.#stash = undefined
      const mayDrop = entry ? DROP_BYTES_MAX : UNKNOWN_BODY_BYTES_MAX
      const framingLost = bodyBytes < 0 || bodyBytes > mayDrop
      const slot = this.#newSlot(entry ? entry.name : 'UNKNOWN', 0)
      this.#refuse(slot, refusal, framingLost)
      if (!framingLost) this.#drop(bodyBytes)
      return end
    }

    const { command, name, handler } = entry!
    const headBytes = command.content ? command.bodyBytesMax : bodyBytes
    if (available < HEADER_BYTES + headBytes) return this.#keep(source, start, chunk)
    if (command.content && this.#slots.length > 0) {
      // Content is served alone: the requests before it are answered first.
      this.#contentBusy = true
      this.#stash = undefined
      this.#rest = start === 0 && source !== chunk ? source : source.subarray(start)
      return chunk.byteLength
    }
    const bodyEnd = bodyStart + headBytes
    const end = consumedTo(bodyEnd)
    this.#stash = undefined
    const slot = this.#newSlot(name, HEADER_BYTES + bodyBytes)
    const body = source.subarray(bodyStart, bodyEnd)
    if (handler === undefined) this.#greet(slot, body)
    else if (command.content)
      return this.#callWithContent(slot, handler, body, bodyBytes - headBytes, chunk, end)
    else this.#call(slot, handler, body, NO_CONTENT)
    return end
  }

  #keep(source: Buffer, start: number, chunk: Buffer): number {
    // A copy: the stash may live long, and must not hold a whole read buffer.
    this.#stash = source === chunk ? Buffer.from(source.subarray(start)) : source
    return chunk.byteLength
  }

  #newSlot(name: Slot['name'], bytesIn: number): Slot {
    const slot: Slot = {
      name,
      startedMs: performance.now(),
      bytesIn,
      reply: undefined,
      outcome: 'ok',
      closeAfter: false
    }
    this.#slots.push(slot)
    return slot
  }

  #call(slot: Slot, handler: Handler, body: Buffer, content: IncomingContent): void {
    try {
      const reply = handler(body, new ConnectionCall(this, content, this.#signalOf))
      if (reply instanceof Promise) {
        reply.then(
          settled => this.#answer(slot, settled),
          error => this.#refuse(slot, error, false)
        )
      } else slot.reply = reply
    } catch (error) {
      this.#refuse(slot, error, false)
    }
  }

  #callWithContent(
    slot: Slot,
    handler: Handler,
    head: Buffer,
    contentBytes: number,
    chunk: Buffer,
    end: number
  ): number {
    const content = new IncomingContent(contentBytes, {
      pause: () => {
        this.#contentPaused = true
        this.#setPaused()
      },
      resume: () => {
        this.#contentPaused = false
        this.#goOn()
      }
    })
    const here = end < chunk.byteLength ? content.push(chunk.subarray(end)) : 0
    this.#content = content.remainingBytes > 0 ? content : undefined
    this.#contentBusy = true
    this.#call(slot, handler, head, content)
    if (slot.reply !== undefined) this.#contentDone(content)
    else this.#contentInHand = content
    return end + here
  }

  #contentInHand: IncomingContent | undefined

  /** The reply to a request with content is known: what is left of the content is dropped. */
  #contentDone(content: IncomingContent): void {
    this.#contentBusy = false
    this.#contentInHand = undefined
    this.#contentPaused = false
    if (this.#content !== content) return
    this.#content = undefined
    const left = content.remainingBytes
    content.drop()
    if (left > DROP_BYTES_MAX) this.#slots[0]!.closeAfter = true
    else this.#drop(left)
  }

  #drop(bytes: number): void {
    this.#dropBytes = bytes
    if (bytes > 0) this.#dropUntilMs = performance.now() + DROP_MS_MAX
  }

  #answer(slot: Slot, reply: Reply): void {
    slot.reply = reply
    if (this.#contentInHand && this.#slots[0] === slot) this.#contentDone(this.#contentInHand)
    this.#goOn()
  }

  #refuse(slot: Slot, error: unknown, framingLost: boolean): void {
    const known = error instanceof TributaryError ? error : undefined
    if (!known) this.#options.onFault?.(error)
    slot.outcome = known ? known.code : 'INTERNAL'
    const errno = this.ours
      ? known
        ? known.policy.wire
        : new UnavailableError('INTERNAL', '').policy.wire
      : ERRNO_UNSPECIFIED
    slot.reply = encodeErrorReply(
      REPLY_CODES[this.#options.role],
      errno,
      `[${this.#options.hostName}] ${known ? known.message : 'internal error'}`
    )
    slot.closeAfter = framingLost
    if (this.#contentInHand && this.#slots[0] === slot) this.#contentDone(this.#contentInHand)
    this.#goOn()
  }

  #greet(slot: Slot, body: Buffer): void {
    this.ours = true // whoever says HELLO reads the numbers of the error table
    try {
      checkGreeting(body, this.#options.greeting)
      slot.reply = replyOf(this.#options.role, encodeGreeting(this.#options.greeting))
    } catch (error) {
      this.#refuse(slot, error, true)
    }
  }

  /** Sends the replies that are ready, in request order. */
  #flush(): void {
    if (this.#pumping || this.#closed) return
    while (this.#slots.length > 0) {
      const slot = this.#slots[0]!
      const { reply } = slot
      if (reply === undefined) break
      this.#slots.shift()
      if (Buffer.isBuffer(reply)) {
        this.#out.push(reply)
        this.#outBytes += reply.byteLength
        this.#observe(slot, reply.byteLength)
      } else {
        this.#writeOut()
        this.#pump(slot, reply)
        return
      }
      if (slot.closeAfter) {
        this.#writeOut()
        this.#finish(LINGER_MS)
        return
      }
    }
    this.#writeOut()
    if (this.#slots.length > 0 || this.#contentInHand || this.#parsing) return
    if (this.#draining || (this.#ended && this.#rest === undefined)) this.#finish(0)
  }

  #writeOut(): void {
    const out = this.#out
    if (out.length === 0) return
    this.#out = []
    const bytes = this.#outBytes
    this.#outBytes = 0
    if (out.length === 1) this.#socket.write(out[0]!)
    else if (bytes <= JOIN_BYTES_MAX) this.#socket.write(Buffer.concat(out, bytes))
    else {
      this.#socket.cork()
      for (const buffer of out) this.#socket.write(buffer)
      this.#socket.uncork()
    }
  }

  #pump(slot: Slot, reply: StreamedReply): void {
    this.#pumping = true
    this.#socket.write(reply.head)
    reply.pump(this.#outlet).then(
      () => {
        this.#pumping = false
        this.#observe(slot, reply.head.byteLength + reply.contentBytes)
        this.#goOn()
      },
      error => {
        slot.outcome = error instanceof TributaryError ? error.code : 'INTERNAL'
        if (!(error instanceof TributaryError) && !this.#closed) this.#options.onFault?.(error)
        this.#observe(slot, reply.head.byteLength)
        this.cut() // the receiver was promised more bytes: only a reset tells the truth
      }
    )
  }

  #observe(slot: Slot, bytesOut: number): void {
    const { observe } = this.#options
    if (observe) observe(slot.name, slot.outcome, performance.now() - slot.startedMs, slot.bytesIn, bytesOut)
  }

  /** Something that held requests back has changed: parse on, flush, and read again where that is due. */
  #goOn(): void {
    if (this.#parsing || this.#closed) return
    this.#flush()
    if (this.#contentBusy && this.#contentInHand === undefined && this.#slots.length === 0)
      this.#contentBusy = false
    if (this.#rest !== undefined && !this.#mustWait() && !this.#closing) this.#parse(this.#rest)
    else this.#setPaused()
  }

  #setPaused(): void {
    if (this.#parsing) return
    const paused = this.#contentPaused || this.#rest !== undefined
    if (paused === this.#paused) return
    this.#paused = paused
    if (paused) this.#socket.pause()
    else {
      this.lastActiveMs = performance.now()
      this.#socket.resume()
    }
  }

  /** The peer closed its sending side; it still gets the replies that it is owed. */
  #onEnd(): void {
    this.#ended = true
    this.#stash = undefined
    this.#dropBytes = 0
    this.#content?.fail(senderGone())
    this.#content = undefined
    if (this.#closing) this.#socket.destroySoon()
    else this.#goOn()
  }

  /**
   * Says goodbye: no further request is read. What the peer still sends is dropped for a moment, so that it
   * does not reset our last reply away.
   */
  #finish(lingerMs: number): void {
    if (this.#closing) return
    this.#closing = true
    this.#rest = undefined
    if (this.#ended || lingerMs === 0) {
      this.#socket.destroySoon()
      return
    }
    this.#contentPaused = false
    this.#setPaused()
    this.#socket.end()
    const timer = setTimeout(() => this.#socket.destroy(), lingerMs)
    this.#closers ??= []
    this.#closers.push(() => clearTimeout(timer))
  }

  #onClose(): void {
    this.#closed = true
    this.#rest = undefined
    const gone = senderGone()
    this.#contentInHand?.fail(gone)
    this.#content?.fail(gone)
    this.#abort?.abort(gone)
    for (const slot of this.#slots) if (slot.reply && !Buffer.isBuffer(slot.reply)) slot.reply.abandon()
    for (const closer of this.#closers ?? []) closer()
    this.#onClosed(this)
  }

  readonly #signalOf = (): AbortSignal => {
    this.#abort ??= new AbortController()
    if (this.#closed) this.#abort.abort(senderGone())
    return this.#abort.signal
  }
}

/** Made per request: small, and its signal only where a handler asks for it. */
class ConnectionCall implements Call {
  readonly peer: Peer
  readonly content: IncomingContent
  readonly #signalOf: () => AbortSignal
  constructor(peer: Peer, content: IncomingContent, signalOf: () => AbortSignal) {
    this.peer = peer
    this.content = content
    this.#signalOf = signalOf
  }
  get signal(): AbortSignal {
    return this.#signalOf()
  }
}

const NO_CONTENT = new IncomingContent(0, { pause: () => {}, resume: () => {} })

/** Made once per server; HELLO has no handler of the server's. */
export function commandEntries(role: Role, handlers: Readonly<Record<string, Handler>>): CommandEntries {
  const entries: (Entry | undefined)[] = Array.from({ length: 256 })
  for (const [name, command] of Object.entries(COMMANDS) as [CommandName, Command][]) {
    if (command.role === role) entries[command.code] = { name, command, handler: handlers[name] }
  }
  return entries
}

/** Why a frame is refused by its header alone, or undefined. */
function refusalOf(
  entry: Entry | undefined,
  code: number,
  bodyBytes: number,
  ours: boolean
): ProtocolError | undefined {
  if (bodyBytes < 0) return new ProtocolError('NEGATIVE_LENGTH', 'invalid body length: it is negative')
  if (!entry) return new ProtocolError('UNKNOWN_COMMAND', `unknown command: ${code}`)
  const { command } = entry
  if (command.extension && !ours && command !== HELLO_OF[command.role]) {
    return new ProtocolError('UNKNOWN_COMMAND', `command ${code} needs HELLO first`)
  }
  if (bodyBytes === Infinity) return new ProtocolError('FRAME_TOO_LARGE', 'invalid body length: above 2^53')
  if (bodyBytes < command.bodyBytesMin || (bodyBytes > command.bodyBytesMax && !command.content)) {
    const expected =
      command.bodyBytesMin === command.bodyBytesMax
        ? `${command.bodyBytesMin}`
        : `${command.bodyBytesMin} to ${command.bodyBytesMax}`
    return new ProtocolError('BAD_BODY_LENGTH', `invalid body length: ${bodyBytes}, expected ${expected}`)
  }
  return undefined
}
