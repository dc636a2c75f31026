/** Where everything of a cluster is reached. */
import { groupsOf, hostNamed, hostsWith, PORTS, type Description } from './description.ts'
import type { Secrets } from './secrets.ts'

export const REDIS_NAME = 'tributary'
export const CONFIG_FOLDER = '/etc/tributary'
export const CONFIG_FILE = `${CONFIG_FOLDER}/tributary.toml`

export function mountOf(group: string): string {
  return `/srv/tributary/${group}`
}

export function storeOf(group: string): string {
  return `${mountOf(group)}/store`
}

export function brickOf(group: string): string {
  return `/srv/bricks/${group}/brick`
}

export function trackers(description: Description): string[] {
  return hostsWith(description, 'tracker').map(({ address }) => `${address}:${PORTS.tracker}`)
}

export function idServers(description: Description): string[] {
  return hostsWith(description, 'id').map(({ address }) => `${address}:${PORTS.id}`)
}

export interface StoragePlace {
  group: string
  port: number
  admin: number
}

/** The storage servers of a host, one for each of its groups. */
export function storagePlaces(description: Description, host: string): StoragePlace[] {
  return groupsOf(description, host).map(({ name }, at) => ({
    group: name,
    port: PORTS.storage + at,
    admin: PORTS.storageAdmin + at
  }))
}

/**
 * Every node, in the same order on every host: then writes meet at one node, where they wait for each other,
 * instead of at the commit of two, where one of them is thrown back.
 */
export function databaseUrls(description: Description, user: string, password: string): string[] {
  const { external, name, tls } = description.database
  const nodes =
    external.length > 0
      ? external
      : hostsWith(description, 'database').map(({ address }) => `${address}:${PORTS.database}`)
  const account = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`
  return nodes.map(node => `mysql://${account}@${node}/${name}${tls ? '?tls=true' : ''}`)
}

export function redisUrl(description: Description, { redisPassword }: Secrets): string | undefined {
  const { redis } = description
  if (redis === undefined) return undefined
  const account = `:${encodeURIComponent(redisPassword)}`
  const address = (name: string, port: number): string => `${hostNamed(description, name).address}:${port}`
  if (redis.sentinels.length === 0) return `redis://${account}@${address(redis.primary, PORTS.redis)}`
  const sentinels = redis.sentinels.map(name => address(name, PORTS.sentinel))
  return `redis-sentinel://${account}@${sentinels.join(',')}/${REDIS_NAME}`
}
