/**
 * What is handed out of one group: replies made in advance, one per drawn order, and given out in turn. They are made
 * again when a member comes, goes or changes, when load figures have changed for a moment, and when a member's time
 * is up, so that nobody whose heartbeat stopped is in one.
 */
import {
  encodeAddressesReply,
  extension,
  UnavailableError,
  type Address,
  type ExtendedAddress
} from '@tributary/protocol'
import { replyOf } from '@tributary/transport'
import { addressesOf, ipv4AddressOf } from './member-address.ts'
import type { Member, MemberGroup } from './member.ts'
import { drawOrders } from './hand-out-order.ts'
import { servingWeights, takingWeights } from './member-weight.ts'

/** Load figures that change all the time change the replies at most so often. */
const LOAD_INTERVAL_MS = 250

/** What is asked for: room for a new file, a file that exists, or a look for one that does not. */
export type Purpose = 'store' | 'read' | 'look'

/** Who asks: a legacy program (SADDRS) or one of ours (LOCATE). */
export type Dialect = 'legacy' | 'ours'

interface Deck {
  readonly replies: readonly Buffer[]
  next: number
  readonly revision: number
  readonly loadRevision: number
  /** Monotonic; a member's time is up then. */
  readonly untilMs: number
  readonly drawnAtMs: number
  /** Why there are no replies. */
  readonly refusal: UnavailableError | undefined
}

export class HandOut {
  readonly #group: MemberGroup
  readonly #random: () => number
  readonly #decks: Record<Dialect, Record<Purpose, Deck | undefined>> = {
    legacy: { store: undefined, read: undefined, look: undefined },
    ours: { store: undefined, read: undefined, look: undefined }
  }

  constructor(group: MemberGroup, random: () => number) {
    this.#group = group
    this.#random = random
  }

  /**
   * A whole reply frame, which must not be written to.
   *
   * @param nowMs Monotonic.
   * @throws {UnavailableError} NO_STORAGE_READY; NO_SPACE: members are there, and none takes new files.
   */
  reply(dialect: Dialect, purpose: Purpose, nowMs: number): Buffer {
    const decks = this.#decks[dialect]
    let deck = decks[purpose]
    if (!deck || !this.#isGood(deck, nowMs)) decks[purpose] = deck = this.#deal(dialect, purpose, nowMs)
    const { replies } = deck
    if (replies.length === 0) throw deck.refusal!
    if (deck.next >= replies.length) deck.next = 0
    return replies[deck.next++]!
  }

  #isGood(deck: Deck, nowMs: number): boolean {
    return (
      deck.revision === this.#group.revision &&
      nowMs <= deck.untilMs &&
      (deck.loadRevision === this.#group.loadRevision || nowMs - deck.drawnAtMs < LOAD_INTERVAL_MS)
    )
  }

  #deal(dialect: Dialect, purpose: Purpose, nowMs: number): Deck {
    const { name, revision, loadRevision } = this.#group
    const active = activeMembers(this.#group, nowMs)
    const serving = dialect === 'ours' ? active : active.filter(member => ipv4AddressOf(member))
    const stores = purpose === 'store'
    const members = stores ? serving.filter(({ taking }) => taking) : serving
    const weights = stores ? takingWeights(members) : servingWeights(members)
    const candidates = members.map(({ suspect }, at) => ({ weight: weights[at]!, suspect }))
    const replies = drawOrders(candidates, this.#random).map(order => {
      const chosen = order.map(at => members[at]!)
      return dialect === 'ours' ? oursReply(name, purpose === 'read', chosen) : legacyReply(name, chosen)
    })
    let refusal: UnavailableError | undefined
    if (replies.length === 0) {
      refusal =
        serving.length === 0
          ? noStorageReady(name)
          : new UnavailableError('NO_SPACE', `no storage server of group ${name} has space for new files`)
    }
    return {
      replies,
      next: 0,
      revision,
      loadRevision,
      untilMs: active.reduce((least, { deadlineMs }) => Math.min(least, deadlineMs), Infinity),
      drawnAtMs: nowMs,
      refusal
    }
  }
}

/** Those that may be handed out now. */
export function activeMembers(group: MemberGroup, nowMs: number): Member[] {
  const active: Member[] = []
  for (const member of group.members) {
    if (member.status === 'ACTIVE' && member.serving && nowMs <= member.deadlineMs) active.push(member)
  }
  return active
}

export function noStorageReady(group: string): UnavailableError {
  return new UnavailableError('NO_STORAGE_READY', `no active storage server in group ${group}`)
}

function legacyReply(group: string, members: readonly Member[]): Buffer {
  const addresses = members.map(member => ipv4AddressOf(member) as Address)
  return replyOf('tracker', encodeAddressesReply(group, addresses))
}

/** First one address of each member, best first, then their further ones. */
function oursReply(group: string, exists: boolean, members: readonly Member[]): Buffer {
  const lists = members.map(addressesOf)
  const addresses: ExtendedAddress[] = []
  for (let at = 0; lists.some(list => at < list.length); at++) {
    for (const list of lists) {
      const address = list[at]
      if (address) addresses.push(address)
    }
  }
  return replyOf('tracker', extension.locateReply.encode({ group, exists, addresses }))
}
