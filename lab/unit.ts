import type { HostProcess } from './process-table.ts'

export type UnitState = 'inactive' | 'activating' | 'active' | 'deactivating' | 'failed' | 'restarting'

/** What a host's supervisor can do with a service or a mount. Each resolves when it is done. */
export interface Unit {
  readonly name: string
  readonly state: UnitState
  /** Why it is in this state; empty where there is nothing to say. */
  readonly detail: string
  /** How often it was started again by itself. */
  readonly restarts: number
  readonly mainPid: number | undefined
  processes(): HostProcess[]
  /** Does nothing to an active unit. @param extra variables for this start alone. @throws it cannot be started */
  start(extra?: Readonly<Record<string, string>>): Promise<void>
  stop(): Promise<void>
  reload(): Promise<void>
}
