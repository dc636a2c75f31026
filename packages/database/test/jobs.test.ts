import { randomBytes } from 'node:crypto'
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { JOB_ATTEMPTS_MAX, openDatabase, type Database, type Job, type NewJob } from '@tributary/database'
import { migrated, mysql, sqlite } from './engines.ts'

const LEASE_MS = 60_000
/** Short enough to wait for its end, long enough to be renewed on a busy machine. */
const SHORT_LEASE_MS = 300

for (const engine of [sqlite(), mysql()]) {
  describe(`jobs on ${engine.name}`, { skip: engine.skip ?? false, timeout: 60_000 }, () => {
    let database: Database
    let other: Database
    before(async () => {
      await engine.start()
      const made = await migrated(engine)
      database = made.database
      other = await openDatabase(made.url, engine.options)
    })
    after(async () => {
      await database?.close()
      await other?.close()
      await engine.stop()
    })

    let films = 0
    const newJob = (fields: Partial<NewJob> = {}): NewJob => ({
      application: 'media',
      user: 'public',
      file: `film-${films++}`,
      generation: randomBytes(16).toString('hex'),
      kind: 'poster',
      profile: '',
      title: 'A film',
      ...fields
    })
    /** Profiles keep the tests apart: a claim finds those of its own only. */
    let profiles = 0
    const ownProfile = (): { kind: 'rendition'; profile: string } => ({
      kind: 'rendition',
      profile: `p${profiles++}`
    })
    const claimOf = (profile: string, worker = 'w1', leaseMs = LEASE_MS) =>
      ({ worker, kinds: ['rendition'], profiles: [profile], leaseMs }) as const
    const claimed = async (
      profile: string,
      worker?: string,
      leaseMs?: number
    ): Promise<{ job: Job; token: number }> => {
      const { job, token } = await database.jobs.claim(claimOf(profile, worker, leaseMs))
      ok(job, 'a job is due')
      return { job, token }
    }

    it('makes one job for each generation, kind and profile, however often it is asked', async () => {
      const film = newJob({ kind: 'inspect' })
      const wanted = [film, { ...film, kind: 'rendition' as const, profile: '720p' }]
      const made = await database.jobs.add(wanted)
      const again = await other.jobs.add(wanted)
      deepEqual(
        again.map(({ id }) => id),
        made.map(({ id }) => id)
      )
      equal(new Set(made.map(({ id }) => id)).size, 2)
      deepEqual(
        made.map(({ kind, profile, state, attempts, title }) => [kind, profile, state, attempts, title]),
        [
          ['inspect', '', 'waiting', 0, 'A film'],
          ['rendition', '720p', 'waiting', 0, 'A film']
        ]
      )
      const replaced = await database.jobs.add([{ ...film, generation: randomBytes(16).toString('hex') }])
      ok(!made.some(({ id }) => id === replaced[0]!.id))
    })

    it('gives a job to one of many who ask at once, each another one while there are some', async () => {
      const { kind, profile } = ownProfile()
      await database.jobs.add(Array.from({ length: 6 }, () => newJob({ kind, profile })))
      const claims = await Promise.all(
        Array.from({ length: 12 }, (_, at) =>
          (at % 2 === 0 ? database : other).jobs.claim(claimOf(profile, `w${at}`))
        )
      )
      const taken = claims.flatMap(({ job }) => job ?? [])
      equal(new Set(taken.map(({ id }) => id)).size, taken.length, 'nobody has a job that another one has')
      // Who lost every race that it saw comes again.
      for (let left = 6 - taken.length; left > 0; left--)
        taken.push((await database.jobs.claim(claimOf(profile))).job!)
      equal(new Set(taken.map(({ id }) => id)).size, 6)
      equal((await database.jobs.claim(claimOf(profile))).job, undefined)
    })

    it('takes the urgent kinds first, and only those that the worker can do', async () => {
      const film = newJob()
      const { profile } = ownProfile()
      for (const kind of ['rendition', 'thumbnails', 'poster', 'inspect'] as const)
        await database.jobs.add([{ ...film, kind, profile: kind === 'rendition' ? profile : '' }])
      const seen: string[] = []
      for (let job: Job | undefined; ;) {
        ;({ job } = await database.jobs.claim({
          worker: 'w',
          kinds: ['rendition', 'poster', 'inspect', 'thumbnails'],
          profiles: [profile],
          leaseMs: LEASE_MS
        }))
        if (!job) break
        if (job.generation === film.generation) seen.push(job.kind)
      }
      deepEqual(seen, ['inspect', 'poster', 'thumbnails', 'rendition'])
      await database.jobs.add([newJob({ kind: 'rendition', profile: 'unknown' })])
      equal((await database.jobs.claim(claimOf('720p9'))).job, undefined)
      const none = await database.jobs.claim({ worker: 'w', kinds: [], profiles: [], leaseMs: LEASE_MS })
      equal(none.job, undefined)
    })

    it('gives the job of a silent worker to another one, and refuses whatever the first one says then', async () => {
      const { kind, profile } = ownProfile()
      await database.jobs.add([newJob({ kind, profile })])
      const first = await claimed(profile, 'first', SHORT_LEASE_MS)
      equal((await database.jobs.claim(claimOf(profile, 'second'))).job, undefined, 'the lease holds')
      await sleep(SHORT_LEASE_MS + 50)
      const second = await claimed(profile, 'second')
      equal(second.job.id, first.job.id)
      ok(second.token > first.token)
      equal(second.job.attempts, 2)
      const { id } = first.job
      equal(await database.jobs.heartbeat(id, first.token, 0.9, LEASE_MS), false)
      equal(await database.jobs.fail(id, first.token, 'retry', 'no'), false)
      equal(await database.jobs.finish(id, first.token), false)
      equal((await database.jobs.find(id))!.state, 'running')
      equal(await database.jobs.finish(id, second.token), true)
      equal(await database.jobs.finish(id, second.token), true, 'a lost reply may be asked for again')
      equal((await database.jobs.find(id))!.state, 'done')
    })

    it('keeps a job with its worker while that renews the lease, and tells how far it is', async () => {
      const { kind, profile } = ownProfile()
      await database.jobs.add([newJob({ kind, profile })])
      const { job, token } = await claimed(profile, 'w', SHORT_LEASE_MS)
      for (const progress of [0.25, 0.25, 0.5, 0.75]) {
        await sleep(SHORT_LEASE_MS / 2)
        equal(await database.jobs.heartbeat(job.id, token, progress, SHORT_LEASE_MS), true)
        equal((await other.jobs.claim(claimOf(profile, 'other'))).job, undefined)
      }
      equal((await database.jobs.find(job.id))!.progress, 0.75)
    })

    it('tries again after a wait, at last no more, and from the beginning where a person wants it', async () => {
      const { kind, profile } = ownProfile()
      await database.jobs.add([newJob({ kind, profile })])
      let id = ''
      for (let attempt = 1; attempt <= JOB_ATTEMPTS_MAX; attempt++) {
        const { job, token } = await claimed(profile)
        id = job.id
        equal(job.attempts, attempt)
        equal(await database.jobs.fail(id, token, 'retry', `try ${attempt}`), true)
        if (attempt === JOB_ATTEMPTS_MAX) break
        const failed = (await database.jobs.find(id))!
        deepEqual([failed.state, failed.error], ['waiting', `try ${attempt}`])
        const waitMs = failed.dueAtMs - failed.changedAtMs
        const wholeMs = 10_000 * 2 ** (attempt - 1)
        ok(waitMs >= wholeMs / 2 && waitMs <= wholeMs, `it waits ${waitMs} ms`)
        equal((await database.jobs.claim(claimOf(profile))).job, undefined)
        // As if the time had passed.
        await database.control.change({ sql: 'UPDATE jobs SET due_ms = 0 WHERE state = 0', parameters: [] })
      }
      const failed = (await database.jobs.find(id))!
      deepEqual([failed.state, failed.error], ['failed', `try ${JOB_ATTEMPTS_MAX}`])
      const again = (await database.jobs.retry(id))!
      deepEqual([again.state, again.attempts, again.error], ['waiting', 0, ''])
      equal((await claimed(profile)).job.id, id)
    })

    it('does not count what was not the job’s fault, and ends at once what cannot be', async () => {
      const { kind, profile } = ownProfile()
      await database.jobs.add([newJob({ kind, profile })])
      const first = await claimed(profile)
      equal(await database.jobs.fail(first.job.id, first.token, 'back', ''), true)
      const second = await claimed(profile)
      equal(second.job.attempts, 1, 'given back, it is nobody’s try')
      equal(await database.jobs.fail(first.job.id, second.token, 'later', 'storage is away'), true)
      const later = (await database.jobs.find(first.job.id))!
      deepEqual([later.state, later.attempts, later.error], ['waiting', 0, 'storage is away'])
      await database.jobs.retry(later.id)
      const third = await claimed(profile)
      equal(await database.jobs.fail(third.job.id, third.token, 'final', 'it is no film'), true)
      equal((await database.jobs.find(later.id))!.state, 'failed')
      await database.jobs.retry(later.id)
      const fourth = await claimed(profile)
      equal(await database.jobs.fail(fourth.job.id, fourth.token, 'gone', 'the film is gone'), true)
      equal((await database.jobs.find(later.id))!.state, 'cancelled')
    })

    it('gives up a job that loses its worker every time', async () => {
      const { kind, profile } = ownProfile()
      const [job] = await database.jobs.add([newJob({ kind, profile })])
      for (let attempt = 1; attempt <= JOB_ATTEMPTS_MAX; attempt++) {
        await claimed(profile, `killed ${attempt}`, 1_000)
        await database.control.change({ sql: 'UPDATE jobs SET due_ms = 0 WHERE state = 1', parameters: [] })
      }
      equal((await database.jobs.claim(claimOf(profile))).job, undefined)
      const failed = (await database.jobs.find(job!.id))!
      equal(failed.state, 'failed')
      ok(failed.error.includes('lost'), failed.error)
    })

    it('takes a cancelled job from its worker', async () => {
      const { kind, profile } = ownProfile()
      await database.jobs.add([newJob({ kind, profile })])
      const { job, token } = await claimed(profile)
      equal((await database.jobs.cancel(job.id))!.state, 'cancelled')
      equal(await database.jobs.heartbeat(job.id, token, 0.5, LEASE_MS), false)
      equal(await database.jobs.finish(job.id, token), false)
      equal((await database.jobs.find(job.id))!.state, 'cancelled')
      equal((await database.jobs.claim(claimOf(profile))).job, undefined)
      equal(await database.jobs.cancel('00'.repeat(16)), undefined)
      const [again] = await database.jobs.add([{ ...newJob(), ...job }], true)
      equal(again!.state, 'waiting', 'asked for again, it is done again')
    })

    it('lists newest first, a page at a time, by state and by film', async () => {
      const application = 'listing'
      const film = newJob({ application, user: 'anna', file: 'x' })
      for (const profile of ['a', 'b', 'c'])
        await database.jobs.add([{ ...film, kind: 'rendition', profile }])
      await database.jobs.add([newJob({ application, user: 'bert', kind: 'rendition', profile: 'd' })])
      const [{ id }] = (await database.jobs.list({ application, user: 'anna', limit: 1 })).jobs as [Job]
      await database.jobs.cancel(id)
      const listed = async (fields: object): Promise<string[]> => {
        const found: Job[] = []
        for (let after: string | undefined; ;) {
          const page = await database.jobs.list({ application, limit: 2, after, ...fields })
          found.push(...page.jobs)
          if (page.next === undefined) break
          after = page.next
        }
        const times = found.map(({ createdAtMs }) => createdAtMs)
        deepEqual(
          times,
          times.toSorted((a, b) => b - a)
        )
        return found.map(({ profile }) => profile).toSorted()
      }
      deepEqual(await listed({}), ['a', 'b', 'c', 'd'])
      deepEqual(await listed({ user: 'bert' }), ['d'])
      deepEqual(await listed({ user: 'anna', file: 'x' }), ['a', 'b', 'c'])
      equal((await listed({ state: 'waiting' })).length, 3)
      equal((await listed({ state: 'cancelled' })).length, 1)
      await rejects(database.jobs.list({ limit: 1, after: 'nonsense' }), SyntaxError)
    })

    it('knows the workers that reported, and what they lack', async () => {
      await database.jobs.report({ name: 'w1', version: '1.0', lacks: ['ffmpeg is not installed'] })
      await database.jobs.report({ name: 'w1', version: '1.1', lacks: [] })
      await database.jobs.report({ name: 'w2', version: '1.1', lacks: ['ffmpeg is not installed'] })
      const workers = await other.jobs.workers()
      deepEqual(
        workers.map(({ name, version, lacks }) => [name, version, lacks]),
        [
          ['w1', '1.1', []],
          ['w2', '1.1', ['ffmpeg is not installed']]
        ]
      )
      ok(workers.every(({ seenAtMs }) => Math.abs(seenAtMs - Date.now()) < 60_000))
      await database.control.change({ sql: 'UPDATE job_workers SET seen_at_ms = 1', parameters: [] })
      deepEqual(await database.jobs.workers(), [])
    })

    it('forgets what ended long ago, and nothing else', async () => {
      const { kind, profile } = ownProfile()
      const made = await database.jobs.add([1, 2, 3].map(() => newJob({ kind, profile })))
      const { job, token } = await claimed(profile)
      await database.jobs.finish(job.id, token)
      await database.jobs.tidy()
      equal((await database.jobs.find(job.id))!.state, 'done')
      await database.control.change({ sql: 'UPDATE jobs SET created_at_ms = 1', parameters: [] })
      ok((await database.jobs.tidy()) >= 1)
      equal(await database.jobs.find(job.id), undefined)
      for (const { id } of made.filter(({ id }) => id !== job.id))
        equal((await database.jobs.find(id))!.state, 'waiting')
    })
  })
}
