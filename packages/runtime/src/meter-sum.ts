import { emptySnapshot, mergeSnapshots, type MeterSnapshot } from './meter.ts'

/**
 * The sum over worker processes that come and go. Counters of a worker that is gone stay added, so that what
 * is exposed never falls; its open connections went with it.
 */
export class MeterSum {
  #retired = emptySnapshot()
  readonly #living = new Map<string | number, MeterSnapshot>()

  /** The latest snapshot of one worker, as named by its owner: a restarted worker needs a new name. */
  update(worker: string | number, snapshot: MeterSnapshot): void {
    this.#living.set(worker, snapshot)
  }

  /** The worker is gone; what it counted since its last snapshot is lost. */
  retire(worker: string | number): void {
    const last = this.#living.get(worker)
    if (!last) return
    this.#living.delete(worker)
    this.#retired = mergeSnapshots([this.#retired, { ...last, connectionsOpen: 0 }])
  }

  snapshot(): MeterSnapshot {
    return mergeSnapshots([this.#retired, ...this.#living.values()])
  }
}
