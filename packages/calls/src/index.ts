import { accessCalls } from './access.ts'
import { auditCalls } from './audit.ts'
import { jobsCalls } from './jobs.ts'
import { libraryCalls } from './library.ts'
import { playCalls } from './plays.ts'
import { uploadsCalls } from './uploads.ts'
import { webhookCalls } from './webhooks.ts'
import type { ArgumentsOf, ResultOf } from './call.ts'

/** Every method of CALL, by name. Append only; fields are added as optional ones. */
export const INDEX_CALLS = {
  ...libraryCalls,
  ...accessCalls,
  ...auditCalls,
  ...playCalls,
  ...webhookCalls,
  ...jobsCalls,
  ...uploadsCalls
}
export type CallName = keyof typeof INDEX_CALLS
export type CallArguments<N extends CallName> = ArgumentsOf<(typeof INDEX_CALLS)[N]>
export type CallResult<N extends CallName> = ResultOf<(typeof INDEX_CALLS)[N]>

export { type IndexCall } from './call.ts'
export * from './access.ts'
export * from './audit.ts'
export * from './event.ts'
export * from './library.ts'
export * from './plays.ts'
export * from './webhooks.ts'
export * from './jobs.ts'
