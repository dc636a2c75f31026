import type { Database } from '@tributary/database'
import type { Clock } from '@tributary/runtime'

/** What the handlers of CALL are made of. */
export interface IndexParts {
  database: Database
  clock: Clock
}
