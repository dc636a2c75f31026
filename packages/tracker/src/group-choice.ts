/** Which group gets a new user, and which one a file that its user's own group does not take. */
import { createHash } from 'node:crypto'
import type { Clock } from '@tributary/runtime'
import type { Catalog } from './catalog.ts'
import { activeMembers } from './hand-out.ts'
import type { MemberGroup } from './member.ts'
import type { MemberTable } from './member-table.ts'
import type { RegionMap } from './region-map.ts'

/**
 * `full`: it serves, and nobody in it takes new files. A group where nobody is active `takes`: it is expected back, and
 * whoever asks is told so.
 */
export type GroupState = 'takes' | 'full' | 'draining'

export interface GroupChoiceOptions {
  table: MemberTable
  catalog: Catalog
  regions: RegionMap
  clock: Clock
  random: () => number
}

interface Candidate {
  readonly name: string
  readonly weight: number
}

export class GroupChoice {
  readonly #options: GroupChoiceOptions

  constructor(options: GroupChoiceOptions) {
    this.#options = options
  }

  stateOf(name: string): GroupState {
    const { table, catalog, clock } = this.#options
    const row = catalog.groups.get(name)
    if (row?.draining) return 'draining'
    const group = table.group(name)
    const active = group ? activeMembers(group, clock.monotonicMs()) : []
    // Removed, while a cache still has the route: nobody is expected back there.
    if (!row && active.length === 0) return 'draining'
    return active.length > 0 && !active.some(({ taking }) => taking) ? 'full' : 'takes'
  }

  /**
   * A group that `takes` new files, or that at least serves; in a preferred region if there is one.
   *
   * @param from The group that the user had, whose region comes last among the preferred ones.
   * @returns undefined where there is none.
   */
  forNewUser(takes: boolean, application: string, ip: string, from?: string): string | undefined {
    const { clock, random } = this.#options
    return this.#inPreferred(application, ip, from, groups =>
      chooseGroup(groups, takes, clock.monotonicMs(), random)
    )
  }

  /** A group that takes a file in place of `from`: the same for one user as long as the groups stay what they are. */
  forNewFile(user: string, application: string, ip: string, from: string): string | undefined {
    const { clock } = this.#options
    return this.#inPreferred(application, ip, from, groups => drawnFor(user, groups, clock.monotonicMs()))
  }

  #inPreferred(
    application: string,
    ip: string,
    from: string | undefined,
    choose: (groups: readonly MemberGroup[]) => string | undefined
  ): string | undefined {
    const { catalog, regions } = this.#options
    const open = this.#openGroups()
    const preferred = regions.preferred(ip, application)
    const own = from === undefined ? undefined : catalog.groups.get(from)?.region
    if (own) preferred.push(own)
    for (const region of preferred) {
      const chosen = choose(open.filter(({ name }) => catalog.groups.get(name)?.region === region))
      if (chosen !== undefined) return chosen
    }
    return choose(open)
  }

  /** Groups that may get something new. */
  #openGroups(): MemberGroup[] {
    const { table, catalog } = this.#options
    const open: MemberGroup[] = []
    for (const { name, draining } of catalog.groups.values()) {
      const group = draining ? undefined : table.group(name)
      if (group) open.push(group)
    }
    return open
  }
}

/**
 * A group for a new user: drawn by free space among those with an active member.
 *
 * @param groups Those that may get new users.
 * @param takes  Only members that take new files count; else all that serve.
 * @param nowMs  Monotonic.
 * @returns Its name, or undefined where there is none.
 */
export function chooseGroup(
  groups: readonly MemberGroup[],
  takes: boolean,
  nowMs: number,
  random: () => number
): string | undefined {
  const candidates = candidatesOf(groups, takes, nowMs)
  const total = candidates.reduce((sum, { weight }) => sum + weight, 0)
  let left = random() * total
  for (const { name, weight } of candidates) {
    left -= weight
    if (left < 0) return name
  }
  return candidates.at(-1)?.name
}

/**
 * Draws by free space too, with a number made of the user and the group's name: whoever draws for the same user gets the
 * same group, and a group that comes or goes changes nothing for the users of the others.
 */
function drawnFor(user: string, groups: readonly MemberGroup[], nowMs: number): string | undefined {
  let best: string | undefined
  let bestScore = -Infinity
  for (const { name, weight } of candidatesOf(groups, true, nowMs)) {
    const hash = createHash('sha1').update(`${name}\0${user}`).digest().readUInt32BE(0)
    const score = Math.log((hash + 0.5) / 2 ** 32) / Math.max(1, weight)
    if (score > bestScore) {
      best = name
      bestScore = score
    }
  }
  return best
}

function candidatesOf(groups: readonly MemberGroup[], takes: boolean, nowMs: number): Candidate[] {
  const candidates: { name: string; freeBytes: number | undefined }[] = []
  for (const group of groups) {
    const members = activeMembers(group, nowMs).filter(({ taking }) => taking || !takes)
    if (members.length > 0) candidates.push({ name: group.name, freeBytes: freeBytesOf(members) })
  }
  const known = candidates.map(({ freeBytes }) => freeBytes).filter(bytes => bytes !== undefined)
  // Groups of legacy servers report nothing: they count as the middle of the others.
  const middle = known.length === 0 ? 1 : known.reduce((sum, bytes) => sum + bytes, 0) / known.length
  return candidates.map(({ name, freeBytes }) => ({ name, weight: freeBytes ?? middle }))
}

/** Members mirror each other, so the fullest one says what the group can take. */
function freeBytesOf(members: readonly { load: { freeBytes: number } | undefined }[]): number | undefined {
  const known = members.map(({ load }) => load?.freeBytes).filter(bytes => bytes !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}
