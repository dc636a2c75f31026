/** Configuration of the tracker: table `[tracker]`, variables `TRIBUTARY_TRACKER_…`, flags. */
import { checkRedisUrl } from '@tributary/database'
import {
  addressKeys,
  defineConfig,
  LISTENER_KEYS,
  listenerConflicts,
  type ConfigOf
} from '@tributary/runtime'

export const trackerConfig = defineConfig(
  'tracker',
  {
    ...addressKeys(21_000),
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
        'Cache in front of MySQL: redis://[user:password@]host:port, or redis-sentinel://[user:password@]host:port,host:port/name'
    },
    check_interval_s: {
      type: 'number',
      default: 30,
      min: 0.1,
      max: 3_600,
      describe: 'A storage server that sent no heartbeat for so long is OFFLINE'
    },
    ...LISTENER_KEYS
  },
  listenerConflicts
)
export type TrackerConfig = ConfigOf<typeof trackerConfig>
