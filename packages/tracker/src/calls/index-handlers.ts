/** The handlers of every method of CALL, a file per noun. */
import type { CallHandlers } from './call-dispatcher.ts'
import type { IndexParts } from './index-parts.ts'
import { libraryHandlers } from './library-handlers.ts'

export function indexHandlers(parts: IndexParts): CallHandlers {
  return { ...libraryHandlers(parts) }
}
