/**
 * Keeps the library up with what was stored without anybody's telling: by programs that speak the wire protocol, or before there
 * was a library. One tracker at a time by a lease. It walks the files in the order of their times, and stays behind the data path:
 * what it does may be late, or done twice.
 */
import { randomUUID } from 'node:crypto'
import { eventOf, storedEvent } from '@tributary/calls'
import type { Database, FileKey, FileRow } from '@tributary/database'
import type { Clock } from '@tributary/runtime'
import { enterEvents, isWanted } from './calls/event-book.ts'

const LEASE = 'cataloguer'
const LEASE_MS = 15_000
const ROUND_MS = 1_000
/** Rows of one step: short enough not to hold other writers up. */
const STEP_ROWS = 100
/** Steps of a round while little is stored, and while much is: then the data path has the database for itself. */
const STEPS_IDLE = 20
const STEPS_BUSY = 2
/** More new files than this in a round is much. */
const BUSY_ROWS = 200
/** Clocks of members differ, and transactions overtake each other: the last moments are looked at again, and longer ones now and then. */
const LOOK_BACK_MS = 5_000
const LONG_LOOK_BACK_MS = 900_000
const LONG_LOOK_INTERVAL_MS = 300_000
/** Films of the library looked at together, whether their files are there; and for how long in a round. */
const STRAYS_STEP_ROWS = 500
const STRAYS_MS_MAX = 50
/** From one walk through the library to the next. */
const STRAYS_INTERVAL_MS = 2_000

export interface CataloguerOptions {
  database: Pick<Database, 'leases' | 'library' | 'files' | 'access'>
  clock: Clock
  isUp: () => boolean
  onTrouble: (error: unknown) => void
}

export class Cataloguer {
  readonly #options: CataloguerOptions
  readonly #holder = randomUUID()
  /** Where the walk is: files behind it are in the library. Lost with the process; the next one begins at the start. */
  #at: { storedAtMs: number; key: FileKey | undefined } = { storedAtMs: 0, key: undefined }
  #longLookMs = -Infinity
  /** Where the walk through the library is that looks for what was deleted; undefined: at its start. */
  #deletesAt: FileKey | undefined
  #nextDeletesMs = -Infinity
  #noted = 0

  constructor(options: CataloguerOptions) {
    this.#options = options
  }

  /** Files that were looked at. */
  get noted(): number {
    return this.#noted
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, database, isUp, onTrouble } = this.#options
    while (!signal.aborted) {
      await clock.sleep(ROUND_MS, signal).catch(() => {})
      if (signal.aborted || !isUp()) continue
      try {
        await this.round(signal)
      } catch (error) {
        // A database of an older schema has no library, and nothing to keep up.
        if ((error as { code?: string }).code !== 'SCHEMA_VERSION') onTrouble(error)
      }
    }
    await database.leases.release(LEASE, this.#holder).catch(() => {})
  }

  /** One round; also for tests. */
  async round(signal: AbortSignal): Promise<void> {
    const { database, clock } = this.#options
    if ((await database.leases.take(LEASE, this.#holder, LEASE_MS)) === undefined) return
    const nowMs = clock.monotonicMs()
    if (nowMs - this.#longLookMs >= LONG_LOOK_INTERVAL_MS) {
      this.#longLookMs = nowMs
      this.#stepBack(LONG_LOOK_BACK_MS)
    } else this.#stepBack(LOOK_BACK_MS)
    await this.#followDeletes(signal)
    let isBusy = false
    for (let step = 0; step < (isBusy ? STEPS_BUSY : STEPS_IDLE) && !signal.aborted; step++) {
      const rows = await database.library.storedSince(this.#at, STEP_ROWS)
      if (rows.length === 0) return
      const last = rows.at(-1)!
      await this.#tellOfNew(rows)
      await database.library.noteRows(rows, rows)
      this.#noted += rows.length
      this.#at = { storedAtMs: last.storedAtMs, key: last }
      if (rows.length < STEP_ROWS) return
      isBusy = (step + 1) * STEP_ROWS >= BUSY_ROWS && clock.nowMs() - last.storedAtMs < LOOK_BACK_MS * 2
    }
  }

  /** Webhooks hear of what programs stored by themselves; what a gateway took it has told, and is known here already. */
  async #tellOfNew(rows: readonly FileRow[]): Promise<void> {
    const { database, clock } = this.#options
    const nowMs = clock.nowMs()
    const young = rows.filter(row => nowMs - row.storedAtMs < LONG_LOOK_BACK_MS)
    if (young.length === 0 || !(await isWanted(database.access, 'stored'))) return
    const { webhooks } = database.access
    const unknown = await database.library.unknown(young)
    const events = unknown.map(row => eventOf(storedEvent(row), nowMs))
    await enterEvents(webhooks, events, nowMs)
  }

  /**
   * What programs deleted by themselves goes from the library, which tells webhooks of it. Only where one wants to know: pages put
   * right what they meet anyway.
   */
  async #followDeletes(signal: AbortSignal): Promise<void> {
    const { database, clock } = this.#options
    const startMs = clock.monotonicMs()
    const isPaused = this.#deletesAt === undefined && startMs < this.#nextDeletesMs
    if (isPaused || !(await isWanted(database.access, 'deleted'))) return
    do {
      const { films, next } = await database.library.strays(this.#deletesAt, STRAYS_STEP_ROWS)
      for (let at = 0; at < films.length; at += STEP_ROWS)
        await database.library.noteAll(films.slice(at, at + STEP_ROWS))
      this.#deletesAt = next
      if (next === undefined) this.#nextDeletesMs = startMs + STRAYS_INTERVAL_MS
    } while (this.#deletesAt && clock.monotonicMs() - startMs < STRAYS_MS_MAX && !signal.aborted)
  }

  #stepBack(ms: number): void {
    // At the end of the walk only: on its way through old files there is nothing to look back at.
    const { storedAtMs } = this.#at
    const nowMs = this.#options.clock.nowMs()
    if (storedAtMs < nowMs - ms - LONG_LOOK_INTERVAL_MS) return
    this.#at = { storedAtMs: Math.min(storedAtMs, nowMs) - ms, key: undefined }
  }
}
