import { systemClock, type Clock } from './clock.ts'
import type { Log, LogFields } from './log.ts'

export interface LogThrottleOptions {
  clock?: Clock
  /** One line per key in this time. */
  intervalMs?: number
  /** Lines of all keys together in this time: a hostile peer has many addresses. */
  linesMax?: number
  /** Keys remembered; beyond it the oldest is forgotten, and `linesMax` still holds. */
  keysMax?: number
}

interface Seen {
  atMs: number
  suppressed: number
}

/**
 * Logs what a peer can cause as often as it likes, without letting it fill the disk: the first of each key at
 * once, then at most one per interval with the number left out in between.
 *
 * @example throttle.warn('bad frame', { peer: ip }, 'connection closed')   // per peer: key `bad frame ${ip}`
 */
export class LogThrottle {
  readonly #log: Log
  readonly #clock: Clock
  readonly #intervalMs: number
  readonly #linesMax: number
  readonly #keysMax: number
  readonly #seen = new Map<string, Seen>()
  #windowStartMs: number
  #linesInWindow = 0
  #overflow = 0

  constructor(log: Log, options: LogThrottleOptions = {}) {
    this.#log = log
    this.#clock = options.clock ?? systemClock()
    this.#intervalMs = options.intervalMs ?? 60_000
    this.#linesMax = options.linesMax ?? 60
    this.#keysMax = options.keysMax ?? 1_000
    this.#windowStartMs = this.#clock.monotonicMs()
  }

  error(key: string, fields: LogFields, message: string): void {
    this.#write('error', key, fields, message)
  }

  warn(key: string, fields: LogFields, message: string): void {
    this.#write('warn', key, fields, message)
  }

  info(key: string, fields: LogFields, message: string): void {
    this.#write('info', key, fields, message)
  }

  #write(level: 'error' | 'warn' | 'info', key: string, fields: LogFields, message: string): void {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#windowStartMs >= this.#intervalMs) {
      if (this.#overflow > 0) {
        this.#log.warn({ suppressed: this.#overflow }, 'too many different warnings; some were left out')
      }
      this.#windowStartMs = nowMs
      this.#linesInWindow = 0
      this.#overflow = 0
    }
    const seen = this.#seen.get(key)
    if (seen && nowMs - seen.atMs < this.#intervalMs) {
      seen.suppressed++
      return
    }
    if (this.#linesInWindow >= this.#linesMax) {
      this.#overflow++
      return
    }
    this.#linesInWindow++
    this.#seen.delete(key)
    if (this.#seen.size >= this.#keysMax) {
      const [oldest] = this.#seen.keys()
      if (oldest !== undefined) this.#seen.delete(oldest)
    }
    this.#seen.set(key, { atMs: nowMs, suppressed: 0 })
    this.#log[level](seen?.suppressed ? { ...fields, suppressed: seen.suppressed } : fields, message)
  }
}
