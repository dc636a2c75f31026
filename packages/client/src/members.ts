/** What this client knows of each storage server: how busy it keeps it, and whether it just failed. */
import { formatAddress, type Address } from '@tributary/protocol'

/** An address that failed is asked last for so long. */
const FAILING_MS = 4_000
/** Addresses that are remembered; the longest known go first. */
const MEMBERS_MAX = 2_000

export interface Member {
  readonly address: Address
  /** Calls and transfers of ours that are under way there. */
  inFlight: number
  failingUntilMs: number
}

export class Members {
  readonly #byName = new Map<string, Member>()
  #turn = 0

  of(address: Address): Member {
    const name = formatAddress(address)
    let member = this.#byName.get(name)
    if (!member) {
      if (this.#byName.size >= MEMBERS_MAX) this.#byName.delete(this.#byName.keys().next().value!)
      member = { address, inFlight: 0, failingUntilMs: 0 }
      this.#byName.set(name, member)
    }
    return member
  }

  /**
   * The one to ask: not failing, fewest in flight; equals take turns.
   *
   * @returns undefined when all of them are in `tried`.
   */
  pick(members: readonly Member[], tried?: ReadonlySet<Member>): Member | undefined {
    const count = members.length
    const nowMs = performance.now()
    const first = (this.#turn = (this.#turn + 1) & 0xffff)
    let best: Member | undefined
    let bestFails = false
    for (let i = 0; i < count; i++) {
      const member = members[(first + i) % count]!
      if (tried?.has(member)) continue
      const fails = member.failingUntilMs > nowMs
      if (!best || (bestFails && !fails) || (bestFails === fails && member.inFlight < best.inFlight)) {
        best = member
        bestFails = fails
      }
    }
    return best
  }

  failed(member: Member): void {
    member.failingUntilMs = performance.now() + FAILING_MS
  }
}
