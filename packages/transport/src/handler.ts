/** What a server implements: a handler for every command of its role. */
import type { CommandsOf, Role } from '@tributary/protocol'
import type { IncomingContent } from './incoming-content.ts'
import type { Reply } from './reply.ts'

/** Who is on the other side of a connection, for as long as it lasts. */
export interface Peer {
  readonly ip: string
  readonly port: number
  /** A program of ours that sent HELLO. Legacy peers never do. */
  ours: boolean
  /** FEATURES of that program; 0 before its HELLO. */
  readonly features: number
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
/** What a connection itself answers. */
type HandshakeName = `${string}_HELLO` | `${string}_AUTHENTICATE`
export type Handlers<R extends Role> = Record<Exclude<CommandsOf<R>, HandshakeName>, Handler>
