/** Tells webhooks when something of the cluster is not as it should be. */
import type { Clock } from '@tributary/runtime'
import type { Cluster, ClusterFault } from '../contract/index.ts'
import type { AccessCopy } from './access-copy.ts'
import type { EventTeller } from './event-teller.ts'

export interface DegradedWatchOptions {
  look: () => Promise<Pick<Cluster, 'faults'>>
  copy: AccessCopy
  events: EventTeller
  clock: Clock
}

const LOOK_INTERVAL_MS = 5_000
/** Several gateways see the same; within this time it is one event, however often it comes and goes. */
const SAME_WITHIN_MS = 3_600_000
/** What does not keep films from being played or stored safely is no news. */
const TOLD: ReadonlySet<ClusterFault['code']> = new Set([
  'no-group',
  'group-dead',
  'group-full',
  'member-offline',
  'member-not-serving',
  'copies-missing'
])

export class DegradedWatch {
  readonly #options: DegradedWatchOptions
  readonly #stop = new AbortController()
  #known: ReadonlySet<string> = new Set()
  #working: Promise<void> | undefined

  constructor(options: DegradedWatchOptions) {
    this.#options = options
  }

  start(): void {
    this.#working ??= this.#work()
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#working
  }

  async #work(): Promise<void> {
    const { copy, clock } = this.#options
    const { signal } = this.#stop
    while (!signal.aborted) {
      // A cluster that cannot be looked at is told by whoever watches the gateways.
      if (copy.webhooks > 0) await this.#lookOnce().catch(() => {})
      await clock.sleep(LOOK_INTERVAL_MS, signal).catch(() => {})
    }
  }

  async #lookOnce(): Promise<void> {
    const { look, events, clock } = this.#options
    const { faults } = await look()
    const now = new Set<string>()
    for (const { code, text, values } of faults) {
      if (!TOLD.has(code)) continue
      const key = [code, values.group ?? '', values.host ?? ''].join(' ')
      now.add(key)
      if (this.#known.has(key)) continue
      const identity = `${key} ${Math.floor(clock.nowMs() / SAME_WITHIN_MS)}`
      events.tell({ event: 'degraded', application: '', facts: { code, text, ...values }, identity })
    }
    this.#known = now
  }
}
