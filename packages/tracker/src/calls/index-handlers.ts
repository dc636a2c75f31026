/** The handlers of every method of CALL, a file per noun. */
import type { CallHandlers } from './call-dispatcher.ts'
import type { IndexParts } from './index-parts.ts'
import { accessHandlers } from './access-handlers.ts'
import { auditHandlers } from './audit-handlers.ts'
import { jobsHandlers } from './jobs-handlers.ts'
import { libraryHandlers } from './library-handlers.ts'
import { uploadsHandlers } from './uploads-handlers.ts'
import { webhookHandlers } from './webhook-handlers.ts'

export function indexHandlers(parts: IndexParts): CallHandlers {
  return {
    ...libraryHandlers(parts),
    ...accessHandlers(parts),
    ...auditHandlers(parts),
    ...webhookHandlers(parts),
    ...jobsHandlers(parts),
    ...uploadsHandlers(parts)
  }
}
