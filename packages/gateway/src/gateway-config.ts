import { checkFileKey } from '@tributary/protocol'
import {
  defineConfig,
  isLoopbackHost,
  LOG_LEVELS,
  parseNetwork,
  WIRE_KEYS,
  wireConflicts,
  type ConfigConflict,
  type ConfigOf
} from '@tributary/runtime'
import { certificateConflicts } from './certificate.ts'

const MIB = 1024 ** 2
const TIB = 1024 ** 4

function parseOwner(part: 'application' | 'user'): (text: string) => string {
  return text => checkFileKey({ application: 'a', user: 'u', file: 'f', [part]: text })[part]
}

/** Configuration of the HTTP server: the table `[gateway]`, `TRIBUTARY_GATEWAY_…`, and flags. */
export const gatewayConfig = defineConfig(
  'gateway',
  {
    host: {
      type: 'string',
      default: '127.0.0.1',
      describe: 'Address to listen on. Beyond loopback it needs `allow` and `write_token`, or `insecure`.'
    },
    port: { type: 'port', default: 8080, describe: 'Port to listen on; 0: any free one.' },
    certificate: {
      type: 'file',
      optional: true,
      reloadable: 'while-set',
      describe:
        'PEM file of the certificate and, after it, its chain. With it and `private_key` the port speaks HTTPS.'
    },
    private_key: {
      type: 'file',
      optional: true,
      reloadable: 'while-set',
      describe: "PEM file of the certificate's key, without a passphrase."
    },
    admin_host: {
      type: 'string',
      default: '127.0.0.1',
      describe: 'Address of health and metrics alone, always HTTP.'
    },
    admin_port: {
      type: 'port',
      default: 0,
      describe: "Port of health and metrics alone; 0: they are on the gateway's port only."
    },
    trackers: {
      type: 'addresses',
      default: [{ host: '127.0.0.1', port: 21_000 }],
      minCount: 1,
      maxCount: 64,
      describe: 'Trackers to ask, tried in turn.'
    },
    ...WIRE_KEYS,
    allow: {
      type: 'list',
      default: [],
      maxCount: 256,
      parse: parseNetwork,
      describe:
        'Who may connect: addresses, networks, or loopback, private, any. This machine itself always may.'
    },
    write_token: {
      type: 'secret',
      optional: true,
      reloadable: true,
      describe: 'Uploading and deleting then need the header `Authorization: Bearer <token>`.'
    },
    insecure: {
      type: 'boolean',
      default: false,
      describe: 'Listens beyond loopback without a token or an allow list: whoever connects may write.'
    },
    names: {
      type: 'list',
      default: [],
      maxCount: 64,
      describe: 'Host names this server is known under; writes that need no token are taken under these.'
    },
    proxies: {
      type: 'list',
      default: [],
      maxCount: 64,
      parse: parseNetwork,
      describe:
        'Proxies in front: of requests from these networks X-Forwarded-For and X-Forwarded-Proto are believed.'
    },
    webhook_networks: {
      type: 'list',
      default: [],
      maxCount: 64,
      parse: parseNetwork,
      describe: 'Networks of your own that webhooks may go to; public addresses need none.'
    },
    default_app: {
      type: 'string',
      default: 'media',
      flag: '--default-app',
      parse: parseOwner('application'),
      describe: 'Application of /files/{file}.'
    },
    default_user: {
      type: 'string',
      default: 'public',
      parse: parseOwner('user'),
      describe: 'User of /files/{file}.'
    },
    cache_control: {
      type: 'string',
      default: 'no-cache',
      describe:
        'Cache-Control of files. An id may be deleted and used again, so caches ask by ETag by default.'
    },
    kept_content_bytes: {
      type: 'bytes',
      default: 32 * MIB,
      min: 0,
      max: 16 * 1024 * MIB,
      describe:
        'Memory for small files (up to 64KiB) that are read often; storage is still asked each time whether they are unchanged.'
    },
    stream_cache_bytes: {
      type: 'bytes',
      default: 64 * MIB,
      min: 8 * MIB,
      max: 64 * 1024 * MIB,
      describe: 'Memory for HLS and DASH: segments, and blocks of the films that they are made of.'
    },
    stream_films_max: {
      type: 'integer',
      default: 512,
      min: 4,
      max: 100_000,
      describe:
        'Films whose indexes are kept in memory while they are played; a film of two hours needs some 200 KB.'
    },
    upload_max_bytes: {
      type: 'bytes',
      default: TIB,
      min: 0,
      describe: 'Largest upload.'
    },
    uploads_max: {
      type: 'integer',
      default: 256,
      min: 1,
      max: 100_000,
      describe: 'Uploads at a time; more are told to come back.'
    },
    connections_max: {
      type: 'integer',
      default: 4_096,
      min: 8,
      max: 1_000_000,
      describe: 'Connections at a time; idle ones are closed to let others in.'
    },
    header_max_bytes: {
      type: 'bytes',
      default: 16 * 1024,
      min: 1_024,
      max: MIB,
      describe: 'Longest request line and headers together.'
    },
    header_wait_s: {
      type: 'number',
      default: 10,
      min: 0.1,
      max: 3_600,
      describe:
        'A request must have its headers within this time, counted from the connection or the request.'
    },
    keep_alive_s: {
      type: 'number',
      default: 15,
      min: 0.1,
      max: 3_600,
      describe: 'An idle connection is kept open for so long.'
    },
    silence_s: {
      type: 'number',
      default: 30,
      min: 0.1,
      max: 3_600,
      describe:
        'An upload whose sender says nothing for so long is given up; JSON for the API has to be there within it.'
    },
    stall_s: {
      type: 'number',
      default: 60,
      min: 0.1,
      max: 86_400,
      describe: 'A download whose receiver takes nothing for so long is given up.'
    },
    trash_days: {
      type: 'number',
      default: 7,
      min: 0.001,
      max: 3_650,
      describe: 'How long a film that was deleted can be had back; it is counted as stored until then.'
    },
    stop_timeout_s: {
      type: 'number',
      default: 10,
      min: 0,
      max: 3_600,
      describe: 'How long an orderly stop may take; downloads in hand are finished within it.'
    },
    log_level: {
      type: 'choice',
      choices: LOG_LEVELS,
      default: 'info',
      reloadable: true,
      describe: 'Least important line logged.'
    }
  },
  config => {
    const conflicts: ConfigConflict[] = [...certificateConflicts(config), ...wireConflicts(config)]
    const { adminHost, adminPort } = config
    if (!config.insecure && !isLoopbackHost(config.host)) {
      const why = `for listening on ${config.host}, beyond this machine (or insecure = true, which lets everybody write)`
      if (config.allow.length === 0) {
        conflicts.push({ key: 'allow', expected: `the networks that may read, such as private, ${why}` })
      }
      if (config.writeToken === undefined) {
        conflicts.push({ key: 'write_token', expected: `a token for uploading and deleting ${why}` })
      }
    } else if (
      !config.insecure &&
      adminPort !== 0 &&
      !isLoopbackHost(adminHost) &&
      config.allow.length === 0
    ) {
      const expected = `the networks that may read health and metrics on ${adminHost}, beyond this machine`
      conflicts.push({ key: 'allow', expected })
    }
    return conflicts
  }
)

export type GatewayConfig = ConfigOf<typeof gatewayConfig>
