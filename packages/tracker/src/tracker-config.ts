/** Configuration of the tracker: table `[tracker]`, variables `TRIBUTARY_TRACKER_…`, flags. */
import { isIP } from 'node:net'
import { AllowList, defineConfig, LOG_LEVELS, plainAddress, type ConfigOf } from '@tributary/runtime'

const CONNECTIONS_MAX_DEFAULT = 10_000

export const trackerConfig = defineConfig(
  'tracker',
  {
    host: { type: 'string', default: '127.0.0.1', describe: 'Address to listen on' },
    port: { type: 'port', default: 21_000, describe: 'Port to listen on; 0 takes any free one' },
    database: {
      type: 'list',
      minCount: 1,
      describe:
        'sqlite:/path/index.db or mysql://user:password@host:port/name; several MySQL addresses are tried in turn'
    },
    redis: {
      type: 'url',
      optional: true,
      describe: 'Cache in front of MySQL: redis://[user:password@]host:port'
    },
    check_interval_s: {
      type: 'number',
      default: 30,
      min: 0.1,
      max: 3_600,
      describe: 'A storage server that sent no heartbeat for so long is OFFLINE'
    },
    admin_host: { type: 'string', default: '127.0.0.1', describe: 'Address of health and metrics' },
    admin_port: { type: 'port', default: 0, describe: 'Port of health and metrics; 0 turns them off' },
    allow: {
      type: 'list',
      optional: true,
      parse: checkedNetwork,
      describe:
        'Networks that may connect: address, address/prefix, loopback, private or any (default loopback)'
    },
    insecure: {
      type: 'boolean',
      default: false,
      describe: 'Listen beyond this machine without an allow list'
    },
    connections_max: {
      type: 'integer',
      default: CONNECTIONS_MAX_DEFAULT,
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
      describe: 'Least important line logged'
    }
  },
  ({ host, adminHost, adminPort, allow, insecure }) => {
    const isOpen = !isLoopback(host) || (adminPort !== 0 && !isLoopback(adminHost))
    if (!isOpen || allow !== undefined || insecure) return []
    const expected = 'an allow list, or insecure = true, as it listens beyond this machine'
    return [{ key: 'allow', expected }]
  }
)
export type TrackerConfig = ConfigOf<typeof trackerConfig>

/** Who may connect: the list as configured; without one loopback, or anybody under `insecure`. */
export function allowListOf({ allow, insecure }: Pick<TrackerConfig, 'allow' | 'insecure'>): AllowList {
  return AllowList.parse(allow ?? [insecure ? 'any' : 'loopback'])
}

function checkedNetwork(text: string): string {
  AllowList.parse([text])
  return text
}

function isLoopback(host: string): boolean {
  const ip = plainAddress(host)
  return isIP(ip) ? AllowList.parse(['loopback']).allows(ip) : host === 'localhost'
}
