/** Sends an upload's body on a connection of its own, watching that it moves and that nobody refuses it meanwhile. */
import { COMMANDS, encodeHeader, UnavailableError } from '@tributary/protocol'
import type { Connection } from '@tributary/transport'
import type { SourceReader } from './contract.ts'
import { cancelledBy } from './retry-rules.ts'

/** Pieces of a body of unknown size: large enough to be cheap, small enough to hold a few. */
const PIECE_BYTES = 1024 * 1024
/** Pieces without an answer: the next one is on its way while the last is being written. */
const PIECES_IN_FLIGHT_MAX = 4
/** A transfer may take as long as it moves; a timer's longest span is the formal bound. */
const TRANSFER_MS_MAX = 0x7fff_ffff
const WATCH_INTERVAL_MS = 500

export interface SendTimes {
  silenceMs: number
  commitTimeoutMs: number
}

export interface SendHooks {
  onProgress(bytes: number): void
  /** Waits for the final reply; may give up before `commitTimeoutMs`, when nobody can be there to send it. */
  awaiting(reply: Promise<Buffer>): Promise<Buffer>
}

/** A failure before the last byte had left: nothing can have been stored. */
export class NotSentError extends Error {
  readonly failure: Error
  constructor(failure: Error) {
    super(failure.message, { cause: failure })
    this.failure = failure
  }
}

/** The last byte has left; what became of it is still to be heard. */
interface Sent {
  reply: Promise<Buffer>
}

/** The end of a body of unknown size is a frame of its own, and the last thing that is sent. */
const never = (): boolean => false

export class BodySender {
  readonly #connection: Connection
  readonly #times: SendTimes
  readonly #signal: AbortSignal | undefined
  readonly #hooks: SendHooks
  #interrupt: ((error: Error) => void) | undefined
  #refused: Error | undefined
  #unsentBytes = 0
  #movedMs = 0
  #waitingForSource = false
  #lastLeftMs: number | undefined
  /** What was sent before the part in hand has left its buffer. */
  #drained = false

  constructor(connection: Connection, times: SendTimes, signal: AbortSignal | undefined, hooks: SendHooks) {
    this.#connection = connection
    this.#times = times
    this.#signal = signal
    this.#hooks = hooks
  }

  /**
   * One frame whose body of `sizeBytes` `reader` gives; `head` is its header and what precedes the content.
   *
   * @returns The final reply's body.
   * @throws {NotSentError} the last byte did not leave. Anything else: the server's answer, or none came.
   */
  sendWhole(head: Buffer, sizeBytes: number, reader: SourceReader): Promise<Buffer> {
    let toSendBytes = sizeBytes
    // A server that has it all may store it, whatever fails after the last byte.
    const hasLeft = (): boolean => toSendBytes <= 0
    return this.#watched(hasLeft, async () => {
      const reply = this.#call(head)
      let sending: Promise<void> | undefined
      for (;;) {
        const part = await this.#next(reader, this.#drained)
        await sending
        if (this.#refused) throw this.#refused
        if (!part) return { reply }
        // The last bytes leave when the source has said that there are no more: otherwise it lied about its size.
        if (part.byteLength >= toSendBytes) await this.#next(reader, false)
        toSendBytes -= part.byteLength
        sending = this.#send(part)
        sending.catch(() => {}) // heard at the next turn
      }
    })
  }

  /** Pieces of a body of unknown size, and an empty one at the end; as sendWhole otherwise. */
  sendPieces(reader: SourceReader): Promise<Buffer> {
    return this.#watched(never, async () => {
      const answers: Promise<Buffer>[] = []
      let gathered: Buffer[] = []
      let gatheredBytes = 0
      const sendGathered = async (): Promise<void> => {
        const joined = gathered.length === 1 ? gathered[0]! : Buffer.concat(gathered)
        gathered = []
        gatheredBytes = 0
        for (let offset = 0; offset < joined.byteLength; offset += PIECE_BYTES) {
          if (answers.length >= PIECES_IN_FLIGHT_MAX) await answers.shift()
          if (this.#refused) throw this.#refused
          const piece = joined.subarray(offset, offset + PIECE_BYTES)
          answers.push(this.#call(encodeHeader(piece.byteLength, COMMANDS.STORE_BODY.code)))
          await this.#send(piece)
        }
      }
      for (;;) {
        const part = await this.#next(reader, false)
        if (this.#refused) throw this.#refused
        if (!part) break
        gathered.push(part)
        gatheredBytes += part.byteLength
        if (gatheredBytes >= PIECE_BYTES) await sendGathered()
      }
      await sendGathered()
      await Promise.all(answers)
      return { reply: this.#call(encodeHeader(0, COMMANDS.STORE_BODY.code)) }
    })
  }

  /** @param hasLeft Whether the server may have all of it, at a failure. */
  async #watched(hasLeft: () => boolean, send: () => Promise<Sent>): Promise<Buffer> {
    this.#movedMs = performance.now()
    const watch = setInterval(() => this.#look(), WATCH_INTERVAL_MS)
    const onAbort = (): void => this.#refuse(cancelledBy(this.#signal!))
    if (this.#signal?.aborted) onAbort()
    this.#signal?.addEventListener('abort', onAbort, { once: true })
    try {
      const { reply } = await send().catch((error: Error) => {
        const failure = this.#refused ?? error
        throw hasLeft() ? failure : new NotSentError(failure)
      })
      this.#lastLeftMs = performance.now()
      return await this.#hooks.awaiting(reply)
    } finally {
      clearInterval(watch)
      this.#signal?.removeEventListener('abort', onAbort)
    }
  }

  #call(frame: Buffer): Promise<Buffer> {
    const reply = this.#connection.call(frame, { timeoutMs: TRANSFER_MS_MAX })
    reply.catch((error: Error) => this.#refuse(error))
    return reply
  }

  async #next(reader: SourceReader, reusable: boolean): Promise<Buffer | undefined> {
    this.#waitingForSource = true
    try {
      // A source may be silent for ever: a refusal or a cancelled call ends the wait for it.
      return await new Promise((resolve, reject) => {
        this.#interrupt = reject
        if (this.#refused) return reject(this.#refused)
        reader.read(reusable).then(resolve, reject)
      })
    } finally {
      this.#interrupt = undefined
      this.#waitingForSource = false
      this.#movedMs = performance.now()
    }
  }

  #refuse(error: Error): void {
    this.#refused ??= error
    this.#interrupt?.(this.#refused)
  }

  async #send(part: Buffer): Promise<void> {
    const leaving = this.#connection.send(part)
    if (leaving) await leaving
    this.#drained = leaving !== undefined || this.#connection.unsentBytes === 0
    this.#hooks.onProgress(part.byteLength)
  }

  #look(): void {
    if (!this.#connection.alive) {
      this.#refuse(new UnavailableError('CONNECTION_LOST', `${this.#connection.name} closed the connection`))
    }
    const nowMs = performance.now()
    const { unsentBytes } = this.#connection
    if (this.#waitingForSource || unsentBytes !== this.#unsentBytes) this.#movedMs = nowMs
    this.#unsentBytes = unsentBytes
    const { silenceMs, commitTimeoutMs } = this.#times
    const left = this.#lastLeftMs !== undefined
    if (nowMs - (this.#lastLeftMs ?? this.#movedMs) < (left ? commitTimeoutMs : silenceMs)) return
    const what = left ? 'did not confirm the upload in time' : 'takes no more bytes'
    this.#connection.destroy(new UnavailableError('TIMED_OUT', `${this.#connection.name} ${what}`))
  }
}
