import type { Database } from '@tributary/database'
import type { Clock, Log, Readiness } from '@tributary/runtime'

/** The name of the readiness condition. */
export const DATABASE_CONDITION = 'database'
const WATCH_INTERVAL_MS = 1_000
const PING_TIMEOUT_MS = 1_500

/** Asks the database at an interval whether it is there: for readiness, and one log line per change. */
export class DatabaseWatch {
  readonly #database: Pick<Database, 'ping'>
  readonly #readiness: Readiness
  readonly #clock: Clock
  readonly #log: Log
  #isUp = true

  constructor(database: Pick<Database, 'ping'>, readiness: Readiness, clock: Clock, log: Log) {
    this.#database = database
    this.#readiness = readiness
    this.#clock = clock
    this.#log = log
  }

  /** As of the last ping. */
  get isUp(): boolean {
    return this.#isUp
  }

  /** Pings once. @throws the database's error. */
  async first(): Promise<void> {
    await this.#database.ping(PING_TIMEOUT_MS)
    this.#readiness.set(DATABASE_CONDITION, true)
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#clock.sleep(WATCH_INTERVAL_MS, signal).catch(() => {})
      if (signal.aborted) return
      try {
        await this.#database.ping(PING_TIMEOUT_MS)
        if (!this.#isUp && !signal.aborted) this.#log.info('the database answers again')
        this.#isUp = true
        this.#readiness.set(DATABASE_CONDITION, true)
      } catch (err) {
        if (signal.aborted) return
        if (this.#isUp) this.#log.error({ err }, 'the database does not answer; what is in memory is served')
        this.#isUp = false
        this.#readiness.set(DATABASE_CONDITION, false, 'the database does not answer')
      }
    }
  }
}
