import type { ExtendedAddress } from '@tributary/protocol'

export type MemberStatus = 'OFFLINE' | 'ONLINE' | 'ACTIVE'

/** What makes a storage server the same one: several may live on one host, also behind one address. */
export interface MemberIdentity {
  readonly group: string
  readonly hostName: string
  /** Of the connection it spoke on; never `::ffff:a.b.c.d`. */
  readonly ip: string
  readonly port: number
}

/** As it reported with its last PRESENCE; legacy servers report none. */
export interface MemberLoad {
  readonly freeBytes: number
  readonly totalBytes: number
  readonly connections: number
  readonly requestsPerS: number
  readonly bytesPerS: number
  /** Of one core, 0 to 1000. */
  readonly busyPermille: number
  /** Of its content; undefined where nobody counts them. */
  readonly copies: number | undefined
  readonly copiesWanted: number | undefined
}

/** A storage server as this tracker knows it. The table alone changes it. */
export interface Member extends MemberIdentity {
  readonly version: string
  /** UNIX seconds, by the server's own clock. */
  readonly startedAtS: number
  readonly joinedAtS: number
  /** UNIX seconds of the last heartbeat, by this tracker's clock; 0 = never. */
  readonly beatAtS: number
  readonly status: MemberStatus
  /** Monotonic, of the last sign of life. */
  readonly heardMs: number
  /** Monotonic: it is OFFLINE from then on unless it is heard of. */
  readonly deadlineMs: number
  /** undefined: a legacy server. */
  readonly load: MemberLoad | undefined
  /** Not to be handed out while false. */
  readonly serving: boolean
  /** Not for new files while false. */
  readonly taking: boolean
  readonly reason: string
  /** Handed out instead of the peer's address where there are any. */
  readonly advertised: readonly ExtendedAddress[]
  /** The connection of its heartbeats closed and it was not heard of since: handed out last. */
  readonly suspect: boolean
}

/** The members of one group. */
export interface MemberGroup {
  readonly name: string
  readonly members: ReadonlySet<Member>
  /** Grows with every change of what may be handed out. */
  readonly revision: number
  /** Grows with every change of a load figure. */
  readonly loadRevision: number
}
