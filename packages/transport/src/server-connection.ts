/**
 * One accepted connection: cuts its byte stream into frames, calls the handlers, and sends the replies in
 * request order. Requests may be pipelined; those with content are served one at a time.
 *
 * Bytes go one way: 'data' → #rest → #parse → a handler → #slots (or straight to #out) → #flush → socket.
 * Whatever changes calls #goOn, which moves everything on as far as it can.
 */
import { setMaxListeners } from 'node:events'
import type { Socket } from 'node:net'
import {
  AUTHENTICATE_OF,
  COMMANDS,
  encodeErrorReply,
  ERRNO_UNSPECIFIED,
  ERRORS,
  extension,
  HEADER_BYTES,
  HELLO_OF,
  InvariantError,
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
import { SILENCE_MS, STALL_MS, type FrameServerOptions } from './frame-server-options.ts'
import { bindingOf, isProof, proofOf, type ProofOf } from './authentication.ts'
import { checkGreeting, encodeGreeting, makeNonce } from './greeting.ts'
import type { Call, Handler, Peer } from './handler.ts'
import { IncomingContent, senderGone } from './incoming-content.ts'
import { replyOf, type Reply, type StreamedReply } from './reply.ts'
import { ReplyOutlet } from './reply-outlet.ts'
import { Stash } from './stash.ts'

/** Requests of one connection that may wait for their reply; more are left in the socket. */
const PIPELINE_DEPTH_MAX = 64
/** Replies that a slow receiver may leave in memory before its requests are left in the socket. */
const OUTPUT_BYTES_MAX = 1024 * 1024
/** Of a refused request's content so much, or for so long, is read and dropped, so that the reply is not lost in a reset. */
const DROP_BYTES_MAX = 64 * 1024 * 1024
const DROP_MS_MAX = 5_000
/** After our last reply, how long a peer that is still sending may take to close its side. */
const LINGER_MS = 5_000
/** The same while the server stops. */
const DRAIN_LINGER_MS = 500
/** Body of an unknown command that is read and dropped; with a longer one the connection is closed. */
const UNKNOWN_BODY_BYTES_MAX = 64 * 1024
/** Small replies of one moment are joined into one write up to this size. */
const JOIN_BYTES_MAX = 64 * 1024

interface Entry {
  name: CommandName
  command: Command
  /** Undefined for HELLO and AUTHENTICATE alone. */
  handler: Handler | undefined
}
/** What a server does with each of the 256 command codes. */
export type CommandEntries = readonly (Entry | undefined)[]

type Outcome = 'ok' | ErrorCode

/** A request whose reply is not sent yet. */
interface Slot {
  readonly name: CommandName | 'UNKNOWN'
  readonly startedMs: number
  readonly bytesIn: number
  readonly content: IncomingContent | undefined
  reply: Reply | undefined
  outcome: Outcome
  /** The connection cannot go on after this reply. */
  closeAfter: boolean
}

export class ServerConnection<R extends Role> implements Peer {
  readonly ip: string
  readonly port: number
  ours = false
  features = 0
  /** It proved that it knows the cluster key, or there is none. */
  #trusted: boolean
  /** Of both HELLOs. */
  #nonces: { client: string; server: string } | undefined
  lastActiveMs = performance.now()
  readonly #socket: Socket
  readonly #options: FrameServerOptions<R>
  readonly #entries: CommandEntries
  readonly #onClosed: (connection: ServerConnection<R>) => void
  /** Shared by all requests without content. */
  readonly #call = new ConnectionCall(this, NO_CONTENT, () => this.#signal())
  #notes: Map<unknown, unknown> | undefined
  #closers: (() => void)[] | undefined
  #abort: AbortController | undefined

  /** Bytes received but not parsed, while requests are held back; begins where a frame does. */
  #rest: Buffer | undefined
  /** An incomplete head. */
  #stash: Stash | undefined
  /** Of the request in hand, until its reply is known; no other one is served meanwhile. */
  #content: IncomingContent | undefined
  /** Content that nobody wants and that is still to come. */
  #dropBytes = 0
  /** Where the next frame begins is unknown: nothing more is parsed. */
  #lost = false

  readonly #slots: Slot[] = []
  /** Its reply is on its way out, piece by piece. */
  #pumped: Slot | undefined
  #out: Buffer[] = []
  #outBytes = 0

  #working = false
  #paused = false
  #watchesStall = false
  /** The sweep cuts then; 0 = not at all. */
  #cutAtMs = 0
  #lingerBytes = 0
  #draining = false
  /** The peer closed its sending side. */
  #ended = false
  /** We closed ours. */
  #closing = false
  #closed = false

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
    this.#trusted = options.greeting.clusterKey === undefined
    this.#entries = entries
    this.#onClosed = onClosed
    socket.on('data', chunk => this.#onData(chunk as Buffer))
    socket.on('end', () => this.#onEnd())
    socket.on('drain', () => this.#goOn())
    socket.on('timeout', () => this.#onStall())
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

  /** Nothing is half received, nothing is owed, nothing is on its way out. */
  get idle(): boolean {
    return !this.#inFrame && this.#rest === undefined && !this.#owes && !this.#socket.destroyed
  }

  /** When the oldest request came whose reply has not left; on the monotonic clock. */
  get inHandSinceMs(): number | undefined {
    return (this.#pumped ?? this.#slots[0])?.startedMs
  }

  /** A reply is to be made or still on its way out. */
  get #owes(): boolean {
    return this.#slots.length > 0 || this.#pumped !== undefined || this.#socket.writableLength > 0
  }

  /** The server stops, and the peer is not in the middle of something that takes another request. */
  get #leaves(): boolean {
    return this.#draining && this.#options.isBusy?.(this) !== true
  }

  /** Ends after the reply in hand, and after what that is only the beginning of. */
  drain(): void {
    this.#draining = true
    if (this.#leaves && !this.#owes && this.#dropBytes === 0 && !this.#closing) this.#takeLeave(0)
    else if (this.#closing) this.#cutAtMs = Math.min(this.#cutAtMs, performance.now() + DRAIN_LINGER_MS)
    else this.#goOn()
  }

  /** Ends now. */
  cut(): void {
    this.#socket.destroy()
  }

  /** Gives up a peer that fell silent inside a frame, takes nothing of its reply, or overstays a drop. */
  sweep(nowMs: number): void {
    if (this.#cutAtMs > 0 && nowMs >= this.#cutAtMs) return this.cut()
    const silentMs = nowMs - this.lastActiveMs
    if (silentMs > (this.#options.silenceMs ?? SILENCE_MS) && this.#inFrame && !this.#paused)
      return this.cut()
    const owes = this.#socket.writableLength > 0
    if (owes === this.#watchesStall) return
    this.#watchesStall = owes
    // The socket's own timer sees the progress of a write that is half done; on only where output waits.
    this.#socket.setTimeout(owes ? (this.#options.stallMs ?? STALL_MS) : 0)
  }

  #onStall(): void {
    if (this.#socket.writableLength > 0) this.cut()
  }

  /** The peer is expected to send more of what it began. */
  get #inFrame(): boolean {
    const contentBytes = this.#content === undefined ? 0 : this.#content.remainingBytes
    return this.#stash !== undefined || contentBytes > 0 || this.#dropBytes > 0
  }

  #onData(chunk: Buffer): void {
    this.lastActiveMs = performance.now()
    if (this.#closing) {
      this.#lingerBytes += chunk.byteLength
      if (this.#lingerBytes > DROP_BYTES_MAX) this.cut()
      return
    }
    // One in the middle of a body was not given up: its sender had not come to wait for the reply.
    const isMore = this.#content !== undefined && this.#content.remainingBytes > chunk.byteLength
    if (!isMore && this.#options.distrusts?.(this.lastActiveMs)) return this.cut()
    this.#rest = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk])
    this.#goOn()
  }

  /** Moves everything on as far as it can: replies out, then requests in, until neither changes anything. */
  #goOn(): void {
    if (this.#working || this.#closed) return
    this.#working = true
    for (;;) {
      this.#flush()
      const rest = this.#rest
      if (rest === undefined || this.#closing) break
      this.#rest = this.#parse(rest)
      if (this.#rest !== undefined && this.#rest.byteLength >= rest.byteLength) break
    }
    this.#working = false
    this.#setPaused()
  }

  /** Consumes `chunk`; returns what has to wait. */
  #parse(chunk: Buffer): Buffer | undefined {
    let offset = 0
    while (offset < chunk.byteLength) {
      if (this.#lost) return undefined
      if (this.#content !== undefined && this.#content.remainingBytes > 0) {
        offset += this.#content.push(offset === 0 ? chunk : chunk.subarray(offset))
      } else if (this.#dropBytes > 0) {
        const bytes = Math.min(this.#dropBytes, chunk.byteLength - offset)
        offset += bytes
        this.#dropBytes -= bytes
        if (this.#dropBytes === 0) this.#cutAtMs = 0
      } else {
        const next = this.#mustWait() ? HELD : this.#parseFrame(chunk, offset)
        if (next === HELD) return this.#unparsed(chunk, offset)
        offset = next
      }
    }
    return undefined
  }

  #mustWait(): boolean {
    return (
      this.#content !== undefined ||
      this.#leaves ||
      this.#slots.length >= PIPELINE_DEPTH_MAX ||
      this.#outBytes + this.#socket.writableLength > OUTPUT_BYTES_MAX
    )
  }

  /** What is not parsed of `chunk`, together with what was stashed in front of it. */
  #unparsed(chunk: Buffer, offset: number): Buffer {
    const rest = offset === 0 ? chunk : chunk.subarray(offset)
    const stash = this.#stash
    if (stash === undefined) return rest
    this.#stash = undefined
    return Buffer.concat([stash.gathered, rest])
  }

  /** Serves the frame at `offset`, or stashes what is here of it. Returns where to go on, or HELD. */
  #parseFrame(chunk: Buffer, offset: number): number {
    const stashedBytes = this.#stash === undefined ? 0 : this.#stash.bytes
    let source = chunk
    let headerAt = offset
    let end = offset + HEADER_BYTES
    if (stashedBytes > 0 || end > chunk.byteLength) {
      const stash = (this.#stash ??= new Stash())
      end = stash.fill(chunk, offset, HEADER_BYTES)
      if (stash.bytes < HEADER_BYTES) return end
      source = stash.gathered
      headerAt = 0
    }
    const code = source[headerAt + 8]!
    const bodyBytes = readBodyBytes(source, headerAt)
    const entry = this.#entries[code]
    const refusal = refusalOf(entry, code, bodyBytes, this.ours) ?? this.#distrustOf(entry!.command)
    if (refusal !== undefined) {
      this.#stash = undefined
      this.#refuseFrame(entry, refusal, bodyBytes)
      return end
    }
    const { command } = entry!
    const hasContent = command.content === true
    if (hasContent && (this.#slots.length > 0 || this.#pumped)) {
      // Content is served alone: the requests before it are answered first.
      this.#stash?.rewind(stashedBytes)
      return HELD
    }
    const headBytes = hasContent ? command.bodyBytesMax : bodyBytes
    let body: Buffer
    if (this.#stash !== undefined || end + headBytes > chunk.byteLength) {
      const stash = (this.#stash ??= new Stash())
      end = stash.fill(chunk, stash.bytes === 0 ? offset : end, HEADER_BYTES + headBytes)
      if (stash.bytes < HEADER_BYTES + headBytes) return end
      body = stash.gathered.subarray(HEADER_BYTES)
      this.#stash = undefined
    } else {
      body = chunk.subarray(end, end + headBytes)
      end += headBytes
    }
    if (hasContent) return this.#serveContent(entry!, body, bodyBytes - headBytes, chunk, end)
    this.#serve(entry!, body)
    return end
  }

  #serve(entry: Entry, body: Buffer): void {
    let reply: Reply
    let outcome: Outcome = 'ok'
    let closeAfter = false
    try {
      const answer = entry.handler === undefined ? this.#shake(entry, body) : entry.handler(body, this.#call)
      if (!isFrame(answer) && isPromise(answer)) {
        const slot = this.#newSlot(entry.name, HEADER_BYTES + body.byteLength, undefined)
        this.#await(slot, answer)
        return
      }
      reply = answer
    } catch (error) {
      reply = this.#errorReply(error)
      outcome = outcomeOf(error)
      closeAfter = entry.handler === undefined
    }
    if (isFrame(reply) && !closeAfter && this.#slots.length === 0 && !this.#pumped) {
      this.#out.push(reply)
      this.#outBytes += reply.byteLength
      this.#observe(entry.name, outcome, this.lastActiveMs, HEADER_BYTES + body.byteLength, reply.byteLength)
      return
    }
    const slot = this.#newSlot(entry.name, HEADER_BYTES + body.byteLength, undefined)
    slot.outcome = outcome
    slot.closeAfter = closeAfter
    this.#answer(slot, reply)
  }

  #serveContent(entry: Entry, head: Buffer, contentBytes: number, chunk: Buffer, end: number): number {
    const content = new IncomingContent(contentBytes, () => this.#goOn())
    const slot = this.#newSlot(entry.name, HEADER_BYTES + head.byteLength + contentBytes, content)
    this.#content = content
    // What is here of it comes first: a small upload is whole when its handler is called.
    const hereBytes = contentBytes > 0 && end < chunk.byteLength ? content.push(chunk.subarray(end)) : 0
    try {
      const answer = entry.handler!(head, new ConnectionCall(this, content, () => this.#signal()))
      if (isPromise(answer)) this.#await(slot, answer)
      else this.#answer(slot, answer)
    } catch (error) {
      this.#answerError(slot, error)
    }
    return end + hereBytes
  }

  #newSlot(name: Slot['name'], bytesIn: number, content: IncomingContent | undefined): Slot {
    const slot: Slot = {
      name,
      startedMs: this.lastActiveMs,
      bytesIn,
      content,
      reply: undefined,
      outcome: 'ok',
      closeAfter: false
    }
    this.#slots.push(slot)
    return slot
  }

  /** A frame that is refused by its header: its body is dropped, or the connection ends with the reply. */
  #refuseFrame(entry: Entry | undefined, refusal: ProtocolError, bodyBytes: number): void {
    const slot = this.#newSlot(entry ? entry.name : 'UNKNOWN', HEADER_BYTES, undefined)
    slot.reply = this.#errorReply(refusal)
    slot.outcome = refusal.code
    const droppedBytesMax = entry ? DROP_BYTES_MAX : UNKNOWN_BODY_BYTES_MAX
    if (bodyBytes < 0 || bodyBytes > droppedBytesMax) this.#lose(slot)
    else this.#drop(bodyBytes)
  }

  #await(slot: Slot, answer: Promise<Reply>): void {
    answer.then(
      reply => this.#answer(slot, reply),
      error => this.#answerError(slot, error)
    )
  }

  #answer(slot: Slot, reply: Reply): void {
    if (!isFrame(reply) && typeof reply?.pump !== 'function') {
      this.#answerError(slot, new InvariantError(`a handler of ${slot.name} answered with no reply`))
      return
    }
    if (this.#closed) {
      if (!isFrame(reply)) reply.abandon()
      return
    }
    slot.reply = reply
    if (slot.content) this.#contentDone(slot, slot.content)
    this.#goOn()
  }

  #answerError(slot: Slot, error: unknown): void {
    slot.outcome = outcomeOf(error)
    this.#answer(slot, this.#errorReply(error))
  }

  #errorReply(error: unknown): Buffer {
    const expected = error instanceof TributaryError
    if (!expected) this.#options.onFault?.(error)
    return encodeErrorReply(
      REPLY_CODES[this.#options.role],
      this.ours ? ERRORS[outcomeOf(error)].wire : ERRNO_UNSPECIFIED,
      `[${this.#options.hostName}] ${expected ? error.message : 'internal error'}`
    )
  }

  #shake({ command }: Entry, body: Buffer): Buffer {
    return command === HELLO_OF[command.role] ? this.#greet(body) : this.#authenticate(body)
  }

  #greet(body: Buffer): Buffer {
    this.ours = true // whoever says HELLO reads the numbers of the error table
    const { role, greeting } = this.#options
    const { features, nonce } = checkGreeting(body, greeting)
    this.features = features
    this.#nonces = { client: nonce, server: makeNonce() }
    return replyOf(role, encodeGreeting(greeting, this.#nonces.server))
  }

  #authenticate(body: Buffer): Buffer {
    const { role, greeting } = this.#options
    const { clusterKey } = greeting
    const nonces = this.#nonces
    if (clusterKey === undefined || nonces === undefined) {
      throw new ProtocolError('NOT_AUTHENTICATED', 'there is no cluster key here to be proved')
    }
    this.#nonces = undefined // one proof for one HELLO
    const of: ProofOf = {
      side: 'client',
      role,
      clientNonce: nonces.client,
      serverNonce: nonces.server,
      binding: bindingOf(this.#socket)
    }
    if (!isProof(extension.authenticate.decode(body).proof, clusterKey, of)) {
      throw new ProtocolError('NOT_AUTHENTICATED', 'the peer has another cluster key')
    }
    this.#trusted = true
    const proof = proofOf(clusterKey, { ...of, side: 'server' })
    return replyOf(role, extension.authenticate.encode({ proof }))
  }

  /** Where there is a cluster key, only its holders are served, and legacy peers from where they are let in. */
  #distrustOf(command: Command): ProtocolError | undefined {
    if (this.#trusted || command === HELLO_OF[command.role] || command === AUTHENTICATE_OF[command.role])
      return undefined
    if (!this.ours && command.extension !== true && this.#options.allowsLegacy?.(this.ip)) return undefined
    return new ProtocolError('NOT_AUTHENTICATED', 'this server wants proof of the cluster key first')
  }

  /** The reply to a request with content is known: what is left of the content is dropped. */
  #contentDone(slot: Slot, content: IncomingContent): void {
    this.#content = undefined
    const leftBytes = this.#ended ? 0 : content.remainingBytes
    content.drop()
    if (leftBytes > DROP_BYTES_MAX) this.#lose(slot)
    else this.#drop(leftBytes)
  }

  #drop(bytes: number): void {
    this.#dropBytes = bytes
    if (bytes > 0) this.#cutAtMs = performance.now() + DROP_MS_MAX
  }

  #lose(slot: Slot): void {
    this.#lost = true
    slot.closeAfter = true
  }

  /** Sends the replies that are ready, in request order; says goodbye when none is to follow. */
  #flush(): void {
    while (this.#slots.length > 0 && !this.#pumped && !this.#closing) {
      const slot = this.#slots[0]!
      const { reply } = slot
      if (reply === undefined) break
      this.#slots.shift()
      if (isFrame(reply)) {
        this.#out.push(reply)
        this.#outBytes += reply.byteLength
        this.#observe(slot.name, slot.outcome, slot.startedMs, slot.bytesIn, reply.byteLength)
        if (slot.closeAfter) {
          this.#writeOut()
          this.#sayGoodbye(LINGER_MS)
        }
      } else {
        this.#writeOut()
        this.#pump(slot, reply)
      }
    }
    if (this.#outBytes > 0) this.#writeOut()
    if (this.#slots.length > 0 || this.#pumped || this.#content !== undefined || this.#closing) return
    if (this.#leaves) this.#takeLeave(DRAIN_LINGER_MS)
    else if (this.#ended && this.#rest === undefined) this.#sayGoodbye(0)
  }

  #writeOut(): void {
    const out = this.#out
    if (out.length === 0) return
    const bytes = this.#outBytes
    this.#outBytes = 0
    if (out.length === 1) {
      this.#socket.write(out[0]!)
      out.length = 0
      return
    }
    this.#out = []
    if (bytes <= JOIN_BYTES_MAX) this.#socket.write(Buffer.concat(out, bytes))
    else {
      this.#socket.cork()
      for (const buffer of out) this.#socket.write(buffer)
      this.#socket.uncork()
    }
  }

  #pump(slot: Slot, reply: StreamedReply): void {
    this.#pumped = slot
    const outlet = new ReplyOutlet(this.#socket, reply)
    pumpAll(reply, outlet).then(
      () => {
        this.#observe(
          slot.name,
          slot.outcome,
          slot.startedMs,
          slot.bytesIn,
          reply.head.byteLength + reply.contentBytes
        )
        this.#pumpDone()
      },
      error => {
        if (this.#socket.destroyed) return // the receiver went away: no fault of ours
        if (outlet.untouched) {
          slot.outcome = outcomeOf(error)
          slot.reply = this.#errorReply(error)
          this.#slots.unshift(slot)
          this.#pumpDone()
          return
        }
        if (!(error instanceof TributaryError)) this.#options.onFault?.(error)
        this.#observe(slot.name, outcomeOf(error), slot.startedMs, slot.bytesIn, reply.head.byteLength)
        this.cut() // the receiver was promised more bytes: only the end of the connection tells the truth
      }
    )
  }

  #pumpDone(): void {
    this.#pumped = undefined
    this.lastActiveMs = performance.now()
    this.#goOn()
  }

  #observe(name: Slot['name'], outcome: Outcome, startedMs: number, bytesIn: number, bytesOut: number): void {
    const { observe } = this.#options
    if (observe) observe(name, outcome, performance.now() - startedMs, bytesIn, bytesOut)
  }

  #setPaused(): void {
    const paused =
      !this.#closing &&
      (this.#rest !== undefined || this.#lost || (this.#content !== undefined && this.#content.holds))
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
    if (this.#closing) this.#socket.destroySoon()
    else {
      this.#cutAtMs = 0
      this.#content?.fail(senderGone())
      this.#goOn()
    }
  }

  /**
   * The server stops, and nothing is owed. What the peer has sent meanwhile is not read any more; from the end of a connection
   * alone it could not know whether that was done, so whoever understands it is told.
   */
  #takeLeave(lingerMs: number): void {
    if ((this.features & extension.FEATURES.GOODBYE) === 0) return this.#sayGoodbye(lingerMs)
    this.#socket.write(this.#errorReply(new UnavailableError('SHUTTING_DOWN', 'the server is shutting down')))
    // Closed under a request that comes now, the connection would be reset, and this reply with it.
    this.#sayGoodbye(DRAIN_LINGER_MS)
  }

  /**
   * Closes our side: no further request is read. What the peer still sends is dropped for a moment, because closing
   * the socket under it would reset our last reply away.
   */
  #sayGoodbye(lingerMs: number): void {
    this.#closing = true
    this.#rest = undefined
    this.#stash = undefined
    this.#dropBytes = 0
    if (this.#ended || lingerMs === 0) this.#socket.destroySoon()
    else {
      this.#cutAtMs = performance.now() + lingerMs
      this.#socket.end()
    }
  }

  #onClose(): void {
    this.#closed = true
    this.#rest = undefined
    const gone = senderGone()
    this.#content?.fail(gone)
    this.#abort?.abort(gone)
    for (const { reply } of this.#slots) if (reply && !isFrame(reply)) reply.abandon()
    this.#slots.length = 0
    for (const closer of this.#closers ?? []) closer()
    this.#onClosed(this)
  }

  #signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      setMaxListeners(0, this.#abort.signal) // one signal for all requests in hand, each with listeners of its own
      if (this.#closed) this.#abort.abort(senderGone())
    }
    return this.#abort.signal
  }
}

/** What a handler learns about its request; the signal is made only where a handler asks for it. */
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

/** #parseFrame's answer when a frame has to wait for those before it. */
const HELD = -1
const NO_CONTENT = new IncomingContent(0)

/** Made once per server; HELLO has no handler of the server's. */
export function commandEntries(role: Role, handlers: Readonly<Record<string, Handler>>): CommandEntries {
  const entries: (Entry | undefined)[] = Array.from({ length: 256 })
  for (const [name, command] of Object.entries(COMMANDS) as [CommandName, Command][]) {
    const isHandshake = command === HELLO_OF[role] || command === AUTHENTICATE_OF[role]
    if (command.role !== role || (!isHandshake && !handlers[name])) continue
    entries[command.code] = { name, command, handler: isHandshake ? undefined : handlers[name] }
  }
  return entries
}

/** Also turns what a pump throws before its first await into a rejection. */
async function pumpAll(reply: StreamedReply, outlet: ReplyOutlet): Promise<void> {
  await reply.pump(outlet)
  outlet.close()
}

function isFrame(reply: unknown): reply is Buffer {
  return reply instanceof Buffer
}

function isPromise(answer: Reply | Promise<Reply>): answer is Promise<Reply> {
  return typeof (answer as Promise<Reply>)?.then === 'function'
}

function outcomeOf(error: unknown): ErrorCode {
  return error instanceof TributaryError ? error.code : 'INTERNAL'
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
