/** What was changed, and what was refused, by whom. */
import Type, { type Static } from 'typebox'
import { indexCall } from './call.ts'
import { NOTHING, TIME_MS } from './common.ts'

/** Entries older than this are removed. */
export const AUDIT_KEPT_DAYS = 90
/** More than so many are not kept: the oldest go. */
export const AUDIT_ENTRIES_MAX = 1_000_000
/** Entries of one call. */
export const AUDIT_BATCH_MAX = 100
const TEXT_LENGTH_MAX = 300
export const AUDIT_OUTCOMES = ['done', 'denied', 'failed'] as const
const OUTCOME = Type.Enum([...AUDIT_OUTCOMES])
const TEXT = Type.String({ maxLength: TEXT_LENGTH_MAX })

export const AUDIT_ENTRY = Type.Object({
  atMs: TIME_MS,
  /** Name of a token, `this machine`, `anonymous`, `command line`. */
  who: TEXT,
  /** Id of the token; empty where it was none. */
  token: Type.String({ maxLength: 40 }),
  /** `file.store`, `file.delete`, `token.create` …, or the route that was refused. */
  what: TEXT,
  application: Type.String({ maxLength: 15 }),
  user: Type.String({ maxLength: 255 }),
  file: TEXT,
  /** Of the client. */
  address: Type.String({ maxLength: 64 }),
  outcome: OUTCOME,
  /** The code of what was refused or failed; empty: it was done. */
  code: Type.String({ maxLength: 40 })
})
export type AuditEntry = Static<typeof AUDIT_ENTRY>

export const auditCalls = {
  /** An entry that is sent twice is kept once: its id is the sender's. */
  'audit.write': indexCall(
    'safe',
    Type.Object({
      entries: Type.Array(
        Type.Object({ id: Type.String({ pattern: '^[0-9a-f]{16}$' }), ...AUDIT_ENTRY.properties }),
        { maxItems: AUDIT_BATCH_MAX }
      )
    }),
    NOTHING
  ),
  /** The newest first. */
  'audit.list': indexCall(
    'safe',
    Type.Object({
      outcome: Type.Optional(OUTCOME),
      application: Type.Optional(Type.String({ maxLength: 15 })),
      after: Type.Optional(Type.String({ maxLength: 100 })),
      limit: Type.Integer({ minimum: 1, maximum: 500 })
    }),
    Type.Object({ entries: Type.Array(AUDIT_ENTRY), next: Type.Optional(Type.String()) })
  )
}
