/** The table for people (GROUPS) and for programs (CLUSTER). Source: docs/PROTOCOL.md, group listing. */
import type { GroupRow } from '@tributary/database'
import {
  extension,
  formatAddress,
  type ClusterGroup,
  type ClusterMember,
  type ClusterReply
} from '@tributary/protocol'
import { addressesOf } from './member-address.ts'
import type { Member, MemberGroup } from './member.ts'
import type { MemberTable } from './member-table.ts'

/** Labels end in this column. */
const LABEL_CHARACTERS = 24
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const CONTROL_CHARACTERS = /\p{Cc}/gu

interface ListedGroup {
  readonly name: string
  readonly row: GroupRow | undefined
  readonly members: readonly Member[]
}

/** Groups of the database and of the table, in order of their names. */
export function listedGroups(table: MemberTable, known: ReadonlyMap<string, GroupRow>): ListedGroup[] {
  const tabled = new Map<string, MemberGroup>()
  for (const group of table.groups()) tabled.set(group.name, group)
  const names = [...new Set([...known.keys(), ...tabled.keys()])].sort()
  return names.map(name => ({
    name,
    row: known.get(name),
    members: [...(tabled.get(name)?.members ?? [])]
  }))
}

/** Body of the reply to GROUPS: text and its NUL, times in the local time zone. */
export function encodeGroupListing(groups: readonly ListedGroup[]): Buffer {
  const lines = [line('COUNT OF GROUPS', String(groups.length))]
  for (const { name, members } of groups) {
    const active = members.filter(({ status }) => status === 'ACTIVE').length
    lines.push(
      line('GROUPNAME', name),
      line('COUNT OF STORAGES', String(members.length)),
      line('COUNT OF ACTIVE STORAGES', String(active))
    )
    for (const member of members) {
      lines.push(
        line('VERSION', member.version),
        line('HOSTNAME', member.hostName),
        line('ADDRESS', formatAddress(addressesOf(member)[0]!)),
        line('STARTUP TIME', localTime(member.startedAtS)),
        line('JOIN TIME', localTime(member.joinedAtS)),
        line('BEAT TIME', localTime(member.beatAtS)),
        line('STATUS', member.status)
      )
    }
  }
  return Buffer.from(`${lines.join('\n')}\0`)
}

/** Body of the reply to CLUSTER. */
export function encodeCluster(cluster: string, groups: readonly ListedGroup[]): Buffer {
  const reply: ClusterReply = {
    cluster,
    groups: groups.map(({ name, row, members }): ClusterGroup => ({
      name,
      region: row?.region ?? '',
      known: row !== undefined,
      members: members.map(clusterMember),
      ...(row?.draining && { draining: true })
    }))
  }
  return extension.clusterReply.encode(reply)
}

function clusterMember(member: Member): ClusterMember {
  const { version, hostName, startedAtS, joinedAtS, beatAtS, status, serving, taking, reason, load } = member
  return {
    version,
    hostName,
    addresses: addressesOf(member).map(address => ({ ...address })),
    startedAtS,
    joinedAtS,
    beatAtS,
    status,
    serving,
    taking,
    reason,
    freeBytes: load?.freeBytes ?? 0,
    totalBytes: load?.totalBytes ?? 0,
    connections: load?.connections ?? 0,
    requestsPerS: load?.requestsPerS ?? 0,
    bytesPerS: load?.bytesPerS ?? 0,
    legacy: load === undefined,
    copies: load?.copies,
    copiesWanted: load?.copiesWanted
  }
}

/** A peer chose the text: it must not make lines of its own. */
function line(label: string, text: string): string {
  return `${label.padStart(LABEL_CHARACTERS)}: ${text.replace(CONTROL_CHARACTERS, '?')}`
}

/** `Sun Nov 22 07:39:12 2026`, the day padded with a space; `-` where there was none. */
function localTime(unixS: number): string {
  const time = new Date(unixS * 1000)
  if (unixS === 0 || Number.isNaN(time.getTime())) return '-'
  const two = (value: number): string => String(value).padStart(2, '0')
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':')
  const day = `${DAYS[time.getDay()]} ${MONTHS[time.getMonth()]} ${String(time.getDate()).padStart(2)}`
  return `${day} ${clock} ${time.getFullYear()}`
}
