/** plan.json: what a program needs to know of a rendered cluster, and the next rendering of this one. */
import { mountOf, storeOf } from './cluster-addresses.ts'
import {
  addressHosts,
  bricksOf,
  groupsOf,
  portsBehind,
  routerIdOf,
  type Description,
  type Host
} from './description.ts'
import { mountUnitName } from './gluster-volume.ts'
import { databaseStepHost } from './galera-config.ts'
import { poolOf } from './gluster-volume.ts'
import { databaseStepName, glusterStepName, prepareStepName, storeStepName } from './host-steps.ts'
import { hostUnits } from './host-units.ts'
import { prefixOf } from './keepalived-config.ts'
import { ownUnits } from './systemd-units.ts'

/** A reader refuses any other. */
export const PLAN_VERSION = 1

export interface Plan {
  version: number
  cluster: string
  hosts: PlanHost[]
  groups: PlanGroup[]
  virtualAddresses: PlanAddress[]
  firstStart: PlanStep[]
}

export interface PlanHost {
  name: string
  address: string
  region: string
  device: string
  /** What it does: tracker, id, storage, gateway, worker, database, redis, sentinel, brick. */
  roles: string[]
  /** In the order of their start when the host comes back. */
  units: string[]
}

export interface PlanGroup {
  name: string
  members: string[]
  arbiter: string | null
  region: string
  volume: string
  mount: string
  store: string
}

export interface PlanAddress {
  name: string
  address: string
  prefix: number
  port: number
  routerId: number
  hosts: string[]
  /** The first of its hosts; any that is ready may have it, and keeps it. */
  owner: string
}

/** One after the other; hosts of one step in any order. */
export type PlanStep =
  | { start: string; hosts: string[] }
  | { bootstrap: string; host: string }
  | { run: string; host: string }

export function makePlan(description: Description): Plan {
  const { name, hosts, groups, virtualAddresses } = description
  return {
    version: PLAN_VERSION,
    cluster: name,
    hosts: hosts.map(host => ({
      name: host.name,
      address: host.address,
      region: host.region,
      device: host.device,
      roles: rolesOf(description, host),
      units: hostUnits(description, host)
    })),
    groups: groups.map(group => ({
      name: group.name,
      members: [...group.members],
      arbiter: group.arbiter ?? null,
      region: group.region,
      volume: group.name,
      mount: mountOf(group.name),
      store: storeOf(group.name)
    })),
    virtualAddresses: virtualAddresses.map(virtual => {
      const takers = addressHosts(description, virtual).map(({ name }) => name)
      return {
        name: virtual.name,
        address: virtual.address,
        prefix: prefixOf(description, virtual.address),
        port: portsBehind(description, virtual, takers[0] ?? '').port,
        routerId: routerIdOf(virtual),
        hosts: takers,
        owner: takers[0] ?? ''
      }
    }),
    firstStart: firstStart(description)
  }
}

function rolesOf(description: Description, { name, roles }: Host): string[] {
  const { redis } = description
  const all: [string, boolean | undefined][] = [
    ['tracker', roles.includes('tracker')],
    ['id', roles.includes('id')],
    ['storage', groupsOf(description, name).length > 0],
    ['gateway', roles.includes('gateway')],
    ['worker', roles.includes('worker')],
    ['database', roles.includes('database')],
    ['redis', redis && [redis.primary, ...redis.replicas].includes(name)],
    ['sentinel', redis?.sentinels.includes(name)],
    ['brick', bricksOf(description, name).length > 0]
  ]
  return all.filter(([, isThere]) => isThere).map(([role]) => role)
}

function firstStart(description: Description): PlanStep[] {
  const { hosts, groups } = description
  const steps: PlanStep[] = []
  const run = (step: string | undefined, host: string | undefined): void => {
    if (step !== undefined && host !== undefined) steps.push({ run: step, host })
  }
  const start = (unit: string, except?: string): void => {
    const names = hosts
      .filter(host => host.name !== except && hostUnits(description, host).includes(unit))
      .map(({ name }) => name)
    if (names.length > 0) steps.push({ start: unit, hosts: names })
  }
  for (const { name } of hosts) run(prepareStepName(name), name)
  start('glusterd.service')
  run(glusterStepName(description), poolOf(description)[0]?.name)
  for (const { name } of groups) start(mountUnitName(name))
  start('tributary-mounts.service')
  start('tributary-heal.service')
  const first = databaseStepHost(description)
  if (first?.roles.includes('database')) {
    steps.push({ bootstrap: 'mariadb.service', host: first.name })
    start('mariadb.service', first.name)
  }
  run(databaseStepName(description), first?.name)
  for (const group of groups) run(storeStepName(group), group.members[0])
  start('redis-server.service')
  start('redis-sentinel.service')
  const own = new Set(hosts.flatMap(host => ownUnits(description, host)))
  for (const role of ['tracker', 'id', 'storage', 'gateway', 'worker']) {
    for (const unit of own) if (unit.startsWith(`tributary-${role}`)) start(unit)
  }
  start('keepalived.service')
  return steps
}
