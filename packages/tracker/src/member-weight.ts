/** How large a share of the requests a member gets beside the others of its group. */
import type { Member, MemberLoad } from './member.ts'

/** A member that is busy to the brim still gets some, or its figures could never be seen to fall. */
const WEIGHT_MIN = 0.1
/** Figures below these are noise, and no reason to prefer one member to another. */
const BYTES_PER_S_NOISE = 20e6
const CONNECTIONS_NOISE = 64
const REQUESTS_PER_S_NOISE = 1_000

/** For files that exist: by what each has left of its processor, and by its traffic beside the busiest one's. */
export function servingWeights(members: readonly Member[]): number[] {
  const top = (figure: (load: MemberLoad) => number, noise: number): number =>
    members.reduce((most, { load }) => (load ? Math.max(most, figure(load)) : most), noise)
  const bytesPerS = top(load => load.bytesPerS, BYTES_PER_S_NOISE)
  const connections = top(load => load.connections, CONNECTIONS_NOISE)
  const requestsPerS = top(load => load.requestsPerS, REQUESTS_PER_S_NOISE)
  return withMiddle(
    members.map(({ load }) => {
      if (!load) return undefined
      const busy = Math.min(1, load.busyPermille / 1000)
      const traffic =
        load.bytesPerS / bytesPerS + load.connections / connections + load.requestsPerS / requestsPerS
      return Math.max(WEIGHT_MIN, 1 - busy / 2 - traffic / 6)
    })
  )
}

/** For new files: the same, times the free space beside the emptiest one's. */
export function takingWeights(members: readonly Member[]): number[] {
  const free = withMiddle(members.map(({ load }) => load?.freeBytes))
  const most = Math.max(1, ...free)
  const serving = servingWeights(members)
  return free.map((bytes, at) => serving[at]! * Math.max(WEIGHT_MIN, bytes / most))
}

/** What is not known (of legacy servers) counts as the middle of what is. */
function withMiddle(values: readonly (number | undefined)[]): number[] {
  const known = values.filter(value => value !== undefined)
  const middle = known.length === 0 ? 1 : known.reduce((sum, value) => sum + value, 0) / known.length
  return values.map(value => value ?? middle)
}
