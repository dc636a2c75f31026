/** What a host's supervisor is told, and what it answers; plain values, as they cross a channel. */
import type { UnitState } from './unit.ts'

/** How a host is made. All paths are the machine's, from before the host has its own. */
export interface HostSetup {
  readonly name: string
  readonly address: string
  readonly prefix: number
  /** What the host calls its network interface. */
  readonly device: string
  /** Private etc, var and srv of this host. */
  readonly folder: string
  /** What `tributary deploy render` wrote. */
  readonly rendered: string
  /** Our source tree. */
  readonly source: string
  readonly node: string
  /** Shared by all of the lab's Node processes. */
  readonly compileCache: string
  /** An image of a file system for /srv/bricks. Without one, bricks lie on the machine's disk. */
  readonly brickDisk?: string | undefined
  /** It was never started: the rendered files come first. */
  readonly isNew: boolean
}

export interface UnitStatus {
  readonly name: string
  readonly state: UnitState
  readonly detail: string
  readonly restarts: number
  readonly mainPid: number | undefined
  /** Of all processes of the unit, within the host; T among the states: frozen. */
  readonly processes: readonly { readonly pid: number; readonly state: string; readonly command: string }[]
}

export interface HostReport {
  readonly units: readonly UnitStatus[]
  /** IPv4 addresses of its interface, virtual ones among them. */
  readonly addresses: readonly string[]
}

export interface CommandEnd {
  /** null: a signal ended it, or the time was up. */
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Order → its arguments and answer, of a host's supervisor. */
export interface HostOrders {
  furnish: { args: HostSetup; value: undefined }
  /** Brings up the link once its far end is there. */
  link: { args: object; value: undefined }
  start: { args: { unit: string; env?: Record<string, string> }; value: undefined }
  stop: { args: { unit: string }; value: undefined }
  reload: { args: { unit: string }; value: undefined }
  /** Answers how many processes it reached. `matching`: a regular expression for their command lines. */
  signal: { args: { unit: string; signal: string; matching?: string }; value: number }
  run: { args: { command: readonly string[]; timeoutMs: number; stdin?: string }; value: CommandEnd }
  /** Puts what was rendered last in place. */
  install: { args: object; value: undefined }
  report: { args: object; value: HostReport }
  /** Every unit, last first. */
  shutDown: { args: object; value: undefined }
}

/** Order → its arguments and answer, of the ground. `port`: a host's link at the bridge. */
export interface GroundOrders {
  bridge: { args: { address: string; prefix: number }; value: undefined }
  /** Power on. */
  host: { args: { setup: HostSetup; port: string }; value: undefined }
  /** Power off. */
  kill: { args: { host: string; port: string }; value: undefined }
  link: { args: { port: string; up: boolean }; value: undefined }
  /** Comes with a connection, which is joined with this address. */
  forward: { args: { address: string; port: number }; value: undefined }
  /** An order of HostOrders, passed on. */
  order: { args: { host: string; order: string; args: unknown }; value: unknown }
}
