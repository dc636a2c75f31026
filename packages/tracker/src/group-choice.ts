import type { MemberGroup } from './member.ts'
import { activeMembers } from './hand-out.ts'

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
  const candidates: { name: string; freeBytes: number | undefined }[] = []
  for (const group of groups) {
    const members = activeMembers(group, nowMs).filter(({ taking }) => taking || !takes)
    if (members.length > 0) candidates.push({ name: group.name, freeBytes: freeBytesOf(members) })
  }
  const known = candidates.map(({ freeBytes }) => freeBytes).filter(bytes => bytes !== undefined)
  // Groups of legacy servers report nothing: they count as the middle of the others.
  const middle = known.length === 0 ? 1 : known.reduce((sum, bytes) => sum + bytes, 0) / known.length
  const weights = candidates.map(({ freeBytes }) => freeBytes ?? middle)
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  let left = random() * total
  for (const [at, { name }] of candidates.entries()) {
    left -= weights[at]!
    if (left < 0) return name
  }
  return candidates.at(-1)?.name
}

/** Members mirror each other, so the fullest one says what the group can take. */
function freeBytesOf(members: readonly { load: { freeBytes: number } | undefined }[]): number | undefined {
  const known = members.map(({ load }) => load?.freeBytes).filter(bytes => bytes !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}
