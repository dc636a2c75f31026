/** Whether the gateway should get work: a tracker answers, and a group has an active member. */
import type { Clock, Readiness } from '@tributary/runtime'
import type { FileService } from './file-service.ts'

/** An answer is good for so long: many probes cost the trackers one. */
const FRESH_MS = 1_000
const PROBE_WAIT_MS = 3_000

export class ClusterProbe {
  readonly #files: FileService
  readonly #readiness: Readiness
  readonly #clock: Clock
  #askedMs = -Infinity
  #asking: Promise<void> | undefined

  constructor(files: FileService, readiness: Readiness, clock: Clock) {
    this.#files = files
    this.#readiness = readiness
    this.#clock = clock
  }

  /** Resolves when what the readiness says is fresh; never rejects. */
  refresh(): Promise<void> {
    if (this.#asking) return this.#asking
    if (this.#clock.monotonicMs() - this.#askedMs < FRESH_MS) return Promise.resolve()
    this.#asking = this.#ask().finally(() => {
      this.#askedMs = this.#clock.monotonicMs()
      this.#asking = undefined
    })
    return this.#asking
  }

  async #ask(): Promise<void> {
    try {
      const { groups } = await this.#files.groups({ signal: AbortSignal.timeout(PROBE_WAIT_MS) })
      this.#readiness.set('tracker', true)
      const active = groups.some(({ members }) => members.some(({ status }) => status === 'ACTIVE'))
      this.#readiness.set('storage', active, 'no storage server is active')
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'no tracker answers'
      this.#readiness.set('tracker', false, reason)
      this.#readiness.set('storage', false, 'not known: no tracker answers')
    }
  }
}
