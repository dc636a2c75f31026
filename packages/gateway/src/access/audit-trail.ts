/** What was changed and what was refused, on its way to the index. It never holds a request up. */
import { randomBytes } from 'node:crypto'
import { AUDIT_BATCH_MAX, type AuditEntry } from '@tributary/calls'
import type { Clock, Log } from '@tributary/runtime'
import type { FileService } from '../file-service.ts'
import { customerOf } from './client-address.ts'
import { TokenBuckets } from './token-bucket.ts'

const FLUSH_INTERVAL_MS = 1_000
/** Entries that wait while no tracker answers; of more, each goes to the log alone. */
const WAITING_MAX = 5_000
const TEXT_LENGTH_MAX = 250
const ID_BYTES = 8
/** Refusals of one address within this time count as one entry: a scan fills no log. */
const SAME_WITHIN_MS = 10_000
const SAME_MAX = 5_000
/** Of one customer, whatever they ask for: more are not noted. */
const REFUSALS_PER_S = 1 / 10
const REFUSALS_BURST = 20
/** Of all who have no token together: the log has a bound, and strangers are not to push out what others did. */
const STRANGERS_PER_S = 1
const STRANGERS_BURST = 1_000

export class AuditTrail {
  readonly #files: Pick<FileService, 'index'>
  readonly #clock: Clock
  readonly #log: Log
  readonly #waiting: (AuditEntry & { id: string })[] = []
  readonly #refused = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined
  #flushing: Promise<void> | undefined
  #lost = 0
  readonly #buckets: TokenBuckets
  /** Refusals that were too many to be noted, since that was last said. */
  #unnoted = 0

  constructor(files: Pick<FileService, 'index'>, clock: Clock, log: Log) {
    this.#files = files
    this.#clock = clock
    this.#log = log
    this.#buckets = new TokenBuckets(clock)
  }

  /** Entries that could not be kept, for want of trackers. */
  get lost(): number {
    return this.#lost
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.flush(), FLUSH_INTERVAL_MS)
    this.#timer.unref()
  }

  /** Sends what waits, once. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.flush()
  }

  note(entry: Omit<AuditEntry, 'atMs'>): void {
    if (entry.outcome === 'denied') {
      const customer = customerOf(entry.address)
      if (this.#isRepeated(`${customer}\0${entry.code}\0${entry.application}`)) return
      if (this.#isTooMuch(customer, entry.token === '')) {
        this.#unnoted++
        return
      }
    }
    if (this.#waiting.length >= WAITING_MAX) {
      this.#lost++
      this.#log.warn(
        { ...entry, token: undefined },
        'an entry of the audit log was lost: no tracker takes it'
      )
      return
    }
    this.#waiting.push({
      ...entry,
      who: cut(entry.who),
      what: cut(entry.what),
      file: cut(entry.file),
      id: randomBytes(ID_BYTES).toString('hex'),
      atMs: this.#clock.nowMs()
    })
  }

  /** Never rejects: what could not be sent waits on. */
  flush(): Promise<void> {
    this.#flushing ??= this.#flush().finally(() => (this.#flushing = undefined))
    return this.#flushing
  }

  async #flush(): Promise<void> {
    if (this.#unnoted > 0) {
      this.#log.warn({ refusals: this.#unnoted }, 'refusals were too many for the audit log')
      this.#unnoted = 0
    }
    while (this.#waiting.length > 0) {
      const entries = this.#waiting.slice(0, AUDIT_BATCH_MAX)
      try {
        await this.#files.index('audit.write', { entries })
      } catch (error) {
        this.#log.debug({ err: error }, 'the audit log could not be written')
        return
      }
      this.#waiting.splice(0, entries.length)
    }
  }

  #isTooMuch(customer: string, isStranger: boolean): boolean {
    if (this.#buckets.take(customer, REFUSALS_PER_S, REFUSALS_BURST) > 0) return true
    return isStranger && this.#buckets.take('strangers', STRANGERS_PER_S, STRANGERS_BURST) > 0
  }

  #isRepeated(what: string): boolean {
    const nowMs = this.#clock.monotonicMs()
    const sinceMs = this.#refused.get(what)
    if (sinceMs !== undefined && nowMs - sinceMs < SAME_WITHIN_MS) return true
    if (this.#refused.size >= SAME_MAX) this.#refused.clear()
    this.#refused.set(what, nowMs)
    return false
  }
}

function cut(text: string): string {
  return text.slice(0, TEXT_LENGTH_MAX).toWellFormed()
}
