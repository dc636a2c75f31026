/** Work on films: facts, posters, thumbnails, renditions. */
import Type, { type Static } from 'typebox'

export const JOB_KIND = Type.Enum(['inspect', 'poster', 'thumbnails', 'rendition'])
export type JobKind = Static<typeof JOB_KIND>
export const JOB_STATE = Type.Enum(['waiting', 'running', 'done', 'failed', 'cancelled'])
export type JobState = Static<typeof JOB_STATE>

export const JOB = Type.Object({
  id: Type.String(),
  kind: JOB_KIND,
  /** Of a rendition: its profile. */
  profile: Type.Union([Type.String(), Type.Null()]),
  application: Type.String(),
  user: Type.String(),
  file: Type.String(),
  generation: Type.String(),
  /** Of the film, as it was when the job was made. */
  title: Type.String(),
  state: JOB_STATE,
  /** 0 to 1. */
  progress: Type.Number(),
  attempts: Type.Integer(),
  /** In words, of the last attempt that failed. */
  error: Type.Union([Type.String(), Type.Null()]),
  /** Who works on it. */
  worker: Type.Union([Type.String(), Type.Null()]),
  createdAt: Type.String(),
  changedAt: Type.String(),
  /** A failed one that is tried again: when. */
  nextTryAt: Type.Union([Type.String(), Type.Null()])
})
export type Job = Static<typeof JOB>

export const JOBS_QUERY = Type.Object({
  state: Type.Optional(JOB_STATE),
  application: Type.Optional(Type.String()),
  user: Type.Optional(Type.String()),
  file: Type.Optional(Type.String()),
  after: Type.Optional(Type.String({ maxLength: 2_000 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 }))
})
export const JOB_PAGE = Type.Object({
  jobs: Type.Array(JOB),
  next: Type.Union([Type.String(), Type.Null()]),
  /** Workers that reported within the last minute, and what each lacks, in words. */
  workers: Type.Array(
    Type.Object({
      name: Type.String(),
      version: Type.String(),
      lacks: Type.Array(Type.String()),
      seenAt: Type.String()
    })
  )
})
export type JobPage = Static<typeof JOB_PAGE>

export const NEW_JOB = Type.Object({ kind: JOB_KIND, profile: Type.Optional(Type.String({ maxLength: 32 })) })
