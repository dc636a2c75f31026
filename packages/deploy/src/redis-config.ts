/** The cache: one Redis writes, others follow, Sentinels decide which. It keeps nothing on disk. */
import { REDIS_NAME } from './cluster-addresses.ts'
import { hostNamed, PORTS, type Description, type Host } from './description.ts'
import { GROUP_ONLY, hostFile, type RenderedFile } from './rendered-file.ts'
import type { Secrets } from './secrets.ts'

/** A primary that says nothing for so long is down; a replica is writable some 2.4 s after its death. */
const DOWN_AFTER_MS = 1_000
const FAILOVER_TIMEOUT_MS = 10_000

export function redisFiles(description: Description, host: Host, secrets: Secrets): RenderedFile[] {
  const { redis } = description
  if (redis === undefined) return []
  const primary = hostNamed(description, redis.primary)
  const files: RenderedFile[] = []
  if (host === primary || redis.replicas.includes(host.name)) {
    const text = serverText(host, host === primary ? undefined : primary, redis.memory, secrets)
    files.push(hostFile(host.name, '/etc/redis/redis.conf', text, GROUP_ONLY))
  }
  if (redis.sentinels.includes(host.name)) {
    const quorum = Math.floor(redis.sentinels.length / 2) + 1
    const text = sentinelText(host, primary, quorum, secrets)
    files.push(hostFile(host.name, '/etc/redis/sentinel.tributary.conf', text, GROUP_ONLY))
  }
  return files
}

function serverText(
  host: Host,
  primary: Host | undefined,
  memory: string,
  { redisPassword }: Secrets
): string {
  return `# Made by 'tributary deploy render'. Sentinel changes it when it makes another host the primary.
bind 127.0.0.1 ${host.address}
port ${PORTS.redis}
dir /var/lib/redis
logfile ""
save ""
appendonly no
maxmemory ${memory}
maxmemory-policy allkeys-lru
requirepass ${redisPassword}
masterauth ${redisPassword}
replica-announce-ip ${host.address}
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-timeout 10
${primary === undefined ? '' : `replicaof ${primary.address} ${PORTS.redis}\n`}`
}

function sentinelText(host: Host, primary: Host, quorum: number, { redisPassword }: Secrets): string {
  return `# Made by 'tributary deploy render': what /var/lib/redis/sentinel.conf begins with.
bind 127.0.0.1 ${host.address}
protected-mode no
port ${PORTS.sentinel}
dir /var/lib/redis
logfile ""
sentinel announce-ip ${host.address}
sentinel monitor ${REDIS_NAME} ${primary.address} ${PORTS.redis} ${quorum}
sentinel auth-pass ${REDIS_NAME} ${redisPassword}
sentinel down-after-milliseconds ${REDIS_NAME} ${DOWN_AFTER_MS}
sentinel failover-timeout ${REDIS_NAME} ${FAILOVER_TIMEOUT_MS}
sentinel parallel-syncs ${REDIS_NAME} 1
`
}
