import { setTimeout as wait } from 'node:timers/promises'

/** Where a server gets the time from; tests hand in a `ManualClock`. */
export interface Clock {
  /** Milliseconds since 1970 UTC. For what is stored or shown; may jump when the machine's time is set. */
  nowMs(): number
  /** Milliseconds from an unknown start, never going back. For deadlines, heartbeats and durations. */
  monotonicMs(): number
  /**
   * Resolves after `ms` milliseconds, at once for 0 or less.
   *
   * @throws {DOMException} the signal's reason, as soon as it aborts.
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** Longer timers wrap around to 1 ms in Node, so a longer sleep is cut into pieces of this. */
const TIMER_MS_MAX = 2 ** 31 - 1

class SystemClock implements Clock {
  nowMs(): number {
    return Date.now()
  }

  monotonicMs(): number {
    return performance.now()
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    let leftMs = ms
    while (leftMs > 0) {
      const pieceMs = Math.min(leftMs, TIMER_MS_MAX)
      try {
        await wait(pieceMs, undefined, { signal })
      } catch (error) {
        signal?.throwIfAborted() // the reason itself, not Node's wrapping of it
        throw error
      }
      leftMs -= pieceMs
    }
  }
}

/** The machine's own clock. */
export function systemClock(): Clock {
  return new SystemClock()
}

interface Sleeper {
  wakeAtMs: number
  wake: () => void
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #monotonicMs = 0
  #nowMs: number
  readonly #sleepers = new Set<Sleeper>()

  /** @param nowMs  the UNIX time it starts at, in milliseconds. */
  constructor(nowMs = 1_700_000_000_000) {
    this.#nowMs = nowMs
  }

  nowMs(): number {
    return this.#nowMs
  }

  monotonicMs(): number {
    return this.#monotonicMs
  }

  /** How many `sleep` calls have not woken yet. */
  get sleeping(): number {
    return this.#sleepers.size
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    if (ms <= 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#sleepers.delete(sleeper)
        reject(signal?.reason as Error)
      }
      const sleeper = {
        wakeAtMs: this.#monotonicMs + ms,
        wake: () => {
          signal?.removeEventListener('abort', onAbort)
          resolve()
        }
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#sleepers.add(sleeper)
    })
  }

  /**
   * Moves both clocks on by `ms`, waking sleepers in the order they are due. What a woken sleeper does
   * next happens before the following one wakes, so a loop that sleeps again is woken again.
   */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#monotonicMs + ms
    for (;;) {
      let next: Sleeper | undefined
      for (const sleeper of this.#sleepers) {
        if (sleeper.wakeAtMs <= untilMs && (!next || sleeper.wakeAtMs < next.wakeAtMs)) next = sleeper
      }
      if (!next) break
      this.#moveTo(next.wakeAtMs)
      this.#sleepers.delete(next)
      next.wake()
      await new Promise(resolve => setImmediate(resolve))
    }
    this.#moveTo(untilMs)
    await new Promise(resolve => setImmediate(resolve))
  }

  /** Sets the UNIX time alone, as an operator or NTP would; the monotonic clock does not notice. */
  setNowMs(nowMs: number): void {
    this.#nowMs = nowMs
  }

  #moveTo(monotonicMs: number): void {
    this.#nowMs += monotonicMs - this.#monotonicMs
    this.#monotonicMs = monotonicMs
  }
}
