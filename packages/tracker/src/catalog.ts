/** The applications and groups of the database, in memory: short tables that change rarely. */
import type { GroupRow, Routes } from '@tributary/database'
import type { Clock } from '@tributary/runtime'

/** Read again this often … */
export const CATALOG_INTERVAL_MS = 5_000
/** … and, where a name is missed, at once, but no more often than this. */
export const MISS_INTERVAL_MS = 1_000

export class Catalog {
  readonly #routes: Pick<Routes, 'applications' | 'groups'>
  readonly #clock: Clock
  #applications: ReadonlySet<string> = new Set()
  #groups: ReadonlyMap<string, GroupRow> = new Map()
  #readAtMs = -Infinity
  #reading: Promise<void> | undefined

  constructor(routes: Pick<Routes, 'applications' | 'groups'>, clock: Clock) {
    this.#routes = routes
    this.#clock = clock
  }

  /** As of the last reading, in byte order. */
  get groups(): ReadonlyMap<string, GroupRow> {
    return this.#groups
  }

  hasApplication(name: string): boolean {
    return this.#applications.has(name)
  }

  /** Looks once more before a name counts as unknown. @throws the database's error. */
  async confirmApplication(name: string): Promise<boolean> {
    if (this.#clock.monotonicMs() - this.#readAtMs >= MISS_INTERVAL_MS) await this.read()
    return this.#applications.has(name)
  }

  /** Callers of one moment share a reading. @throws the database's error; what was known stays. */
  read(): Promise<void> {
    return (this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined
    }))
  }

  async #read(): Promise<void> {
    const startedMs = this.#clock.monotonicMs()
    const [applications, groups] = await Promise.all([this.#routes.applications(), this.#routes.groups()])
    this.#applications = new Set(applications)
    this.#groups = new Map(groups.map(group => [group.name, group]))
    this.#readAtMs = startedMs
  }

  /** Reads at an interval until `signal` aborts; `isUp`: whether the database is worth asking. */
  async run(signal: AbortSignal, isUp: () => boolean, onFailure: (error: unknown) => void): Promise<void> {
    while (!signal.aborted) {
      await this.#clock.sleep(CATALOG_INTERVAL_MS, signal).catch(() => {})
      if (signal.aborted) return
      if (!isUp()) continue
      try {
        await this.read()
      } catch (error) {
        onFailure(error)
      }
    }
  }
}
