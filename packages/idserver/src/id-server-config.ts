/** Configuration of the ID server: table `[id]`, variables `TRIBUTARY_ID_…`, flags. */
import { RESERVE_COUNT_MAX } from '@tributary/database'
import {
  addressKeys,
  defineConfig,
  LISTENER_KEYS,
  listenerConflicts,
  type ConfigOf
} from '@tributary/runtime'

const STEP_DEFAULT = 100

export const idServerConfig = defineConfig(
  'id',
  {
    ...addressKeys(22_000),
    database: {
      type: 'list',
      minCount: 1,
      describe:
        'sqlite:/path/index.db or mysql://user:password@host:port/name; several MySQL addresses are tried in turn'
    },
    step: {
      type: 'integer',
      default: STEP_DEFAULT,
      min: 1,
      max: RESERVE_COUNT_MAX,
      describe: 'Ids of one key that are reserved in the database at a time'
    },
    ...LISTENER_KEYS
  },
  listenerConflicts
)
export type IdServerConfig = ConfigOf<typeof idServerConfig>
