/**
 * A job that was claimed, as long as it is ours: the lease is renewed, and when that is refused, or could not be done for as long
 * as the lease is, whoever works on it is told to stop.
 *
 * A worker that stood still and comes back may not know yet that its job is another one's. What it made does no harm then: before
 * anything is stored the job is asked for, and what a job makes depends on the film's generation and the job alone, is whole or
 * not there, and is never written over: whoever comes second finds it done. So nothing has to be stored under another name first.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { IndexJob, JobFailure } from '@tributary/calls'
import { JOB_ERROR_LENGTH_MAX } from '@tributary/calls'
import type { Clock, Log } from '@tributary/runtime'
import type { Cluster } from './film-access.ts'

/** Several within a lease; and a cancelled job is noticed within this. */
const BEAT_MS_MAX = 2_000
const BEATS_PER_LEASE = 4
/** Of the lease: by then who cannot reach the index stops, so that two never work at once. */
const LEASE_SHARE = 0.8
const END_TRIES_MAX = 5
const END_RETRY_MS = 500

/** The job is no longer ours: it was cancelled, or the lease ran out. */
export class JobLostError extends Error {
  override readonly name = 'JobLostError'
}

export interface HeldJobOptions {
  job: IndexJob
  token: number
  leaseMs: number
  cluster: Pick<Cluster, 'index'>
  clock: Clock
  log: Log
}

export class HeldJob {
  readonly job: IndexJob
  readonly #options: HeldJobOptions
  readonly #lost = new AbortController()
  readonly #ended = new AbortController()
  #progress = 0
  #renewedMs: number
  #beating: Promise<void> | undefined

  constructor(options: HeldJobOptions) {
    this.job = options.job
    this.#options = options
    this.#renewedMs = options.clock.monotonicMs()
  }

  /** Aborts with a JobLostError. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  progress(done: number): void {
    this.#progress = Math.min(1, Math.max(this.#progress, done))
  }

  /** Renews the lease from time to time, until `finish` or `fail`. */
  keep(): void {
    this.#beating ??= this.#beat()
  }

  /** @throws {JobLostError}; {UnavailableError} the index cannot be asked now. */
  async assertHeld(): Promise<void> {
    this.#lost.signal.throwIfAborted()
    await this.#renew()
    this.#lost.signal.throwIfAborted()
  }

  /** @returns whether it was still ours. */
  finish(): Promise<boolean> {
    return this.#end(() => this.#ask('jobs.finish', {}))
  }

  fail(failure: JobFailure, error: string): Promise<boolean> {
    const text = error.slice(0, JOB_ERROR_LENGTH_MAX).toWellFormed()
    return this.#end(() => this.#ask('jobs.fail', { failure, error: text }))
  }

  async #beat(): Promise<void> {
    const { leaseMs, clock, log } = this.#options
    const beatMs = Math.min(BEAT_MS_MAX, leaseMs / BEATS_PER_LEASE)
    while (!this.#ended.signal.aborted && !this.#lost.signal.aborted) {
      await sleep(beatMs, undefined, { signal: this.#ended.signal }).catch(() => {})
      if (this.#ended.signal.aborted) return
      try {
        await this.#renew()
      } catch (err) {
        const silentMs = clock.monotonicMs() - this.#renewedMs
        if (silentMs < leaseMs * LEASE_SHARE) continue
        log.warn({ err, job: this.job.id }, 'the lease of a job could not be renewed in time: it is dropped')
        this.#lost.abort(new JobLostError('its lease could not be renewed'))
      }
    }
  }

  async #renew(): Promise<void> {
    const { leaseMs, clock } = this.#options
    const askedMs = clock.monotonicMs()
    const held = await this.#ask('jobs.heartbeat', { progress: this.#progress, leaseMs })
    if (held) this.#renewedMs = askedMs
    else if (!this.#ended.signal.aborted)
      this.#lost.abort(new JobLostError('it was cancelled, or is another worker’s'))
  }

  async #ask(
    name: 'jobs.heartbeat' | 'jobs.finish' | 'jobs.fail',
    fields: { progress?: number; leaseMs?: number; failure?: JobFailure; error?: string }
  ): Promise<boolean> {
    const { job, token, cluster } = this.#options
    const { held } = await cluster.index(name, { id: job.id, token, ...fields } as never)
    return held
  }

  /** Said in the end, even where the index is away for a moment; a lease that ends says it otherwise. */
  async #end(say: () => Promise<boolean>): Promise<boolean> {
    this.#ended.abort()
    await this.#beating
    if (this.#lost.signal.aborted) return false
    for (let tries = 1; ; tries++) {
      try {
        return await say()
      } catch (err) {
        if (tries >= END_TRIES_MAX) {
          this.#options.log.warn(
            { err, job: this.job.id },
            'how a job ended could not be said: its lease ends'
          )
          return false
        }
        await sleep(END_RETRY_MS * tries)
      }
    }
  }
}
