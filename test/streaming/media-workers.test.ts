/** Workers as processes: killed, frozen, side by side, cancelled under way. */
import { deepEqual, equal, match, notEqual, ok } from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { IndexJob } from '@tributary/calls'
import type { Client } from '@tributary/client'
import { derivedKey, type FileKey } from '@tributary/protocol'
import { makeFilm } from '../testkit/film.ts'
import { argumentsOf, childrenOf, TributaryProcess, until } from '../testkit/tributary-process.ts'
import { RunningUp } from '../testkit/up.ts'
import { ENGINES, type Backing } from '../cluster/engines.ts'

const WITHIN_MS = 90_000
/** Short, so that the test need not wait long; a worker renews it four times within it. */
const LEASE_S = '3'

for (const engine of ENGINES) {
  describe(`workers over a cluster on ${engine.name}`, { skip: engine.skip, timeout: 300_000 }, () => {
    let backing: Backing
    let up: RunningUp
    let client: Client
    let film: string
    const workers: TributaryProcess[] = []
    before(async () => {
      film = (await makeFilm({ seconds: 30 })).path
      backing = await engine.start()
      up = await RunningUp.start({ ...backing, flags: ['--storages', '1'] })
      client = up.client()
    })
    afterEach(async () => {
      for (const worker of workers.splice(0)) await worker.stop('SIGKILL')
    })
    after(async () => {
      await up?.close()
      await backing?.stop()
    })

    const work = (name: string, ...flags: string[]): TributaryProcess => {
      const known = `worker --name ${name} --lease-s ${LEASE_S} --poll-s 0.1 --ffmpeg-threads 1`.split(' ')
      const worker = new TributaryProcess(
        [...known, '--trackers', up.trackers[0]!, '--temp-folder', join(up.folder, 'temp'), ...flags],
        { folder: up.folder }
      )
      workers.push(worker)
      return worker
    }
    const upload = async (file: string, source: string | Uint8Array = film): Promise<FileKey> => {
      const key = { application: 'media', user: 'public', file }
      await client.upload(source, { key, name: file })
      await client.index('library.note', key)
      return key
    }
    const jobOf = async (key: FileKey, kind: string): Promise<IndexJob | undefined> =>
      (await client.index('jobs.list', { ...key, limit: 50 })).jobs.find(job => job.kind === kind)
    const whenRendering = (key: FileKey): Promise<IndexJob> =>
      until(`a rendition of ${key.file} is under way`, WITHIN_MS, async () => {
        const job = await jobOf(key, 'rendition')
        return job?.state === 'running' && job.progress > 0.02 && job
      })
    const ended = (key: FileKey, kind: string): Promise<IndexJob> =>
      until(`the ${kind} of ${key.file} ends`, WITHIN_MS, async () => {
        const job = await jobOf(key, kind)
        return job && !['waiting', 'running'].includes(job.state) && job
      })
    const ffmpegOf = async (worker: TributaryProcess): Promise<number | undefined> => {
      for (const pid of await childrenOf(worker.pid)) if ((await argumentsOf(pid))[0] === 'ffmpeg') return pid
      return undefined
    }
    const isGone = async (pid: number): Promise<boolean> => (await argumentsOf(pid))[0] !== 'ffmpeg'
    const SLOW = ['--profiles', '480p', '--preset', 'slow']

    it('lose nothing when one is killed in the middle of a rendition: another one makes it', async t => {
      const key = await upload('killed.mp4')
      const first = work('first', ...SLOW)
      const running = await whenRendering(key)
      equal(running.worker, 'first')
      const ffmpeg = (await until('ffmpeg runs', WITHIN_MS, () => ffmpegOf(first)))!
      const second = work('second', '--profiles', '480p', '--preset', 'ultrafast')
      await first.stop('SIGKILL')
      const killedMs = performance.now()
      await until('its ffmpeg is gone with it', 5_000, () => isGone(ffmpeg))
      t.diagnostic(`ffmpeg was gone ${Math.round(performance.now() - killedMs)} ms after its worker`)
      const done = await ended(key, 'rendition')
      deepEqual([done.state, done.worker, done.attempts], ['done', 'second', 2])
      const { derived } = await client.index('library.film', key)
      ok(derived.some(({ what }) => what === 'rendition-480p.mp4'))
      // Its successor of the same name removes what it left, and nothing of others'.
      notEqual((await readdir(join(up.folder, 'temp', 'first'))).length, 0)
      work('first', '--profiles', '480p')
      await until(
        'what was left is removed',
        WITHIN_MS,
        async () => (await readdir(join(up.folder, 'temp', 'first'))).length === 0
      )
      ok(second.isRunning)
    })

    it('never have one job between two of them', async () => {
      const keys = await Promise.all(Array.from({ length: 8 }, (_, at) => upload(`many-${at}.mp4`)))
      const names = ['one', 'two', 'three']
      for (const name of names) work(name, '--jobs-max', '2')
      const seen = new Map<string, Set<string>>()
      const jobs = await until('all are done', WITHIN_MS, async () => {
        const { jobs: all } = await client.index('jobs.list', {
          application: 'media',
          user: 'public',
          limit: 200
        })
        const mine = all.filter(({ file }) => file.startsWith('many-'))
        for (const { id, worker, state } of mine) {
          if (state === 'running') seen.set(id, (seen.get(id) ?? new Set()).add(worker))
        }
        return mine.length === keys.length * 3 && mine.every(({ state }) => state === 'done') && mine
      })
      // A job that had been another one's as well would have been claimed twice.
      for (const job of jobs) equal(job.attempts, 1, `${job.kind} of ${job.file}`)
      for (const [id, holders] of seen) equal(holders.size, 1, id)
      ok(new Set(jobs.map(({ worker }) => worker)).size > 1, 'they shared the work')
    })

    it('store nothing of a job that was taken from one that stood still', async () => {
      const key = await upload('frozen.mp4')
      const frozen = work('frozen', ...SLOW)
      await whenRendering(key)
      const ffmpeg = (await until('ffmpeg runs', WITHIN_MS, () => ffmpegOf(frozen)))!
      frozen.send('SIGSTOP')
      work('awake', '--profiles', '480p', '--preset', 'ultrafast')
      const done = await ended(key, 'rendition')
      deepEqual([done.state, done.worker, done.attempts], ['done', 'awake', 2])
      const before = (await client.index('library.film', key)).derived
      frozen.send('SIGCONT')
      await until('it notices', 15_000, () => isGone(ffmpeg))
      await sleep(500)
      const { derived } = await client.index('library.film', key)
      deepEqual(derived, before, 'the files are those of the other one')
      equal((await jobOf(key, 'rendition'))!.worker, 'awake')
      ok(frozen.isRunning, 'and it goes on with other work')
    })

    it('stop their ffmpeg when the job is cancelled', async () => {
      const key = await upload('cancelled.mp4')
      const worker = work('patient', ...SLOW)
      const { id } = await whenRendering(key)
      const ffmpeg = (await until('ffmpeg runs', WITHIN_MS, () => ffmpegOf(worker)))!
      const cancel = new TributaryProcess(['jobs', 'cancel', id, '--trackers', up.trackers[0]!], {
        folder: up.folder
      })
      equal((await cancel.ended).exitCode, 0, cancel.err)
      match(cancel.out, /cancelled {2}rendition 480p/)
      await until('ffmpeg is gone', 10_000, () => isGone(ffmpeg))
      equal((await jobOf(key, 'rendition'))!.state, 'cancelled')
      const { film: found, derived } = await client.index('library.film', key)
      equal(found.factsState, 'ready')
      ok(!derived.some(({ what }) => what.startsWith('rendition')))
      await until(
        'nothing is left where it was made',
        WITHIN_MS,
        async () => (await readdir(join(up.folder, 'temp', 'patient'))).length === 0
      )
      await client
        .fetch(derivedKey(key, found.generation, 'poster.jpg'))
        .then(got => got.outcome === 'content' && got.cancel())
    })
  })
}
