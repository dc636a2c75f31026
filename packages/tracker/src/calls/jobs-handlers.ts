import type { Job } from '@tributary/database'
import { checkFileKey, RejectedError } from '@tributary/protocol'
import type { CallHandlers } from './call-dispatcher.ts'
import type { IndexParts } from './index-parts.ts'

type JobsCallName = Extract<keyof CallHandlers, `jobs.${string}`>

export function jobsHandlers({
  database: { jobs }
}: Pick<IndexParts, 'database'>): CallHandlers<JobsCallName> {
  return {
    async 'jobs.add'({ jobs: wanted, again }) {
      const made = wanted.map(({ profile = '', ...job }) => {
        checkFileKey(job)
        if ((job.kind === 'rendition') === (profile === ''))
          throw new RejectedError('BAD_FIELD', 'a rendition has a profile, and nothing else has one')
        return { ...job, profile, title: job.title.toWellFormed() }
      })
      return { jobs: await jobs.add(made, again) }
    },

    async 'jobs.claim'(request) {
      const { job, token } = await jobs.claim(request)
      return job ? { job, token } : {}
    },

    async 'jobs.heartbeat'({ id, token, progress, leaseMs }) {
      return { held: await jobs.heartbeat(id, token, progress, leaseMs) }
    },

    async 'jobs.finish'({ id, token }) {
      return { held: await jobs.finish(id, token) }
    },

    async 'jobs.fail'({ id, token, failure, error }) {
      return { held: await jobs.fail(id, token, failure, error.toWellFormed()) }
    },

    async 'jobs.cancel'({ id }) {
      return { job: found(await jobs.cancel(id)) }
    },

    async 'jobs.retry'({ id }) {
      return { job: found(await jobs.retry(id)) }
    },

    async 'jobs.find'({ id }) {
      return { job: found(await jobs.find(id)) }
    },

    async 'jobs.list'(question) {
      const { application, user, file } = question
      if ((user !== undefined && application === undefined) || (file !== undefined && user === undefined))
        throw new RejectedError(
          'BAD_FIELD',
          'a file is one of a user, and a user one of an application: name those as well'
        )
      try {
        return await jobs.list(question)
      } catch (error) {
        if (error instanceof SyntaxError)
          throw new RejectedError('BAD_FIELD', error.message, { cause: error })
        throw error
      }
    },

    async 'jobs.report'({ worker, version, lacks }) {
      await jobs.report({ name: worker, version, lacks })
      return {}
    },

    async 'jobs.workers'() {
      return { workers: await jobs.workers() }
    },

    async 'jobs.tidy'() {
      return { removed: await jobs.tidy() }
    }
  }
}

function found(job: Job | undefined): Job {
  if (!job) throw new RejectedError('JOB_NOT_FOUND', 'there is no such job, or it ended long ago')
  return job
}
