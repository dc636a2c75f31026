/** What the tracker answers, command by command. Source: docs/PROTOCOL.md, Commands and Extensions. */
import type { FileIndex, GroupRow } from '@tributary/database'
import { checkFileKey, decodeBeat, decodeFileKey, decodeJoin, extension } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import { replyOf, type Handlers, type Peer } from '@tributary/transport'
import type { CallDispatcher } from './calls/call-dispatcher.ts'
import { checkListRequest, encodeFileListing } from './file-listing.ts'
import { encodeCluster, encodeGroupListing, listedGroups } from './group-listing.ts'
import { HandOut, noStorageReady, type Dialect, type Purpose } from './hand-out.ts'
import type { Location, Locator } from './locator.ts'
import type { Member, MemberGroup } from './member.ts'
import type { MemberTable } from './member-table.ts'

/** A listing of more members than this is made at most once in LISTING_INTERVAL_MS. */
const LISTED_MEMBERS_MIN = 256
const LISTING_INTERVAL_MS = 1_000
/** Servers that one connection may speak for. */
const MEMBERS_PER_CONNECTION_MAX = 64

export interface TrackerHandlersOptions {
  table: MemberTable
  locator: Locator
  files: Pick<FileIndex, 'list'>
  calls: CallDispatcher
  /** Groups of the database. */
  knownGroups: () => ReadonlyMap<string, GroupRow>
  cluster: string
  clock: Clock
  random: () => number
}

export function trackerHandlers(options: TrackerHandlersOptions): Handlers<'tracker'> {
  const { table, locator, files, calls, knownGroups, cluster, clock, random } = options
  // Keyed by the group itself: one that leaves the table takes its replies with it.
  const handOuts = new WeakMap<MemberGroup, HandOut>()
  /** The connection of a member's last PRESENCE: only its end means something. */
  const reporters = new WeakMap<Member, Peer>()
  const done = replyOf('tracker')
  const presenceDone = replyOf(
    'tracker',
    extension.presenceReply.encode({ checkIntervalMs: Math.round(table.checkIntervalMs) })
  )
  const listing = (encode: () => Buffer): (() => Buffer) =>
    remembering(encode, clock, () => table.size > LISTED_MEMBERS_MIN)
  const groupsReply = listing(() =>
    replyOf('tracker', encodeGroupListing(listedGroups(table, knownGroups())))
  )
  const clusterReply = listing(() =>
    replyOf('tracker', encodeCluster(cluster, listedGroups(table, knownGroups())))
  )

  function handOut(dialect: Dialect, { group: name, exists }: Location, forAbsent: Purpose): Buffer {
    const group = table.group(name)
    if (!group) throw noStorageReady(name)
    let handOut = handOuts.get(group)
    if (!handOut) handOuts.set(group, (handOut = new HandOut(group, random)))
    return handOut.reply(dialect, exists ? 'read' : forAbsent, clock.monotonicMs())
  }

  return {
    JOIN(body, { peer }) {
      joinedOn(peer, table.join(peer.ip, decodeJoin(body)))
      return done
    },

    BEAT(body, { peer }) {
      table.beat(peer.ip, decodeBeat(body), joinedHere(peer))
      return done
    },

    SADDRS(body, { peer }) {
      const location = locator.forLegacy(decodeFileKey(body, 0, true), peer.ip)
      if (!(location instanceof Promise)) return handOut('legacy', location, 'store')
      return location.then(location => handOut('legacy', location, 'store'))
    },

    GROUPS() {
      table.sweep()
      return groupsReply()
    },

    PRESENCE(body, { peer }) {
      const member = table.presence(peer.ip, extension.presence.decode(body))
      if (reporters.get(member) === peer) return presenceDone
      reporters.set(member, peer)
      if (speaksFor(peer, member)) {
        peer.onClose(() => {
          if (reporters.get(member) === peer) table.connectionLost(member)
        })
      }
      return presenceDone
    },

    LEAVE(body, { peer }) {
      table.leave({ ...extension.leave.decode(body), ip: peer.ip })
      return done
    },

    LOCATE(body, { peer }) {
      const request = extension.locate.decode(body)
      const { forUpload = false, fresh = false, clientIp = peer.ip } = request
      const location = locator.forOurs(checkFileKey(request, true), forUpload, clientIp, fresh)
      const forAbsent = request.forUpload || request.file === '' ? 'store' : 'look'
      if (!(location instanceof Promise)) return handOut('ours', location, forAbsent)
      return location.then(location => handOut('ours', location, forAbsent))
    },

    async LIST(body) {
      const request = extension.list.decode(body)
      checkListRequest(request)
      await locator.confirmApplication(request.application)
      return replyOf('tracker', await encodeFileListing(files, request))
    },

    async CALL(body) {
      const { method, arguments: text } = extension.call.decode(body)
      return replyOf('tracker', extension.callReply.encode({ result: await calls.answer(method, text) }))
    },

    CLUSTER() {
      table.sweep()
      return clusterReply()
    }
  }
}

const JOINED = Symbol('members that joined on this connection')
const REPORTED = Symbol('members that reported on this connection')

function joinedHere(peer: Peer): Set<Member> | undefined {
  return peer.notes.get(JOINED) as Set<Member> | undefined
}

function joinedOn(peer: Peer, member: Member): void {
  note(peer, JOINED, member)
}

/** True where it is news that this connection reports for the member. */
function speaksFor(peer: Peer, member: Member): boolean {
  return note(peer, REPORTED, member)
}

function note(peer: Peer, kind: symbol, member: Member): boolean {
  let members = peer.notes.get(kind) as Set<Member> | undefined
  if (!members) peer.notes.set(kind, (members = new Set()))
  if (members.has(member) || members.size >= MEMBERS_PER_CONNECTION_MAX) return false
  members.add(member)
  return true
}

/** Makes it anew for every caller, or, while `isLarge`, at most once in a while. */
function remembering(make: () => Buffer, clock: Clock, isLarge: () => boolean): () => Buffer {
  let made: Buffer | undefined
  let madeAtMs = -Infinity
  return () => {
    if (!isLarge()) return make()
    const nowMs = clock.monotonicMs()
    if (!made || nowMs - madeAtMs >= LISTING_INTERVAL_MS) {
      made = make()
      madeAtMs = nowMs
    }
    return made
  }
}
