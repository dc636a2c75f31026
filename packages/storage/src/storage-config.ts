/** Configuration of the storage server: table `[storage]`, variables `TRIBUTARY_STORAGE_…`, flags. */
import { checkRedisUrl } from '@tributary/database'
import { isGroupName } from '@tributary/protocol'
import {
  addressKeys,
  defineConfig,
  LISTENER_KEYS,
  listenerConflicts,
  type ConfigOf
} from '@tributary/runtime'
import { SEGMENT_BYTES } from './redo-log.ts'

const MIB = 1024 * 1024

export const storageConfig = defineConfig(
  'storage',
  {
    ...addressKeys(23_000),
    group: {
      type: 'string',
      default: 'group001',
      parse: checkedGroup,
      describe: 'Group this server belongs to'
    },
    stores: {
      type: 'list',
      minCount: 1,
      maxCount: 64,
      describe: "Store paths, each made by 'tributary storage init'; new files go where there is room"
    },
    trackers: { type: 'addresses', describe: 'All trackers: host:port,host:port' },
    id_servers: { type: 'addresses', describe: 'ID servers, tried in turn: host:port,host:port' },
    database: {
      type: 'list',
      minCount: 1,
      describe:
        'sqlite:/path/index.db or mysql://user:password@host:port/name; several MySQL addresses are tried in turn'
    },
    redis: {
      type: 'url',
      optional: true,
      parse: checkRedisUrl,
      describe:
        'Cache in front of the index: redis://[user:password@]host:port, or redis-sentinel://[user:password@]host:port,host:port/name'
    },
    workers: { type: 'integer', default: 1, min: 1, max: 64, describe: 'Processes that move data' },
    member: {
      type: 'string',
      optional: true,
      parse: checkedMember,
      describe: 'Name of this member in the store, the same at every start (default: host name and port)'
    },
    heartbeat_s: {
      type: 'number',
      default: 5,
      min: 0.1,
      max: 3_600,
      describe: 'Between two heartbeats to each tracker'
    },
    durability: {
      type: 'choice',
      choices: ['disk', 'page-cache'],
      default: 'disk',
      describe:
        'What a success reply promises: disk survives a power loss, page-cache a crash of the program only'
    },
    reserve_bytes: {
      type: 'bytes',
      default: 512 * MIB,
      min: 0,
      describe: 'Free space of each store path that new files do not touch'
    },
    redo_bytes: {
      type: 'bytes',
      default: SEGMENT_BYTES,
      min: 16 * MIB,
      max: 1024 * MIB,
      describe: "Size of each of a worker's two redo segments, which make small uploads durable"
    },
    advertise: {
      type: 'addresses',
      optional: true,
      describe: 'Addresses that clients are given instead of the one that trackers see (NAT, containers)'
    },
    sweep_interval_h: {
      type: 'number',
      default: 24,
      min: 0,
      max: 8_760,
      describe: 'Between two searches for files without a row; 0 turns them off'
    },
    ...LISTENER_KEYS,
    connections_max: {
      ...LISTENER_KEYS.connections_max,
      describe: 'Connections open at a time in each worker'
    },
    silence_s: {
      type: 'number',
      default: 30,
      min: 0.1,
      max: 3_600,
      describe: 'Silence inside a frame that ends a connection'
    },
    stall_s: {
      type: 'number',
      default: 120,
      min: 0.1,
      max: 86_400,
      describe: 'A receiver that takes nothing for so long is given up'
    },
    volume_deadline_s: {
      type: 'number',
      default: 5,
      min: 0.1,
      max: 600,
      describe: 'How long a call on a store path that is not a local file system may take'
    },
    host_name: {
      ...LISTENER_KEYS.host_name,
      describe: "Name told to trackers and in error texts (default: the machine's)"
    }
  },
  config => {
    const conflicts = listenerConflicts(config)
    if (new Set(config.stores).size !== config.stores.length)
      conflicts.push({ key: 'stores', expected: 'each store path once' })
    return conflicts
  }
)
export type StorageConfig = ConfigOf<typeof storageConfig>

function checkedGroup(text: string): string {
  if (!isGroupName(text)) throw new Error('1 to 16 letters or digits')
  return text
}

function checkedMember(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(text)) throw new Error('1 to 64 letters, digits, - or _')
  return text
}
