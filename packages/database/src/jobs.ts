/**
 * Work on films. A job is claimed under a lease and with a token that grows with every change of hands: who holds an older one
 * can no longer renew, finish or fail it. Waiting for a time and running until a time are one column, so that one look finds what
 * is due: what nobody began, and what a worker began and left.
 */
import { createHash } from 'node:crypto'
import { sql, type Kysely, type RawBuilder, type UpdateObject } from 'kysely'
import { insertNew, statement, type Control, type ControlStatement } from './control.ts'
import { databaseNow } from './database-time.ts'
import { hexOf, textOf } from './file-record.ts'
import { safeIntegerOf } from './file-row.ts'
import {
  JOB_CANCELLED,
  JOB_DONE,
  JOB_FAILED,
  JOB_KINDS,
  JOB_RUNNING,
  JOB_STATES,
  JOB_WAITING,
  jobOf,
  PROGRESS_WHOLE,
  type Job,
  type JobKind,
  type JobRow,
  type JobState
} from './job-row.ts'
import { invariant } from './invariant.ts'
import type { FileKey } from './file-index.ts'
import type { SchemaGate } from './schema-gate.ts'
import type { Schema } from './schema.ts'

/** Tries of one job, those that a worker did not live to the end of included. */
export const JOB_ATTEMPTS_MAX = 5
/** Before the second try; doubled before each further one. */
const BACK_OFF_MS = 10_000
const BACK_OFF_MS_MAX = 3_600_000
/** Before a try of what could not be read just now. */
const LATER_MS = 30_000
/** So much of a wait is left to chance, so that jobs that failed together do not come back together. */
const JITTER = 0.5
/** Looked at for one claim: other workers may be faster with the first ones. */
const CANDIDATES_MAX = 8
/** What ended without a fault is kept for a week, what failed for a month. */
const KEPT_MS = 7 * 86_400_000
const FAILED_KEPT_MS = 30 * 86_400_000
const TIDIED_MAX = 500
const WORKER_SHOWN_MS = 60_000
const WORKER_KEPT_MS = 86_400_000
const WORKERS_MAX = 1_000

export interface NewJob extends FileKey {
  generation: string
  kind: JobKind
  /** Of a rendition; else empty. */
  profile: string
  title: string
}

export interface ClaimRequest {
  worker: string
  kinds: readonly JobKind[]
  /** For renditions. */
  profiles: readonly string[]
  leaseMs: number
}

export interface Claim {
  /** Undefined: nothing is due. */
  job: Job | undefined
  token: number
}

export type JobFailure = 'retry' | 'later' | 'final' | 'gone' | 'back'

export interface JobsQuestion {
  state?: JobState | undefined
  application?: string | undefined
  /** Only with `application`. */
  user?: string | undefined
  /** Only with `user`. */
  file?: string | undefined
  after?: string | undefined
  limit: number
}

export interface WorkerReport {
  name: string
  version: string
  lacks: string[]
  seenAtMs: number
}

type JobChange = UpdateObject<Schema, 'jobs'>

export class Jobs {
  readonly #control: Control
  readonly #queries: Kysely<Schema>
  readonly #gate: SchemaGate
  readonly #random: () => number
  readonly #now: RawBuilder<number>

  /** @param random 0 to 1. */
  constructor(control: Control, gate: SchemaGate, random: () => number = Math.random) {
    this.#control = control
    this.#queries = control.queries
    this.#gate = gate
    this.#random = random
    this.#now = databaseNow(control)
  }

  /** Makes those that are not there. @param again those that have ended are done again. */
  async add(jobs: readonly NewJob[], again = false): Promise<Job[]> {
    await this.#gate.pass()
    const changes: ControlStatement[] = []
    const ids = jobs.map(jobIdOf)
    for (const [at, job] of jobs.entries()) {
      const values = {
        id: ids[at]!,
        application: Buffer.from(job.application),
        user: Buffer.from(job.user),
        file: Buffer.from(job.file),
        generation: Buffer.from(job.generation, 'hex'),
        kind: JOB_KINDS.indexOf(job.kind),
        profile: job.profile,
        title: job.title,
        state: JOB_WAITING,
        token: 0,
        worker: '',
        due_ms: this.#now,
        attempts: 0,
        progress: 0,
        error: '',
        created_at_ms: this.#now,
        changed_at_ms: this.#now
      }
      changes.push(statement(insertNew(this.#control, 'jobs', values as never)))
      if (again) changes.push(statement(this.#restart(ids[at]!, [JOB_DONE, JOB_FAILED, JOB_CANCELLED])))
    }
    await this.#control.change(...changes)
    const rows = await this.#queries.selectFrom('jobs').selectAll().where('id', 'in', ids).execute()
    const byId = new Map(rows.map(row => [hexOf(row.id), jobOf(row as unknown as JobRow)]))
    return ids.flatMap(id => byId.get(id.toString('hex')) ?? [])
  }

  /** Takes one that is due for `worker`, the most urgent kind first, the longest due of it. */
  async claim({ worker, kinds, profiles, leaseMs }: ClaimRequest): Promise<Claim> {
    await this.#gate.pass()
    for (const row of await this.#due(kinds, profiles)) {
      const { id, state, attempts } = row as { id: Uint8Array; state: number; attempts: number }
      const token = safeIntegerOf(row['token'] as number)
      const unchanged = (values: JobChange): ControlStatement =>
        statement(
          this.#queries
            .updateTable('jobs')
            .set({ ...values, token: token + 1, changed_at_ms: this.#now })
            .where('id', '=', Buffer.from(id))
            .where('token', '=', token)
            .where('state', '=', state)
            .where('due_ms', '<=', this.#now),
          1
        )
      if (attempts >= JOB_ATTEMPTS_MAX) {
        // Whoever began it never came to say that it failed: it may be what ends workers.
        const error = `its worker was lost in the middle, at the last of ${JOB_ATTEMPTS_MAX} tries`
        await this.#control.change(unchanged({ state: JOB_FAILED, error }))
        continue
      }
      const outcome = await this.#control.change(
        unchanged({
          state: JOB_RUNNING,
          worker,
          attempts: attempts + 1,
          progress: 0,
          due_ms: sql<number>`${this.#now} + ${sql.lit(leaseMs)}`
        })
      )
      if (!outcome.done) continue
      const job: Job = { ...jobOf(row), state: 'running', worker, attempts: attempts + 1, progress: 0 }
      return { job, token: token + 1 }
    }
    return { job: undefined, token: 0 }
  }

  /** @returns false: it is no longer the caller's. */
  async heartbeat(id: string, token: number, progress: number, leaseMs: number): Promise<boolean> {
    const values = {
      progress: Math.round(progress * PROGRESS_WHOLE),
      due_ms: sql<number>`${this.#now} + ${sql.lit(leaseMs)}`,
      changed_at_ms: this.#now
    }
    return this.#changeHeld(id, token, values, JOB_RUNNING)
  }

  /** @returns false: it is no longer the caller's, and was not when it was finished. Safe to repeat. */
  async finish(id: string, token: number): Promise<boolean> {
    const values = { state: JOB_DONE, progress: PROGRESS_WHOLE, error: '', changed_at_ms: this.#now }
    return this.#changeHeld(id, token, values, JOB_DONE)
  }

  /**
   * Ends a try that did not succeed.
   *
   * @returns false: it is no longer the caller's. Repeated after a lost reply it may say so of a job that was.
   */
  async fail(id: string, token: number, failure: JobFailure, error: string): Promise<boolean> {
    await this.#gate.pass()
    const found = await this.#row(id)
    if (!found || !isHeld(found, token)) return false
    const attempts = found['attempts'] as number
    const ended =
      failure === 'gone'
        ? JOB_CANCELLED
        : failure === 'final' || (failure === 'retry' && attempts >= JOB_ATTEMPTS_MAX)
          ? JOB_FAILED
          : undefined
    // A token that nobody was given: what is on its way under this one is refused from here on.
    const values: JobChange = {
      token: token + 1,
      changed_at_ms: this.#now,
      ...(failure !== 'back' && { error }),
      ...(ended === undefined
        ? {
            state: JOB_WAITING,
            progress: 0,
            due_ms: sql<number>`${this.#now} + ${sql.lit(this.#waitMs(failure, attempts))}`,
            ...(failure !== 'retry' && { attempts: Math.max(0, attempts - 1) })
          }
        : { state: ended })
    }
    const { done } = await this.#control.change(
      statement(
        this.#queries
          .updateTable('jobs')
          .set(values)
          .where('id', '=', bytesOf(id))
          .where('token', '=', token)
          .where('state', '=', JOB_RUNNING),
        1
      )
    )
    return done
  }

  /** One that has not ended. @returns it, as it is then; undefined: there is none of this id. */
  async cancel(id: string): Promise<Job | undefined> {
    await this.#gate.pass()
    const values = { state: JOB_CANCELLED, token: sql<number>`token + 1`, changed_at_ms: this.#now }
    const query = this.#queries
      .updateTable('jobs')
      .set(values)
      .where('id', '=', bytesOf(id))
      .where('state', 'in', [JOB_WAITING, JOB_RUNNING])
    await this.#control.change(statement(query))
    return this.find(id)
  }

  /** At once, and with all its tries; one that runs goes on. @returns undefined: there is none of this id. */
  async retry(id: string): Promise<Job | undefined> {
    await this.#gate.pass()
    const states = [JOB_WAITING, JOB_DONE, JOB_FAILED, JOB_CANCELLED]
    await this.#control.change(statement(this.#restart(bytesOf(id), states)))
    return this.find(id)
  }

  async find(id: string): Promise<Job | undefined> {
    await this.#gate.pass()
    const row = await this.#row(id)
    return row && jobOf(row)
  }

  /**
   * Newest first.
   *
   * @throws {SyntaxError} `after` is no place in a list.
   */
  async list(question: JobsQuestion): Promise<{ jobs: Job[]; next?: string }> {
    await this.#gate.pass()
    const { state, application, user, file, after, limit } = question
    let query = this.#queries.selectFrom('jobs').selectAll()
    if (state !== undefined) query = query.where('state', '=', JOB_STATES.indexOf(state))
    if (application !== undefined) query = query.where('application', '=', Buffer.from(application))
    if (user !== undefined) query = query.where('user', '=', Buffer.from(user))
    if (file !== undefined) query = query.where('file', '=', Buffer.from(file))
    if (after !== undefined) {
      const { createdAtMs, id } = placeOf(after)
      // The first condition is a place in the index; the second, of those made in one moment, only passes over some.
      query = query
        .where('created_at_ms', '<=', createdAtMs)
        .where(({ eb, or }) => or([eb('created_at_ms', '<', createdAtMs), eb('id', '<', bytesOf(id))]))
    }
    const rows = await query
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(sql.lit(limit + 1))
      .execute()
    const jobs = rows.slice(0, limit).map(row => jobOf(row as unknown as JobRow))
    const last = jobs.at(-1)
    return { jobs, ...(rows.length > limit && last && { next: `${last.createdAtMs}-${last.id}` }) }
  }

  async report({ name, version, lacks }: Omit<WorkerReport, 'seenAtMs'>): Promise<void> {
    await this.#gate.pass()
    const values = { version, lacks: JSON.stringify(lacks), seen_at_ms: this.#now }
    await this.#control.change(
      statement(insertNew(this.#control, 'job_workers', { name: Buffer.from(name), ...values } as never)),
      statement(this.#queries.updateTable('job_workers').set(values).where('name', '=', Buffer.from(name)))
    )
  }

  /** Those that reported within the last minute. */
  async workers(): Promise<WorkerReport[]> {
    await this.#gate.pass()
    const rows = await this.#queries
      .selectFrom('job_workers')
      .selectAll()
      .where('seen_at_ms', '>=', sql<number>`${this.#now} - ${sql.lit(WORKER_SHOWN_MS)}`)
      .orderBy('name')
      .limit(sql.lit(WORKERS_MAX))
      .execute()
    return rows.map(({ name, version, lacks, seen_at_ms }) => ({
      name: textOf(name),
      version: textOf(version),
      lacks: JSON.parse(textOf(lacks)) as string[],
      seenAtMs: safeIntegerOf(seen_at_ms)
    }))
  }

  /** Removes some of what ended long ago. @returns how many. */
  async tidy(): Promise<number> {
    await this.#gate.pass()
    const removals = [
      { state: JOB_DONE, keptMs: KEPT_MS },
      { state: JOB_CANCELLED, keptMs: KEPT_MS },
      { state: JOB_FAILED, keptMs: FAILED_KEPT_MS }
    ].map(({ state, keptMs }) => {
      // In two steps, because MySQL knows no LIMIT in a subquery of IN.
      const old = sql<Uint8Array>`(SELECT id FROM (SELECT id FROM jobs WHERE state = ${sql.lit(state)}
        AND created_at_ms < ${this.#now} - ${sql.lit(keptMs)} ORDER BY created_at_ms LIMIT ${sql.lit(TIDIED_MAX)}) old)`
      return statement(this.#queries.deleteFrom('jobs').where('id', 'in', old))
    })
    const workers = this.#queries
      .deleteFrom('job_workers')
      .where('seen_at_ms', '<', sql<number>`${this.#now} - ${sql.lit(WORKER_KEPT_MS)}`)
    const outcome = await this.#control.change(...removals, statement(workers))
    invariant(outcome.done, 'no number of rows was demanded')
    return outcome.changes.slice(0, removals.length).reduce((sum, count) => sum + count, 0)
  }

  /** In one look: the first of each lane, a lane being a kind or a profile of it, begun or not. */
  async #due(kinds: readonly JobKind[], profiles: readonly string[]): Promise<JobRow[]> {
    const lanes = JOB_KINDS.filter(kind => kinds.includes(kind)).flatMap(kind =>
      (kind === 'rendition' ? profiles : ['']).map(profile => ({ kind, profile }))
    )
    if (lanes.length === 0) return []
    const table =
      this.#control.engine === 'mysql' ? sql`jobs FORCE INDEX (jobs_due)` : sql`jobs INDEXED BY jobs_due`
    const parts = lanes.flatMap(({ kind, profile }, lane) =>
      [JOB_RUNNING, JOB_WAITING].map((state, at) => {
        const name = sql.raw(`lane${lane}_${at}`)
        return sql`SELECT * FROM (SELECT ${sql.lit(lane)} AS lane, jobs.* FROM ${table}
          WHERE state = ${sql.lit(state)} AND kind = ${sql.lit(JOB_KINDS.indexOf(kind))}
            AND profile = ${this.#control.engine === 'mysql' ? Buffer.from(profile) : profile}
            AND due_ms <= ${this.#now} ORDER BY due_ms LIMIT ${sql.lit(CANDIDATES_MAX)}) ${name}`
      })
    )
    const { rows } = await sql<JobRow>`${sql.join(parts, sql` UNION ALL `)}`.execute(this.#queries)
    const dueOf = (row: JobRow): number => safeIntegerOf(row['due_ms'] as number)
    return rows.toSorted((a, b) => Number(a['lane']) - Number(b['lane']) || dueOf(a) - dueOf(b))
  }

  /** Changes a running job of this token, or finds that this was done: then it is in `state` under the token. */
  async #changeHeld(id: string, token: number, values: JobChange, state: number): Promise<boolean> {
    await this.#gate.pass()
    const outcome = await this.#control.change(
      statement(
        this.#queries
          .updateTable('jobs')
          .set(values)
          .where('id', '=', bytesOf(id))
          .where('token', '=', token)
          .where('state', '=', JOB_RUNNING)
      )
    )
    if (outcome.done && outcome.changes[0] === 1) return true
    // MySQL counts no row that it leaves as it was.
    const row = await this.#row(id)
    return row !== undefined && safeIntegerOf(row['token'] as number) === token && row['state'] === state
  }

  #restart(id: Buffer, states: readonly number[]) {
    const values = {
      state: JOB_WAITING,
      token: sql<number>`token + 1`,
      attempts: 0,
      progress: 0,
      error: '',
      due_ms: this.#now,
      created_at_ms: this.#now,
      changed_at_ms: this.#now
    }
    return this.#queries
      .updateTable('jobs')
      .set(values)
      .where('id', '=', id)
      .where('state', 'in', [...states])
  }

  async #row(id: string): Promise<JobRow | undefined> {
    const row = await this.#queries
      .selectFrom('jobs')
      .selectAll()
      .where('id', '=', bytesOf(id))
      .executeTakeFirst()
    return row as JobRow | undefined
  }

  #waitMs(failure: JobFailure, attempts: number): number {
    if (failure === 'back') return 0
    const wholeMs =
      failure === 'later' ? LATER_MS : Math.min(BACK_OFF_MS * 2 ** (attempts - 1), BACK_OFF_MS_MAX)
    return Math.round(wholeMs * (1 - JITTER * this.#random()))
  }
}

function isHeld(row: JobRow, token: number): boolean {
  return row['state'] === JOB_RUNNING && safeIntegerOf(row['token'] as number) === token
}

/** The same work has the same id, whoever asks for it. */
function jobIdOf({ generation, kind, profile }: NewJob): Buffer {
  return createHash('sha256').update(`${generation} ${kind} ${profile}`).digest().subarray(0, 16)
}

function bytesOf(id: string): Buffer {
  return Buffer.from(id, 'hex')
}

function placeOf(after: string): { createdAtMs: number; id: string } {
  const [, createdAtMs, id] = /^(\d{1,15})-([0-9a-f]{32})$/.exec(after) ?? []
  if (createdAtMs === undefined || id === undefined)
    throw new SyntaxError('this is no place in a list of jobs')
  return { createdAtMs: Number(createdAtMs), id }
}
