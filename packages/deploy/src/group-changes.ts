/** From one rendering to the next: what gluster must be told, and hosts about it. */
import { brickOf } from './cluster-addresses.ts'
import { JOIN_POOL, mountUnitName } from './gluster-volume.ts'
import type { Finding } from './finding.ts'
import { hostChanges, type ChangeScript } from './host-changes.ts'
import type { Plan, PlanGroup } from './plan.ts'

/** Healers have found a new brick by then, on a busy machine as well. */
const REACHED_S = 10

export interface Changes {
  /** In the order in which they are to be run. */
  scripts: ChangeScript[]
  /** What no script does. */
  notes: string[]
  /** Changes that cannot be made in one step. */
  refused: Finding[]
}

/** Address and path: a member on another address is another brick, whatever its name. */
interface Bricks {
  data: string[]
  arbiter: string | undefined
}

/**
 * Compares two plans.
 *
 * @param differing  paths of rendered files that are new or other than before
 */
export function changesBetween(before: Plan, after: Plan, differing: readonly string[]): Changes {
  const scripts: ChangeScript[] = []
  const notes: string[] = []
  const refused: Finding[] = []
  for (const group of after.groups) {
    const old = before.groups.find(({ name }) => name === group.name)
    if (old === undefined) {
      notes.push(
        `${group.name} is new: after the scripts that start glusterd run steps/10-gluster…; then on ${group.members[0]}: systemctl start ${mountUnitName(group.name)}, and steps/30-store-${group.name}…; then the other scripts`
      )
      continue
    }
    const change = groupChange(before, old, after, group)
    if (change === undefined) continue
    if ('severity' in change) refused.push(change)
    else scripts.push(change)
  }
  for (const { name } of before.groups) {
    if (after.groups.some(group => group.name === name)) continue
    notes.push(
      `${name} is gone from the description: its volume and its films are left as they are. When nobody needs them: gluster volume stop ${name}; gluster volume delete ${name}`
    )
  }
  for (const { name } of after.hosts) {
    if (!before.hosts.some(host => host.name === name))
      notes.push(
        `${name} is a new host: README.md says what it needs before its files are put in place and scripts are run`
      )
  }
  for (const { name } of before.hosts) {
    if (!after.hosts.some(host => host.name === name))
      notes.push(
        `${name} is gone: stop what runs there, if it still does, once the others have their new files`
      )
  }
  const { beforeGroups, afterGroups } = hostChanges(before, after, differing)
  return { scripts: [...beforeGroups, ...scripts, ...afterGroups], notes, refused }
}

function groupChange(
  before: Plan,
  old: PlanGroup,
  after: Plan,
  now: PlanGroup
): ChangeScript | Finding | undefined {
  const was = bricks(before, old)
  const is = bricks(after, now)
  const steps = brickSteps(now.name, was, is)
  if (steps.length === 0) return undefined
  const stays = now.members.find(member => was.data.includes(brick(after, member, now.name)))
  if (stays === undefined) {
    return {
      severity: 'error',
      key: `groups.${now.name}.members`,
      value: now.members.join(', '),
      expected: `one of ${old.members.join(', ')}, as they were rendered here before, with the same address: nothing would be left to copy from. Change one member after the other, and let each be healed`
    }
  }
  const pool = poolAddresses(after)
  const added = [...is.data, ...(is.arbiter === undefined ? [] : [is.arbiter])]
    .filter(name => ![...was.data, was.arbiter].includes(name))
    .map(addressOf)
  const leaving = [
    ...new Set([...was.data, ...(was.arbiter === undefined ? [] : [was.arbiter])].map(addressOf))
  ].filter(address => !pool.includes(address))
  const reused = is.data.includes(was.arbiter ?? '') || was.data.includes(is.arbiter ?? '')
  return {
    file: `${now.name}.${stays}.sh`,
    summary: `${now.name}: ${steps.map(({ summary }) => summary).join('; ')}: run it on ${stays}, then wait for the heal`,
    text: `#!/bin/bash
# ${now.name}: ${steps.map(({ summary }) => summary).join('; ')}.
# Run it on ${stays}, with glusterd running on every host that is named. What was done already is passed over.
set -euo pipefail

gluster() { timeout 300 /usr/sbin/gluster --mode=script "$@"; }
has() { gluster volume info ${now.name} | grep -E '^Brick[0-9]+: ' | grep -E ": $1( \\(arbiter\\))?$" >/dev/null; }
# A host that vanished without a word is taken for connected until TCP gives it up, which may take a quarter of an hour: each
# command would wait for it. A glusterd that starts asks anew; bricks outlive it.
silent() {
  local host
  for host in $(gluster pool list | awk '$NF == "Connected" && $2 != "localhost" {print $2}'); do
    timeout 2 bash -c ">/dev/tcp/$host/24007" 2>/dev/null || echo "$host"
  done
}
forget_silent() {
  local hosts alive try
  hosts=$(silent)
  if [[ -z "$hosts" ]]; then return; fi
  alive=$(($(connected) - $(wc -w <<<"$hosts")))
  echo "no answer from" $hosts
  systemctl restart glusterd.service
  for try in {1..60}; do
    # Until the others are there, it would refuse for want of a majority.
    if [[ "$(connected 2>/dev/null)" -ge $alive && -z "$(silent)" ]]; then return; fi
    sleep 1
  done
  echo 'glusterd does not find the others' >&2
  exit 1
}
# A copy that others still have to copy from must not go. One whose host is gone cannot be asked.
spare() {
  local left try
  for try in {1..60}; do
    left=$(gluster volume heal ${now.name} info summary |
      awk -v brick="Brick $1" '/^Brick /{mine = $0 == brick} mine && /^Total Number of entries:/{print $NF}')
    if [[ ! "$left" =~ ^[0-9]+$ || "$left" -eq 0 ]]; then return; fi
    sleep 2
  done
  echo "$1 has $left entries that are not healed on others: wait, then run this again" >&2
  exit 1
}
${JOIN_POOL}
forget_silent
${
  added.length === 0
    ? ''
    : `${added.map(address => `probe ${address}`).join('\n')}
gluster volume set ${now.name} auth.allow '${['127.0.0.1', ...pool].join(',')}'
`
}${reused ? `echo 'A brick changes its kind: its host must have an empty ${brickOf(now.name)} before it is added (mv it away when it was removed).'\n` : ''}${steps.map(({ command }) => command).join('\n')}
healing=
for try in {1..60}; do
  if gluster volume heal ${now.name} full >/dev/null 2>&1; then
    healing=yes
    break
  fi
  # A brick that could not be started at once, or a healer.
  gluster volume start ${now.name} force >/dev/null || true
  sleep 2
done
[[ -n "$healing" ]] || { echo 'the heal could not be started: gluster volume heal ${now.name} full' >&2; exit 1; }
# A healer reaches a brick that has just come after some 3 s. A sweep of before that passes it by, and then nobody misses what it lacks.
sleep ${REACHED_S}
gluster volume heal ${now.name} full >/dev/null
# Again: replacing a brick lets its old host in as well.
gluster volume set ${now.name} auth.allow '${['127.0.0.1', ...pool].join(',')}' >/dev/null
${leaving.map(address => `if gluster pool list | grep -wF '${address}' >/dev/null; then gluster peer detach ${address} force; fi`).join('\n')}
echo 'Healing goes on by itself; change nothing else before every brick has 0 entries:'
echo '  gluster volume heal ${now.name} info summary'
`
  }
}

interface Step {
  command: string
  summary: string
}

/** In an order in which no copy goes before the one that replaces it, where gluster allows that. */
function brickSteps(volume: string, was: Bricks, is: Bricks): Step[] {
  const steps: Step[] = []
  const removed = was.data.filter(name => !is.data.includes(name))
  const added = is.data.filter(name => !was.data.includes(name))
  const replace = (old: string, name: string): void => {
    steps.push({
      command: `if has '${old}'; then spare '${old}'; gluster volume replace-brick ${volume} ${old} ${name} commit force; fi`,
      summary: `${addressOf(name)} takes the place of ${addressOf(old)}`
    })
  }
  const add = (name: string, copies: string): void => {
    steps.push({
      command: `if ! has '${name}'; then gluster volume add-brick ${volume} ${copies} ${name} force; fi`,
      summary: `${addressOf(name)} is added (${copies})`
    })
  }
  const remove = (name: string, copies: number): void => {
    steps.push({
      command: `if has '${name}'; then spare '${name}'; gluster volume remove-brick ${volume} replica ${copies} ${name} force; fi`,
      summary: `${addressOf(name)} is removed (replica ${copies})`
    })
  }
  while (removed.length > 0 && added.length > 0) replace(removed.shift()!, added.shift()!)
  let copies = was.data.length
  if (was.arbiter !== undefined && is.arbiter !== undefined) {
    if (was.arbiter !== is.arbiter) replace(was.arbiter, is.arbiter)
  } else if (was.arbiter !== undefined) {
    remove(was.arbiter, copies)
  }
  for (const name of added) add(name, `replica ${++copies}`)
  for (const name of removed) remove(name, --copies)
  if (was.arbiter === undefined && is.arbiter !== undefined) add(is.arbiter, 'replica 3 arbiter 1')
  return steps
}

function bricks(plan: Plan, { name, members, arbiter }: PlanGroup): Bricks {
  return {
    data: members.map(member => brick(plan, member, name)),
    arbiter: arbiter === null ? undefined : brick(plan, arbiter, name)
  }
}

function brick({ hosts }: Plan, host: string, group: string): string {
  return `${hosts.find(({ name }) => name === host)?.address ?? host}:${brickOf(group)}`
}

function addressOf(brick: string): string {
  return brick.slice(0, brick.indexOf(':'))
}

function poolAddresses({ hosts }: Plan): string[] {
  return hosts.filter(({ roles }) => roles.includes('brick')).map(({ address }) => address)
}
