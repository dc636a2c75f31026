import { isIPv4 } from 'node:net'
import { isGroupName } from '@tributary/protocol'
import { PLAN_VERSION, type Plan } from './plan.ts'

/**
 * Reads the plan of an earlier rendering. What it says becomes part of scripts, so nothing in it is believed unseen.
 *
 * @throws {Error} not a plan, or one of another version.
 */
export function readPlan(text: string): Plan {
  const plan = JSON.parse(text) as Partial<Plan> | null
  if (plan?.version !== PLAN_VERSION)
    throw new Error(`plan.json is of version ${String(plan?.version)}; this program knows ${PLAN_VERSION}`)
  const { hosts, groups } = plan
  const areHosts =
    Array.isArray(hosts) &&
    hosts.every(
      host =>
        isHostName(host?.name) &&
        isText(host.address) &&
        isIPv4(host.address) &&
        isTexts(host.roles) &&
        isTexts(host.units)
    )
  const areGroups =
    Array.isArray(groups) &&
    groups.every(
      group =>
        isText(group?.name) &&
        isGroupName(group.name) &&
        isTexts(group.members) &&
        group.members.every(isHostName) &&
        (group.arbiter === null || isHostName(group.arbiter))
    )
  if (!areHosts || !areGroups) throw new Error('plan.json is damaged')
  return plan as Plan
}

function isHostName(value: unknown): boolean {
  return typeof value === 'string' && /^[a-z0-9][a-z0-9-]{0,62}$/.test(value)
}

/** What JSON holds has no type until it was looked at. */
function isText(value: unknown): boolean {
  return typeof value === 'string'
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(entry => typeof entry === 'string')
}
