/** plan.json of a rendered cluster: what is where, and in which order it starts. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface PlanHost {
  readonly name: string
  readonly address: string
  readonly region: string
  /** Its network interface. */
  readonly device: string
  readonly roles: readonly string[]
  /** In the order in which a host that comes back starts them. */
  readonly units: readonly string[]
}

export interface PlanGroup {
  readonly name: string
  readonly members: readonly string[]
  readonly arbiter: string | null
  readonly volume: string
  readonly mount: string
  readonly store: string
}

export interface VirtualAddress {
  readonly name: string
  readonly address: string
  readonly prefix: number
  readonly port: number
  readonly hosts: readonly string[]
  readonly owner: string
}

/** One step of a first start: exactly one of the verbs. */
export type FirstStep =
  | { readonly start: string; readonly hosts: readonly string[] }
  | { readonly bootstrap: string; readonly host: string }
  | { readonly run: string; readonly host: string }

export interface Plan {
  readonly version: 1
  readonly cluster: string
  readonly hosts: readonly PlanHost[]
  readonly groups: readonly PlanGroup[]
  readonly virtualAddresses: readonly VirtualAddress[]
  readonly firstStart: readonly FirstStep[]
}

/** @throws the folder holds no plan that this lab understands */
export async function readPlan(rendered: string): Promise<Plan> {
  const plan = JSON.parse(await readFile(join(rendered, 'plan.json'), 'utf8')) as Plan
  if (plan.version !== 1) throw new Error(`plan.json is of version ${String(plan.version)}; this lab knows 1`)
  return plan
}
