/** Configuration that every server of the wire protocol has: where it listens, whom it lets in, when it stops. */
import { AllowList, isLoopbackHost } from './access.ts'
import type { ConfigConflict, ConfigKeys, ConfigValue } from './config-key.ts'
import { LOG_LEVELS } from './log.ts'
import { parseNetwork } from './network-entry.ts'
import { WIRE_KEYS, WIRE_SERVER_KEYS, wireServerConflicts, type WireServerConfig } from './wire-config.ts'

/** The address a server listens on; to be spread into the keys of its definition. */
export function addressKeys<const Port extends number>(port: Port) {
  return {
    host: { type: 'string', default: '127.0.0.1', describe: 'Address to listen on' },
    port: { type: 'port', default: port, describe: 'Port to listen on; 0 takes any free one' }
  } as const satisfies ConfigKeys
}

/** To be spread into the keys of a definition, behind those of its own. */
export const LISTENER_KEYS = {
  admin_host: { type: 'string', default: '127.0.0.1', describe: 'Address of health and metrics' },
  admin_port: { type: 'port', default: 0, describe: 'Port of health and metrics; 0 turns them off' },
  allow: {
    type: 'list',
    optional: true,
    parse: parseNetwork,
    describe:
      'Networks that may connect: address, address/prefix, loopback, private or any (default loopback, with a cluster key any)'
  },
  insecure: {
    type: 'boolean',
    default: false,
    describe: 'Listen beyond this machine without an allow list or a cluster key'
  },
  ...WIRE_KEYS,
  ...WIRE_SERVER_KEYS,
  connections_max: {
    type: 'integer',
    default: 10_000,
    min: 1,
    max: 1_000_000,
    describe: 'Connections open at a time'
  },
  stop_timeout_s: {
    type: 'number',
    default: 10,
    min: 0,
    max: 3_600,
    describe: 'How long an orderly stop may take'
  },
  host_name: { type: 'string', optional: true, describe: "Name in error texts (default: the machine's)" },
  log_level: {
    type: 'choice',
    choices: LOG_LEVELS,
    default: 'info',
    reloadable: true,
    describe: 'Least important line logged'
  }
} as const satisfies ConfigKeys

export type ListenerConfig = ConfigValue<ReturnType<typeof addressKeys> & typeof LISTENER_KEYS>

/**
 * Listening beyond this machine needs an allow list, a cluster key, or an explicit `insecure`; health and metrics, which prove nothing,
 * need the list.
 */
export function listenerConflicts(
  config: Pick<ListenerConfig, 'host' | 'adminHost' | 'adminPort' | 'allow' | 'insecure'> & WireServerConfig
): ConfigConflict[] {
  const { host, allow, insecure, clusterKey } = config
  const conflicts = wireServerConflicts(config)
  if (!isLoopbackHost(host) && clusterKey === undefined && allow === undefined && !insecure) {
    const expected = 'an allow list, a cluster_key, or insecure = true, as it listens beyond this machine'
    conflicts.push({ key: 'allow', expected })
  } else conflicts.push(...adminConflicts(config))
  return conflicts
}

/** Health and metrics alone, of a program that has no other listener or whose other one is in order. */
export function adminConflicts({
  adminHost,
  adminPort,
  allow,
  insecure
}: Pick<ListenerConfig, 'adminHost' | 'adminPort' | 'allow' | 'insecure'>): ConfigConflict[] {
  if (adminPort === 0 || isLoopbackHost(adminHost) || allow !== undefined || insecure) return []
  const expected = 'an allow list, or insecure = true, as health and metrics listen beyond this machine'
  return [{ key: 'allow', expected }]
}

/** Who may connect: the list as configured; without one loopback, or anybody under `insecure` or where a key is to be proved. */
export function allowListOf({
  allow,
  insecure,
  clusterKey
}: Pick<ListenerConfig, 'allow' | 'insecure'> & { clusterKey?: string | undefined }): AllowList {
  return AllowList.parse(allow ?? [insecure || clusterKey !== undefined ? 'any' : 'loopback'])
}
