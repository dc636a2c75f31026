import type { Clock } from './clock.ts'
import type { Log } from './log.ts'
import type { Readiness } from './readiness.ts'

const WATCH_INTERVAL_MS = 1_000
const PROBE_TIMEOUT_MS = 1_500

export interface ProbeWatchOptions {
  /** What is watched, such as `database`: the name of the readiness condition, and in the log. */
  name: string
  /** Rejects within `timeoutMs` while it does not answer. */
  probe: (timeoutMs: number) => Promise<void>
  /** What the server does while it does not answer, in words for the log. */
  meanwhile: string
  readiness: Readiness
  clock: Clock
  log: Log
}

/** Asks at an interval whether something that the server needs is there: for readiness, and one log line per change. */
export class ProbeWatch {
  readonly #options: ProbeWatchOptions
  #isUp = true

  constructor(options: ProbeWatchOptions) {
    this.#options = options
  }

  /** As of the last probe. */
  get isUp(): boolean {
    return this.#isUp
  }

  /** Probes once. @throws what the probe throws. */
  async first(): Promise<void> {
    const { name, probe, readiness } = this.#options
    await probe(PROBE_TIMEOUT_MS)
    readiness.set(name, true)
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { name, probe, meanwhile, readiness, clock, log } = this.#options
    for (;;) {
      await clock.sleep(WATCH_INTERVAL_MS, signal).catch(() => {})
      if (signal.aborted) return
      try {
        await probe(PROBE_TIMEOUT_MS)
        if (!this.#isUp && !signal.aborted) log.info(`the ${name} answers again`)
        this.#isUp = true
        readiness.set(name, true)
      } catch (err) {
        if (signal.aborted) return
        if (this.#isUp) log.error({ err }, `the ${name} does not answer; ${meanwhile}`)
        this.#isUp = false
        readiness.set(name, false, `the ${name} does not answer`)
      }
    }
  }
}
