import { bricksOf, groupsOf, type Description, type Host } from './description.ts'
import { mountUnitName } from './gluster-volume.ts'
import { hasVirtualAddress, ownUnits } from './systemd-units.ts'

/** Everything that runs on a host, in the order in which it is started when the host comes back. */
export function hostUnits(description: Description, host: Host): string[] {
  const { redis } = description
  const groups = groupsOf(description, host.name)
  const when = (condition: boolean | undefined, unit: string): string[] => (condition ? [unit] : [])
  return [
    ...when(bricksOf(description, host.name).length > 0, 'glusterd.service'),
    ...when(host.roles.includes('database'), 'mariadb.service'),
    ...when(redis && [redis.primary, ...redis.replicas].includes(host.name), 'redis-server.service'),
    ...when(redis?.sentinels.includes(host.name), 'redis-sentinel.service'),
    ...groups.map(({ name }) => mountUnitName(name)),
    ...when(groups.length > 0, 'tributary-mounts.service'),
    ...ownUnits(description, host),
    ...when(hasVirtualAddress(description, host), 'keepalived.service')
  ]
}
