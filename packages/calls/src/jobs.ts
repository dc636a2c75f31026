/** Work on films, and the workers who do it. */
import Type, { type Static } from 'typebox'
import { indexCall } from './call.ts'
import { APPLICATION, FILE, fileKeyFields, GENERATION, NOTHING, TIME_MS, USER } from './common.ts'

/** In the order in which they are done: what a film needs to be found and played comes first. */
export const JOB_KINDS = ['inspect', 'poster', 'thumbnails', 'rendition'] as const
export type JobKind = (typeof JOB_KINDS)[number]
export const JOB_STATES = ['waiting', 'running', 'done', 'failed', 'cancelled'] as const
export type JobState = (typeof JOB_STATES)[number]

/** Jobs of one page, and of one request that makes some. */
export const JOBS_PAGE_MAX = 200
/** Of what went wrong, in UTF-16 units. */
export const JOB_ERROR_LENGTH_MAX = 1_000
export const JOB_LEASE_MS_MIN = 1_000
export const JOB_LEASE_MS_MAX = 600_000
/** What one worker may lack. */
export const WORKER_LACKS_MAX = 16
export const WORKER_NAME_LENGTH_MAX = 64
const CURSOR_LENGTH_MAX = 200
const PROFILES_MAX = 32

const KIND = Type.Enum(JOB_KINDS)
/** Of a rendition, as `720p`; of anything else empty. */
const PROFILE = Type.String({ pattern: '^[a-z0-9]{0,32}$' })
const JOB_ID = Type.String({ pattern: '^[0-9a-f]{32}$' })
const WORKER_NAME = Type.String({ minLength: 1, maxLength: WORKER_NAME_LENGTH_MAX })
const LEASE_MS = Type.Integer({ minimum: JOB_LEASE_MS_MIN, maximum: JOB_LEASE_MS_MAX })
/** 0 to 1. */
const PROGRESS = Type.Number({ minimum: 0, maximum: 1 })
const TITLE = Type.String({ maxLength: 250 })

export const INDEX_JOB = Type.Object({
  id: JOB_ID,
  kind: KIND,
  profile: PROFILE,
  ...fileKeyFields,
  generation: GENERATION,
  /** Of the film, as it was when the job was made. */
  title: Type.String(),
  state: Type.Enum(JOB_STATES),
  progress: PROGRESS,
  /** Tries that began, the one under way included. */
  attempts: Type.Integer({ minimum: 0 }),
  /** Of the last try that failed; empty: none did. */
  error: Type.String(),
  /** Who works on it, or did last; may be empty. */
  worker: Type.String(),
  createdAtMs: TIME_MS,
  changedAtMs: TIME_MS,
  /** Of a waiting one: not before. */
  dueAtMs: TIME_MS
})
export type IndexJob = Static<typeof INDEX_JOB>

const NEW_JOB = Type.Object({
  ...fileKeyFields,
  generation: GENERATION,
  kind: KIND,
  profile: Type.Optional(PROFILE),
  title: TITLE
})
export type NewIndexJob = Static<typeof NEW_JOB>

const HOLDING = {
  id: JOB_ID,
  /** As it was claimed with. */
  token: Type.Integer({ minimum: 1 })
}
/** `held: false`: the job is somebody else's by now, or nobody's: whatever the caller does for it is to be dropped. */
const HELD = Type.Object({ held: Type.Boolean() })

/** How a try that did not succeed ended. */
export const JOB_FAILURES = [
  /** To be tried again, as often as a job is tried. */
  'retry',
  /** To be tried again, and not counted: the film cannot be read now, say. */
  'later',
  /** Trying again would not help. */
  'final',
  /** There is nothing to do any more: the film is gone. */
  'gone',
  /** Nothing went wrong: the worker stops, and gives it back at once. */
  'back'
] as const
export type JobFailure = (typeof JOB_FAILURES)[number]

export const INDEX_WORKER = Type.Object({
  name: Type.String(),
  version: Type.String(),
  lacks: Type.Array(Type.String()),
  seenAtMs: TIME_MS
})
export type IndexWorker = Static<typeof INDEX_WORKER>

const LIST_REPLY = Type.Object({
  jobs: Type.Array(INDEX_JOB),
  /** Absent: this was the last page. */
  next: Type.Optional(Type.String())
})
export type IndexJobPage = Static<typeof LIST_REPLY>

export const jobsCalls = {
  /** Makes jobs that are not there yet: one for each generation of a film, kind and profile. */
  'jobs.add': indexCall(
    'safe',
    Type.Object({
      jobs: Type.Array(NEW_JOB, { minItems: 1, maxItems: JOBS_PAGE_MAX }),
      /** Those that have ended are done again. */
      again: Type.Optional(Type.Boolean())
    }),
    Type.Object({ jobs: Type.Array(INDEX_JOB) })
  ),
  /**
   * Takes one that is due. It is the caller's as long as the lease is renewed; a lost reply leaves a job that waits for the
   * end of its lease.
   */
  'jobs.claim': indexCall(
    'ask-first',
    Type.Object({
      worker: WORKER_NAME,
      /** Kinds that it can do. */
      kinds: Type.Array(KIND, { maxItems: JOB_KINDS.length }),
      /** Profiles that it knows, for renditions. */
      profiles: Type.Array(PROFILE, { maxItems: PROFILES_MAX }),
      leaseMs: LEASE_MS
    }),
    Type.Object({ job: Type.Optional(INDEX_JOB), token: Type.Optional(Type.Integer({ minimum: 1 })) })
  ),
  /** Renews the lease, by the database's time, and says how far it is. */
  'jobs.heartbeat': indexCall(
    'safe',
    Type.Object({ ...HOLDING, progress: PROGRESS, leaseMs: LEASE_MS }),
    HELD
  ),
  'jobs.finish': indexCall('safe', Type.Object(HOLDING), HELD),
  'jobs.fail': indexCall(
    'safe',
    Type.Object({
      ...HOLDING,
      failure: Type.Enum(JOB_FAILURES),
      error: Type.String({ maxLength: JOB_ERROR_LENGTH_MAX })
    }),
    HELD
  ),
  /** One that has not ended yet. JOB_NOT_FOUND. */
  'jobs.cancel': indexCall('safe', Type.Object({ id: JOB_ID }), Type.Object({ job: INDEX_JOB })),
  /** At once, and with all its tries; one that runs goes on. JOB_NOT_FOUND. */
  'jobs.retry': indexCall('safe', Type.Object({ id: JOB_ID }), Type.Object({ job: INDEX_JOB })),
  /** JOB_NOT_FOUND. */
  'jobs.find': indexCall('safe', Type.Object({ id: JOB_ID }), Type.Object({ job: INDEX_JOB })),
  /** Newest first. */
  'jobs.list': indexCall(
    'safe',
    Type.Object({
      state: Type.Optional(Type.Enum(JOB_STATES)),
      application: Type.Optional(APPLICATION),
      /** Only together with `application`. */
      user: Type.Optional(USER),
      /** Only together with `user`. */
      file: Type.Optional(FILE),
      /** `next` of the page before. */
      after: Type.Optional(Type.String({ maxLength: CURSOR_LENGTH_MAX })),
      limit: Type.Integer({ minimum: 1, maximum: JOBS_PAGE_MAX })
    }),
    LIST_REPLY
  ),
  /** A worker says that it is there. */
  'jobs.report': indexCall(
    'safe',
    Type.Object({
      worker: WORKER_NAME,
      version: Type.String({ maxLength: 64 }),
      /** In words. */
      lacks: Type.Array(Type.String({ maxLength: 200 }), { maxItems: WORKER_LACKS_MAX })
    }),
    NOTHING
  ),
  /** Those that reported within the last minute. */
  'jobs.workers': indexCall('safe', Type.Object({}), Type.Object({ workers: Type.Array(INDEX_WORKER) })),
  /** Forgets some of what ended long ago. */
  'jobs.tidy': indexCall('safe', Type.Object({}), Type.Object({ removed: Type.Integer({ minimum: 0 }) }))
}
