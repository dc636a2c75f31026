/** The handlers of every method of CALL, a file per noun. */
import type { Database } from '@tributary/database'
import type { Clock } from '@tributary/runtime'
import type { CallHandlers } from './call-dispatcher.ts'
import { jobsHandlers } from './jobs-handlers.ts'
import { libraryHandlers } from './library-handlers.ts'

export interface IndexParts {
  database: Database
  clock: Clock
}

export function indexHandlers(parts: IndexParts): CallHandlers {
  return { ...libraryHandlers(parts), ...jobsHandlers(parts) }
}
