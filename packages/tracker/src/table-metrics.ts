import { formatHostPort, type Clock, type Metrics } from '@tributary/runtime'
import type { Member } from './member.ts'
import type { MemberTable } from './member-table.ts'

/** Storage servers, and groups, with metrics of their own. */
const MEMBERS_EXPOSED_MAX = 1_000

/** What the table says of groups and of storage servers. */
export function addTableMetrics(metrics: Metrics, table: MemberTable, clock: Clock): void {
  const members = (): Member[] => [...table.groups()].flatMap(group => [...group.members])
  const perMember = (read: (member: Member) => number | undefined) => () =>
    members()
      .slice(0, MEMBERS_EXPOSED_MAX)
      .flatMap(member => {
        const value = read(member)
        const { group, hostName } = member
        const address = formatHostPort({ host: member.ip, port: member.port })
        return value === undefined ? [] : [{ labels: { group, host: hostName, address }, value }]
      })
  metrics.gauge(
    'storages',
    'Storage servers by group and status',
    () =>
      [...table.groups()].slice(0, MEMBERS_EXPOSED_MAX).flatMap(({ name, members }) =>
        (['OFFLINE', 'ONLINE', 'ACTIVE'] as const).map(status => ({
          labels: { group: name, status },
          value: [...members].filter(member => member.status === status).length
        }))
      ),
    ['group', 'status']
  )
  const labels = ['group', 'host', 'address']
  metrics.gauge(
    'heartbeat_age_seconds',
    'Time since the last heartbeat',
    perMember(({ beatAtS, heardMs }) =>
      beatAtS === 0 ? undefined : (clock.monotonicMs() - heardMs) / 1_000
    ),
    labels
  )
  metrics.gauge(
    'free_bytes',
    'Bytes that new files may take',
    perMember(({ load }) => load?.freeBytes),
    labels
  )
  metrics.gauge(
    'capacity_bytes',
    'Bytes of its stores',
    perMember(({ load }) => load?.totalBytes),
    labels
  )
}
