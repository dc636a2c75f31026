/**
 * Notices that this process stood still: it was frozen, or its event loop was blocked. Clients take a server that is silent
 * for 2.5 s for gone, and do elsewhere what they had asked of it. What they had sent still lies in the sockets when the
 * process goes on, or was taken up just before: to carry it out then would bring back what was deleted meanwhile.
 */
import { UnavailableError } from '@tributary/protocol'

/** Shorter than any client's patience, longer than work of ours takes. */
export const STANDSTILL_MS = 1_500
const TICK_MS = 100
/** So long after it what is read may be older than it. */
const DOUBT_MS = 100

export class Standstill {
  readonly #timer: NodeJS.Timeout
  #tickMs = performance.now()
  #endedMs = -Infinity

  constructor() {
    this.#timer = setInterval(() => this.#look(), TICK_MS)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** It has just ended: what is read now may have been given up by whoever sent it. */
  justEnded(nowMs: number): boolean {
    // Sockets are read before the timer's turn comes.
    return nowMs - this.#tickMs > STANDSTILL_MS || nowMs - this.#endedMs < DOUBT_MS
  }

  /** @returns why nothing may be stored any more for a request that was whole at `sinceMs`; undefined: it may. */
  refusal(sinceMs: number): UnavailableError | undefined {
    this.#look()
    if (this.#endedMs < sinceMs) return undefined
    return new UnavailableError(
      'OVERLOADED',
      'this server stood still meanwhile, and stores nothing of before'
    )
  }

  #look(): void {
    const nowMs = performance.now()
    if (nowMs - this.#tickMs > STANDSTILL_MS) this.#endedMs = nowMs
    this.#tickMs = nowMs
  }
}
