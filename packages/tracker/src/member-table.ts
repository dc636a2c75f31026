/**
 * Which storage servers there are and how they do. Pure: time comes from the clock it is given.
 *
 *   JOIN            → ONLINE                       (the same start again: nothing changes)
 *   BEAT            → ACTIVE
 *   PRESENCE        → ACTIVE, with load            (a join and a heartbeat in one)
 *   silence         → OFFLINE after the check interval; gone after a day
 *   LEAVE           → OFFLINE at once, until it joins again
 *   connection lost → handed out last, and OFFLINE sooner (`connectionLost`)
 */
import { isIP } from 'node:net'
import {
  HOST_NAME_BYTES_MAX,
  isGroupName,
  RejectedError,
  UnavailableError,
  type BeatRecord,
  type ExtendedAddress,
  type JoinRecord,
  type Presence
} from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import type { Member, MemberGroup, MemberIdentity, MemberLoad, MemberStatus } from './member.ts'

/** A table that is full makes room by forgetting who is OFFLINE longest; else it refuses as TABLE_FULL. */
export const MEMBERS_MAX = 10_000
/** What has been OFFLINE for so long leaves the table. */
export const FORGET_AFTER_MS = 24 * 3_600_000
/** Addresses that one storage server may advertise. */
export const ADVERTISED_MAX = 4
/** A server whose heartbeat connection closed is waited for at least so long. */
export const LOST_GRACE_MS_MIN = 2_000
/** And so long where nothing is known of its heartbeat interval. */
export const LOST_GRACE_MS_DEFAULT = 10_000

const VERSION_CHARACTERS_MAX = 32
const REASON_CHARACTERS_MAX = 256
const ADDRESS_HOST = /^[A-Za-z0-9.:_-]{1,253}$/

type Writable<T> = { -readonly [K in keyof T]: T[K] }
interface Row extends Writable<Member> {
  home: Group
  /** Between its last two PRESENCE; 0 = not known. */
  intervalMs: number
  offlineSinceMs: number
  /** It said that it leaves: a heartbeat alone does not bring it back. */
  left: boolean
}
interface Group extends Writable<Omit<MemberGroup, 'members'>> {
  members: Set<Row>
}

export interface MemberTableOptions {
  clock: Clock
  /** Silence after which a server is OFFLINE. */
  checkIntervalMs: number
  membersMax?: number
  /** Told of every change of status; a newcomer was OFFLINE. */
  onChange?: (member: Member, before: MemberStatus) => void
}

export class MemberTable {
  readonly checkIntervalMs: number
  readonly #clock: Clock
  readonly #membersMax: number
  readonly #onChange: (member: Member, before: MemberStatus) => void
  readonly #rows = new Map<string, Row>()
  readonly #groups = new Map<string, Group>()
  /** By (group, host name, IP): heartbeats carry no port. */
  readonly #hosts = new Map<string, Set<Row>>()

  constructor({ clock, checkIntervalMs, membersMax, onChange }: MemberTableOptions) {
    this.#clock = clock
    this.checkIntervalMs = checkIntervalMs
    this.#membersMax = membersMax ?? MEMBERS_MAX
    this.#onChange = onChange ?? (() => {})
  }

  get size(): number {
    return this.#rows.size
  }

  group(name: string): MemberGroup | undefined {
    return this.#groups.get(name)
  }

  /** In the order of their first member's coming. */
  groups(): Iterable<MemberGroup> {
    return this.#groups.values()
  }

  has(member: Member): boolean {
    return this.#rows.get(identityKey(member)) === member
  }

  /**
   * A storage server says that it is there.
   *
   * @param ip Plain address of the connection.
   * @throws {UnavailableError} TABLE_FULL
   */
  join(ip: string, { version, group, hostName, port, startedAtS, joinedAtS }: JoinRecord): Member {
    const row = this.#rowOf({ group, hostName, ip, port })
    const isSameRun = row.status !== 'OFFLINE' && row.startedAtS === startedAtS
    this.#began(row, version, startedAtS, joinedAtS)
    // Once it has sent heartbeats, only heartbeats keep it.
    if (isSameRun && row.status === 'ACTIVE') return row
    this.#heard(row)
    if (isSameRun) return row
    this.#forgetReports(row)
    row.beatAtS = 0
    this.#become(row, 'ONLINE')
    return row
  }

  /**
   * A heartbeat. It carries no port: it is for the servers that joined on the same connection, else for every one
   * that fits.
   *
   * @throws {RejectedError} NOT_JOINED: there is none; the sender then joins again.
   */
  beat(ip: string, { group, hostName }: BeatRecord, joinedHere?: ReadonlySet<Member>): void {
    const fitting = this.#hosts.get(hostKey({ group, hostName, ip }))
    let heard = 0
    if (fitting && joinedHere) {
      for (const row of fitting) if (joinedHere.has(row)) heard += this.#beatOf(row)
    }
    if (fitting && heard === 0) for (const row of fitting) heard += this.#beatOf(row)
    if (heard === 0) {
      throw new RejectedError('NOT_JOINED', `${hostName} at ${ip} is no storage server of group ${group}`)
    }
  }

  /**
   * Join, heartbeat and load in one.
   *
   * @throws {RejectedError} BAD_FIELD
   * @throws {UnavailableError} TABLE_FULL
   */
  presence(ip: string, report: Presence): Member {
    checkReport(report)
    const { group, hostName, port, version, startedAtS, joinedAtS } = report
    const row = this.#rowOf({ group, hostName, ip, port })
    const nowMs = this.#clock.monotonicMs()
    const isSameRun = row.status !== 'OFFLINE' && row.startedAtS === startedAtS
    // A change of state is reported at once, between two heartbeats: the longer gap is the interval.
    row.intervalMs = isSameRun && row.load ? Math.max(nowMs - row.heardMs, row.intervalMs / 2) : 0
    this.#began(row, version, startedAtS, joinedAtS)
    row.beatAtS = this.#nowS()
    row.left = false
    row.reason = (report.reason ?? '').slice(0, REASON_CHARACTERS_MAX)
    this.#heard(row)
    const { serving, taking } = report
    const advertised = addressesIn(report, row)
    if (row.serving !== serving || row.taking !== taking || !sameAddresses(row.advertised, advertised)) {
      row.serving = serving
      row.taking = taking
      row.advertised = advertised
      row.home.revision++
    }
    row.load = loadOf(report)
    row.home.loadRevision++
    this.#become(row, 'ACTIVE')
    return row
  }

  /** A storage server shuts down. One that is not known has left already. */
  leave(identity: MemberIdentity): void {
    const row = this.#rows.get(identityKey(identity))
    if (!row) return
    row.left = true
    this.#become(row, 'OFFLINE')
  }

  /**
   * The connection on which a server of ours reported has closed. That alone proves nothing; but a server that lives
   * reports again within its interval, so it is handed out last until then, and waited for twice as long, not the
   * whole check interval.
   */
  connectionLost(member: Member): void {
    const row = this.#rows.get(identityKey(member))
    if (!row || row !== member || row.status !== 'ACTIVE') return
    const graceMs = row.intervalMs === 0 ? LOST_GRACE_MS_DEFAULT : 2 * row.intervalMs
    const nowMs = this.#clock.monotonicMs()
    row.deadlineMs = Math.min(row.deadlineMs, nowMs + Math.max(graceMs, LOST_GRACE_MS_MIN))
    row.suspect = true
    row.home.revision++
  }

  /** Marks who fell silent, and forgets who has been OFFLINE for a day. */
  sweep(): void {
    const nowMs = this.#clock.monotonicMs()
    for (const row of this.#rows.values()) {
      if (row.status !== 'OFFLINE') {
        if (nowMs > row.deadlineMs) this.#become(row, 'OFFLINE')
      } else if (nowMs - row.offlineSinceMs > FORGET_AFTER_MS) this.#remove(row)
    }
  }

  #rowOf(identity: MemberIdentity): Row {
    const key = identityKey(identity)
    const known = this.#rows.get(key)
    if (known) return known
    if (this.#rows.size >= this.#membersMax) this.#makeRoom()
    const { group: name, hostName, ip, port } = identity
    let home = this.#groups.get(name)
    if (!home) {
      home = { name, members: new Set(), revision: 0, loadRevision: 0 }
      this.#groups.set(name, home)
    }
    const row: Row = {
      group: name,
      hostName,
      ip,
      port,
      home,
      version: '',
      startedAtS: 0,
      joinedAtS: 0,
      beatAtS: 0,
      status: 'OFFLINE',
      deadlineMs: 0,
      load: undefined,
      serving: true,
      taking: true,
      reason: '',
      advertised: [],
      suspect: false,
      heardMs: 0,
      intervalMs: 0,
      offlineSinceMs: this.#clock.monotonicMs(),
      left: false
    }
    this.#rows.set(key, row)
    home.members.add(row)
    const host = hostKey(identity)
    const sameHost = this.#hosts.get(host)
    if (sameHost) sameHost.add(row)
    else this.#hosts.set(host, new Set([row]))
    return row
  }

  #makeRoom(): void {
    this.sweep()
    let longest: Row | undefined
    for (const row of this.#rows.values()) {
      if (row.status === 'OFFLINE' && (!longest || row.offlineSinceMs < longest.offlineSinceMs)) longest = row
    }
    if (!longest) {
      throw new UnavailableError('TABLE_FULL', `the table holds ${this.#membersMax} storage servers already`)
    }
    this.#remove(longest)
  }

  #remove(row: Row): void {
    this.#rows.delete(identityKey(row))
    row.home.members.delete(row)
    row.home.revision++
    if (row.home.members.size === 0) this.#groups.delete(row.group)
    const host = hostKey(row)
    const sameHost = this.#hosts.get(host)
    sameHost?.delete(row)
    if (sameHost?.size === 0) this.#hosts.delete(host)
  }

  #beatOf(row: Row): number {
    if (row.left) return 0
    this.#heard(row)
    row.beatAtS = this.#nowS()
    this.#become(row, 'ACTIVE')
    return 1
  }

  /** The same start is the same run: it keeps the time at which it first joined. */
  #began(row: Row, version: string, startedAtS: number, joinedAtS: number): void {
    if (row.startedAtS !== startedAtS || row.joinedAtS === 0) row.joinedAtS = joinedAtS || this.#nowS()
    row.startedAtS = startedAtS
    row.version = version.slice(0, VERSION_CHARACTERS_MAX)
  }

  #heard(row: Row): void {
    const nowMs = this.#clock.monotonicMs()
    // Heard of late, but before a sweep noticed: it is not in what is handed out, and must come back.
    if (row.suspect || nowMs > row.deadlineMs) row.home.revision++
    row.suspect = false
    row.heardMs = nowMs
    row.deadlineMs = nowMs + this.checkIntervalMs
  }

  /** A join says nothing of load: what the last run reported is no longer true. */
  #forgetReports(row: Row): void {
    row.left = false
    row.load = undefined
    row.serving = true
    row.taking = true
    row.reason = ''
    row.advertised = []
    row.intervalMs = 0
    row.home.revision++
  }

  #become(row: Row, status: MemberStatus): void {
    const before = row.status
    if (before === status) return
    row.status = status
    if (status === 'OFFLINE') row.offlineSinceMs = this.#clock.monotonicMs()
    row.home.revision++
    this.#onChange(row, before)
  }

  #nowS(): number {
    return Math.floor(this.#clock.nowMs() / 1000)
  }
}

function identityKey({ group, hostName, ip, port }: MemberIdentity): string {
  return `${group}\0${hostName}\0${ip}\0${port}`
}

function hostKey({ group, hostName, ip }: Pick<MemberIdentity, 'group' | 'hostName' | 'ip'>): string {
  return `${group}\0${hostName}\0${ip}`
}

function loadOf(report: Presence): MemberLoad {
  const { freeBytes, totalBytes, connections, requestsPerS, bytesPerS, busyPermille, copies, copiesWanted } =
    report
  return { freeBytes, totalBytes, connections, requestsPerS, bytesPerS, busyPermille, copies, copiesWanted }
}

/** What it advertises; of one that speaks TLS each address says so, also the one it spoke from. */
function addressesIn({ advertised = [], tls }: Presence, { ip, port }: Member): readonly ExtendedAddress[] {
  if (!tls) return advertised
  const spoken = advertised.length > 0 ? advertised : [{ host: ip, port, family: isIP(ip) }]
  return spoken.map(address => ({ ...address, tls }))
}

/** @throws {RejectedError} BAD_FIELD: what the fixed fields of a join record could not say, or an odd address. */
function checkReport({ group, hostName, port, advertised = [] }: Presence): void {
  const bad = (text: string): RejectedError => new RejectedError('BAD_FIELD', text)
  if (!isGroupName(group)) throw bad(`invalid group name: '${group.slice(0, 32)}'`)
  if (hostName === '' || hostName.includes('\0')) throw bad('host name is empty or holds a NUL')
  if (Buffer.byteLength(hostName) > HOST_NAME_BYTES_MAX) throw bad('host name is too long')
  if (!isPort(port)) throw bad(`port is ${port}`)
  if (advertised.length > ADVERTISED_MAX) throw bad(`more than ${ADVERTISED_MAX} advertised addresses`)
  for (const { host, port } of advertised) {
    if (!ADDRESS_HOST.test(host) || !isPort(port)) throw bad(`'${host.slice(0, 64)}':${port} is no address`)
  }
}

function isPort(port: number): boolean {
  return port >= 1 && port <= 65_535
}

function sameAddresses(a: readonly ExtendedAddress[], b: readonly ExtendedAddress[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ host, port, family, tls, region }, at) => {
      const other = b[at]!
      return (
        host === other.host &&
        port === other.port &&
        family === other.family &&
        tls === other.tls &&
        region === other.region
      )
    })
  )
}
