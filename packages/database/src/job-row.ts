import { hexOf, textOf } from './file-record.ts'
import { safeIntegerOf } from './file-row.ts'
import type { FileKey } from './file-index.ts'

/** Numbers on disk; append only. The order is that in which they are done. */
export const JOB_KINDS = ['inspect', 'poster', 'thumbnails', 'rendition'] as const
export type JobKind = (typeof JOB_KINDS)[number]
export const JOB_STATES = ['waiting', 'running', 'done', 'failed', 'cancelled'] as const
export type JobState = (typeof JOB_STATES)[number]
export const JOB_WAITING = 0
export const JOB_RUNNING = 1
export const JOB_DONE = 2
export const JOB_FAILED = 3
export const JOB_CANCELLED = 4

export interface Job extends FileKey {
  /** 32 hex digits, made from generation, kind and profile. */
  id: string
  kind: JobKind
  /** Of a rendition; else empty. */
  profile: string
  generation: string
  title: string
  state: JobState
  /** 0 to 1. */
  progress: number
  attempts: number
  error: string
  worker: string
  createdAtMs: number
  changedAtMs: number
  dueAtMs: number
}

/** As both engines answer a row. */
export type JobRow = Record<string, unknown>

export const PROGRESS_WHOLE = 1_000

export function jobOf(row: JobRow): Job {
  const text = (name: string): string => textOf(row[name] as Uint8Array)
  const whole = (name: string): number => safeIntegerOf(row[name] as number)
  return {
    id: hexOf(row['id'] as Uint8Array),
    kind: JOB_KINDS[row['kind'] as number]!,
    profile: text('profile'),
    application: text('application'),
    user: text('user'),
    file: text('file'),
    generation: hexOf(row['generation'] as Uint8Array),
    title: text('title'),
    state: JOB_STATES[row['state'] as number]!,
    progress: (row['progress'] as number) / PROGRESS_WHOLE,
    attempts: row['attempts'] as number,
    error: text('error'),
    worker: text('worker'),
    createdAtMs: whole('created_at_ms'),
    changedAtMs: whole('changed_at_ms'),
    dueAtMs: whole('due_ms')
  }
}
