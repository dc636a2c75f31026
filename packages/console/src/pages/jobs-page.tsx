/** What is made of films, and how far it is. */
import type { Job, JobPage, JobState } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { mayWrite } from '../api/session.ts'
import { formatAgo, formatShare } from '../format.ts'
import { IconButton } from '../parts/button.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { Icon } from '../parts/icon.tsx'
import { say } from '../parts/sayings.tsx'
import { watchAddress } from '../router.ts'
import { language, texts } from '../settings.ts'

const PAGE_JOBS = 50
const AGAIN_MS = 2_000
const STATES: readonly (JobState | '')[] = ['', 'running', 'waiting', 'failed', 'done']

export function JobsPage() {
  const t = texts.value
  const [state, setState] = useState<JobState | ''>('')
  const [found, setFound] = useState<JobPage | undefined>(undefined)
  const [trouble, setTrouble] = useState('')

  useEffect(() => {
    let ended = false
    let timer: ReturnType<typeof setTimeout> | undefined
    const look = async (): Promise<void> => {
      try {
        const query = { limit: PAGE_JOBS, ...(state !== '' && { state }) }
        const answer = await call('GET /api/v1/jobs', { query })
        if (ended) return
        setFound(answer)
        setTrouble('')
      } catch (error) {
        if (!ended) setTrouble(sentenceOf(error))
      }
      if (!ended) timer = setTimeout(() => void (document.hidden ? wait() : look()), AGAIN_MS)
    }
    const wait = (): void => {
      timer = setTimeout(() => void (document.hidden ? wait() : look()), AGAIN_MS)
    }
    void look()
    return () => {
      ended = true
      clearTimeout(timer)
    }
  }, [state])

  const more = async (): Promise<void> => {
    if (!found?.next) return
    try {
      const query = { limit: PAGE_JOBS, after: found.next, ...(state !== '' && { state }) }
      const answer = await call('GET /api/v1/jobs', { query })
      setFound({ ...answer, jobs: [...found.jobs, ...answer.jobs] })
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
  }
  const act = async (work: Promise<unknown>): Promise<void> => {
    try {
      await work
      const query = { limit: PAGE_JOBS, ...(state !== '' && { state }) }
      setFound(await call('GET /api/v1/jobs', { query }))
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
  }

  return (
    <>
      <div class="page-head">
        <h1 tabIndex={-1}>{t.jobs}</h1>
      </div>
      <p class="facts">{t.jobsHint}</p>
      {trouble !== '' && (
        <p class="note bad" role="alert">
          {trouble}
        </p>
      )}
      {found && <Workers workers={found.workers} />}
      <div class="chips" role="group" aria-label={t.state}>
        {STATES.map(name => (
          <button
            key={name}
            type="button"
            class="chip"
            aria-pressed={state === name}
            onClick={() => setState(name)}
          >
            {name === '' ? t.any : t.jobStates[name]}
          </button>
        ))}
      </div>
      {found?.jobs.length === 0 && (
        <div class="empty">
          <Icon name="jobs" large />
          <p>{t.jobsNone}</p>
        </div>
      )}
      <ul class="rows" id="job-list">
        {found?.jobs.map(job => (
          <JobRow key={job.id} job={job} act={work => void act(work)} />
        ))}
      </ul>
      {found?.next && (
        <div class="more">
          <button type="button" onClick={() => void more()}>
            {t.more}
          </button>
        </div>
      )}
    </>
  )
}

function Workers({ workers }: { workers: JobPage['workers'] }) {
  const t = texts.value
  if (workers.length === 0) return <p class="note warn">{t.jobsNoWorker}</p>
  return (
    <ul class="workers" aria-label={t.workers}>
      {workers.map(({ name, lacks, seenAt }) => (
        <li key={name} class={`member is-${lacks.length > 0 ? 'warn' : 'well'}`}>
          <div class="member-head">
            <span class="dot" aria-hidden="true" />
            <strong>{name}</strong>
            <span class="facts">{formatAgo(Date.parse(seenAt), Date.now(), language.value)}</span>
          </div>
          {lacks.map(lack => (
            <p key={lack} class="facts">
              {lack}
            </p>
          ))}
        </li>
      ))}
    </ul>
  )
}

function JobRow({ job, act }: { job: Job; act(work: Promise<unknown>): void }) {
  const t = texts.value
  const { id, kind, profile, title, state, progress, attempts, error, worker, changedAt } = job
  const what = [t.jobKinds[kind], profile].filter(Boolean).join(' ')
  const facts = [
    t.jobStates[state],
    state === 'running' && formatShare(progress, language.value),
    worker,
    attempts > 1 && t.jobAttempt(attempts),
    formatAgo(Date.parse(changedAt), Date.now(), language.value)
  ]
  return (
    <li class={`row-card job is-${state}`}>
      <div class="grow">
        <p class="name" dir="auto">
          <a href={watchAddress(job)}>{title}</a> <span class="tag">{what}</span>
        </p>
        <p class="facts">{facts.filter(Boolean).join(' · ')}</p>
        {error !== null && state !== 'done' && <p class="facts bad">{error}</p>}
        {state === 'running' && <progress value={progress} max={1} aria-label={`${what}: ${title}`} />}
      </div>
      {mayWrite.value && state === 'failed' && (
        <IconButton
          icon="retry"
          label={`${t.jobRetry}: ${what}, ${title}`}
          onClick={() => act(call('POST /api/v1/jobs/{id}/retry', { id }))}
        />
      )}
      {mayWrite.value && (state === 'waiting' || state === 'running') && (
        <IconButton
          icon="close"
          label={`${t.jobCancel}: ${what}, ${title}`}
          onClick={() => act(call('DELETE /api/v1/jobs/{id}', { id }))}
        />
      )}
    </li>
  )
}
