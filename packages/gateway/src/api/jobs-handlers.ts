/** Work on films: lists, what was asked for, tries, cancelling. */
import type { IndexJob } from '@tributary/calls'
import type { Job } from '../contract/index.ts'
import type { FileService } from '../file-service.ts'
import { HttpProblem } from '../problem.ts'
import type { Exchange } from '../exchange.ts'
import type { ApiHandlers, ApiOptions } from './api.ts'

type JobsEndpoint = Extract<keyof ApiHandlers, `${string}/jobs${string}`>

const LIMIT_DEFAULT = 50

export interface JobsOptions {
  files: Pick<FileService, 'index'>
  authorize: ApiOptions['authorize']
}

export function jobsHandlers({ files, authorize }: JobsOptions): Pick<ApiHandlers, JobsEndpoint> {
  /** The job's id, for whoever may change what its film's user has. */
  async function admitted({ id: text }: { id: string }, exchange: Exchange): Promise<string> {
    const { job } = await files.index('jobs.find', { id: idOf(text) })
    await authorize(exchange, 'write', job)
    return job.id
  }

  return {
    async 'GET /api/v1/jobs'({ query }) {
      const { limit = LIMIT_DEFAULT, ...filter } = query
      const [{ jobs, next }, { workers }] = await Promise.all([
        files.index('jobs.list', { ...filter, limit }),
        files.index('jobs.workers', {})
      ])
      return {
        jobs: jobs.map(jobOf),
        next: next ?? null,
        workers: workers.map(({ seenAtMs, ...worker }) => ({
          ...worker,
          seenAt: new Date(seenAtMs).toISOString()
        }))
      }
    },

    async 'POST /api/v1/films/{application}/{user}/{file}/jobs'({ parameters, body }) {
      const { kind, profile = '' } = body
      if ((kind === 'rendition') === (profile === ''))
        throw new HttpProblem(400, 'a rendition needs a profile, and nothing else has one')
      const { film } = await files.index('library.film', parameters)
      const { application, user, file, generation, title } = film
      const job = { application, user, file, generation, title, kind, profile }
      const { jobs } = await files.index('jobs.add', { jobs: [job], again: true })
      return jobOf(jobs[0]!)
    },

    async 'POST /api/v1/jobs/{id}/retry'({ parameters, exchange }) {
      return jobOf((await files.index('jobs.retry', { id: await admitted(parameters, exchange) })).job)
    },

    async 'DELETE /api/v1/jobs/{id}'({ parameters, exchange }) {
      await files.index('jobs.cancel', { id: await admitted(parameters, exchange) })
    }
  }
}

function idOf(id: string): string {
  if (!/^[0-9a-f]{32}$/.test(id)) throw new HttpProblem(404, 'there is no such job')
  return id
}

function jobOf({ createdAtMs, changedAtMs, dueAtMs, error, worker, profile, ...job }: IndexJob): Job {
  const isWaiting = job.state === 'waiting'
  return {
    ...job,
    profile: profile || null,
    error: error || null,
    worker: worker || null,
    createdAt: new Date(createdAtMs).toISOString(),
    changedAt: new Date(changedAtMs).toISOString(),
    nextTryAt: isWaiting && error !== '' ? new Date(dueAtMs).toISOString() : null
  }
}
