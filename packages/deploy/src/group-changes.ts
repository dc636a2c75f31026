/** From one rendering to the next: what gluster must be told. */
import { brickOf } from './cluster-addresses.ts'
import { JOIN_POOL } from './gluster-volume.ts'
import type { Plan, PlanGroup } from './plan.ts'

export interface GroupChange {
  /** Without number: `group001.a.sh`, to be run on host a. */
  file: string
  text: string
  /** One sentence for the terminal. */
  summary: string
}

export interface Changes {
  scripts: GroupChange[]
  /** What no script does. */
  notes: string[]
}

/** Address and path: a member on another address is another brick, whatever its name. */
interface Bricks {
  data: string[]
  arbiter: string | undefined
}

/** Compares two plans. */
export function changesBetween(before: Plan, after: Plan): Changes {
  const scripts: GroupChange[] = []
  const notes: string[] = []
  for (const group of after.groups) {
    const old = before.groups.find(({ name }) => name === group.name)
    if (old === undefined) {
      notes.push(
        `${group.name} is new: on its hosts do what README.md says for a new host, then run steps/10-… and steps/30-store-${group.name}…`
      )
      continue
    }
    const change = groupChange(before, old, after, group)
    if (typeof change === 'string') notes.push(change)
    else if (change) scripts.push(change)
  }
  for (const { name } of before.groups) {
    if (after.groups.some(group => group.name === name)) continue
    notes.push(
      `${name} is gone from the description: its volume and its films are left as they are. When nobody needs them: gluster volume stop ${name}; gluster volume delete ${name}`
    )
  }
  for (const { name } of after.hosts) {
    if (!before.hosts.some(host => host.name === name))
      notes.push(`${name} is a new host: README.md says how to add one`)
  }
  for (const { name } of before.hosts) {
    if (!after.hosts.some(host => host.name === name))
      notes.push(
        `${name} is gone: stop what runs there, if it still does, once the others have their new files`
      )
  }
  return { scripts, notes }
}

function groupChange(
  before: Plan,
  old: PlanGroup,
  after: Plan,
  now: PlanGroup
): GroupChange | string | undefined {
  const was = bricks(before, old)
  const is = bricks(after, now)
  const steps = brickSteps(now.name, was, is)
  if (steps.length === 0) return undefined
  const stays = now.members.find(member => was.data.includes(brick(after, member, now.name)))
  if (stays === undefined) {
    return `${now.name}: no member stays, so nothing would be left to copy from; change one member after the other, and let each be healed`
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
${
  added.length === 0
    ? ''
    : `
${JOIN_POOL}
${added.map(address => `probe ${address}`).join('\n')}
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
