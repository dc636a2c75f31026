/** What a frame server is told, and its bounds. */
import type { CommandName, ErrorCode, Role } from '@tributary/protocol'
import type { Greeting } from './greeting.ts'
import type { Handlers, Peer } from './handler.ts'
import type { ServerTls } from './wire-tls.ts'

/** Called once for every request answered. `elapsedMs` ends when the reply is handed to the socket. */
export type CallObserver = (
  command: CommandName | 'UNKNOWN',
  outcome: 'ok' | ErrorCode,
  elapsedMs: number,
  bytesIn: number,
  bytesOut: number
) => void

export interface FrameServerOptions<R extends Role> {
  role: R
  /** Put in front of error texts, in square brackets. */
  hostName: string
  handlers: Handlers<R>
  greeting: Greeting
  /** Peers whose address it refuses are closed at once. */
  allows?: (ip: string) => boolean
  /**
   * Where the greeting has a cluster key: peers that prove nothing, and are served published commands all the same. Default:
   * none.
   */
  allowsLegacy?: ((ip: string) => boolean) | undefined
  /** It speaks TLS. */
  tls?: ServerTls | undefined
  /** Reached: the longest idle connection makes room; where none is idle, the newcomer is refused. */
  connectionsMax?: number
  /** Silence inside a frame after which a peer is given up. */
  silenceMs?: number
  /** A receiver that takes nothing for so long is given up. */
  stallMs?: number
  /** Whether a peer is in the middle of something although no request of its is in hand. */
  isBusy?: (peer: Peer) => boolean
  /** Whether what is read at this moment of the monotonic clock may be too old to be carried out: a peer whose request would be whole is cut. */
  distrusts?: (nowMs: number) => boolean
  observe?: CallObserver
  /** A fault of ours behind an INTERNAL reply. */
  onFault?: (error: unknown) => void
}

export const CONNECTIONS_MAX = 10_000
export const SILENCE_MS = 30_000
export const STALL_MS = 120_000
