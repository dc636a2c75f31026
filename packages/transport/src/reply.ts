/** What a handler answers: a whole frame, or a head followed by bytes that are pumped. */
import { encodeFrame, encodeHeader, REPLY_CODES, type Role } from '@tributary/protocol'

export interface Outlet {
  /**
   * Sends `bytes`; `done` is called when they have left and the buffer may be used again. Never call it while
   * an earlier one is not done: that is the back-pressure.
   *
   * `done` receives an error when the receiver is gone or stalled.
   */
  write(bytes: Buffer, done: (error?: Error | null) => void): void
}

export interface StreamedReply {
  /** Frame header and whatever precedes the content. It leaves together with the first piece. */
  readonly head: Buffer
  /** Bytes of content that `pump` must write after `head`, no more and no fewer. */
  readonly contentBytes: number
  /**
   * Rejects when it cannot go on. Before its first write that is answered by an error reply; later, framing is lost
   * and the connection is cut. Owns and closes its source.
   */
  pump(out: Outlet): Promise<void>
  /** Called instead of `pump` when the connection is gone before the reply's turn. */
  abandon(): void
}
export type Reply = Buffer | StreamedReply

/** A success reply with the given body parts. */
export function replyOf(role: Role, ...parts: readonly Uint8Array[]): Buffer {
  return encodeFrame(REPLY_CODES[role], ...parts)
}

/** The header of a success reply whose body of `bodyBytes` follows. */
export function replyHeader(role: Role, bodyBytes: number): Buffer {
  return encodeHeader(bodyBytes, REPLY_CODES[role])
}
