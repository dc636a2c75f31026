/** What this client knows of each storage server: how busy it keeps it, and whether it just failed. */
import { formatAddress, type Address } from '@tributary/protocol'

/** An address that failed is asked last for so long. */
const FAILING_MS = 4_000
/** Addresses that are remembered; the longest known go first. */
const MEMBERS_MAX = 2_000

/** Calls of one turn of the event loop go to one member, and leave in one write, until it has so many more than others. */
const TOGETHER_MAX = 16

export interface Member {
  readonly address: Address
  /** Calls and transfers of ours that are under way there. */
  inFlight: number
  failingUntilMs: number
}

export class Members {
  readonly #byName = new Map<string, Member>()
  #turn = 0
  /** Who was picked in this turn of the event loop. */
  #favourite: Member | undefined

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
   * The one to ask: not failing, fewest in flight; equals take turns, from one turn of the event loop to the next.
   *
   * @returns undefined when all of them are in `tried`.
   */
  pick(members: readonly Member[], tried?: ReadonlySet<Member>): Member | undefined {
    const count = members.length
    const nowMs = performance.now()
    const favourite = this.#favourite
    const first = this.#turn
    let best: Member | undefined
    let bestFails = false
    let hasFavourite = false
    for (let i = 0; i < count; i++) {
      const member = members[(first + i) % count]!
      if (tried?.has(member)) continue
      const fails = member.failingUntilMs > nowMs
      if (member === favourite && !fails) hasFavourite = true
      if (!best || (bestFails && !fails) || (bestFails === fails && member.inFlight < best.inFlight)) {
        best = member
        bestFails = fails
      }
    }
    if (hasFavourite && favourite!.inFlight < best!.inFlight + TOGETHER_MAX) return favourite
    if (best && count > 1) this.#favour(best)
    return best
  }

  isFailing(member: Member): boolean {
    return member.failingUntilMs > performance.now()
  }

  failed(member: Member): void {
    member.failingUntilMs = performance.now() + FAILING_MS
  }

  #favour(member: Member): void {
    if (!this.#favourite) setImmediate(this.#nextTurn)
    this.#favourite = member
  }

  readonly #nextTurn = (): void => {
    this.#favourite = undefined
    this.#turn = (this.#turn + 1) & 0xffff
  }
}
