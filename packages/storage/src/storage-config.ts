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
const STORES_MAX = 64

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
      maxCount: STORES_MAX,
      describe: "Store paths, each made by 'tributary storage init'; new files go where there is room"
    },
    mount: {
      type: 'list',
      optional: true,
      minCount: 1,
      maxCount: STORES_MAX,
      parse: checkedMount,
      describe:
        'Kind of mount that the store paths must be on, such as fuse.glusterfs or xfs; one for all, or one for each; any: no matter'
    },
    replication: {
      type: 'choice',
      choices: ['none', 'glusterfs'],
      default: 'none',
      describe:
        'Who mirrors the store paths, so that copies can be counted: glusterfs, or none that is known of'
    },
    copies: {
      type: 'integer',
      optional: true,
      min: 1,
      max: 16,
      describe: 'Copies there should be (default: as many as the volume was made with; an arbiter is none)'
    },
    degraded_writes: {
      type: 'choice',
      choices: ['refuse', 'accept'],
      default: 'refuse',
      describe: 'Uploads and deletes while fewer than two copies can be reached'
    },
    heal_reports: {
      type: 'path',
      optional: true,
      describe: "Folder where root leaves 'gluster volume heal VOLUME info summary --xml' as VOLUME.xml"
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
    moved_keep_s: {
      type: 'number',
      default: 600,
      min: 0,
      max: 2_592_000,
      describe: 'How long the old copy of a file stays that was moved to another group'
    },
    upload_keep_h: {
      type: 'number',
      default: 24,
      min: 0.0001,
      max: 8_760,
      describe: 'How long a resumable upload is kept that nobody goes on with'
    },
    sweep_interval_h: {
      type: 'number',
      default: 24,
      min: 0,
      max: 8_760,
      describe: 'Between two searches for files without a row; 0 turns them off'
    },
    scrub_bytes_per_s: {
      type: 'bytes',
      default: 4 * MIB,
      min: 0,
      describe: 'How fast stored files are read to find damage, all store paths together; 0 turns it off'
    },
    scrub_interval_h: {
      type: 'number',
      default: 168,
      min: 0,
      max: 87_600,
      describe: 'Between the end of one reading of all files of a store and the next, whichever member did it'
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
    if (config.mount && config.mount.length > 1 && config.mount.length !== config.stores.length)
      conflicts.push({ key: 'mount', expected: 'one kind for all store paths, or one for each of them' })
    if (config.replication === 'none' && (config.copies ?? 1) > 1)
      conflicts.push({ key: 'replication', expected: 'glusterfs where copies are wanted' })
    return conflicts
  }
)
export type StorageConfig = ConfigOf<typeof storageConfig>

function checkedGroup(text: string): string {
  if (!isGroupName(text)) throw new Error('1 to 16 letters or digits')
  return text
}

function checkedMount(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text)) throw new Error('a type as in /proc/mounts, or any')
  return text
}

function checkedMember(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(text)) throw new Error('1 to 64 letters, digits, - or _')
  return text
}
