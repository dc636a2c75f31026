import type { Database } from '@tributary/database'
import type { Clock } from '@tributary/runtime'

/** What the handlers of calls work with. */
export interface IndexParts {
  database: Database
  clock: Clock
}
