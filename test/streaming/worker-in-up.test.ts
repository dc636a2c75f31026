/** What `up` makes of a film by itself: facts, poster, thumbnails, and qualities that players change between. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { makeFilm, type FilmKind } from '../testkit/film.ts'
import { RunningUp } from '../testkit/up.ts'

const run = promisify(execFile)
const WITHIN_MS = 120_000
const SECONDS = 20
const FLAGS = ['--storages', '1', '--profiles', '240p:240:300:64,144p:144:150:64']

describe('a film in up', { timeout: 300_000 }, () => {
  let folder: string
  let up: RunningUp
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-worker-in-up-'))
    up = await RunningUp.start({ worker: true, folder, flags: FLAGS })
  })
  after(async () => {
    await up?.close()
    await rm(folder, { recursive: true, force: true, maxRetries: 3 })
  })

  const json = async (path: string): Promise<any> => (await fetch(`${up.httpUrl}${path}`)).json()
  const text = async (path: string): Promise<string> => {
    const got = await fetch(`${up.httpUrl}${path}`)
    equal(got.status, 200, path)
    return got.text()
  }
  /** Presentation times of the pictures, in milliseconds, in their order. */
  const timesOf = async (url: string): Promise<number[]> => {
    const args = [
      '-v',
      'error',
      '-select_streams',
      'v:0',
      '-show_entries',
      'packet=pts_time',
      '-of',
      'csv=p=0',
      url
    ]
    const { stdout } = await run('ffprobe', args, { maxBuffer: 16 * 1024 ** 2 })
    const times = stdout
      .split(/[\s,]+/)
      .filter(Boolean)
      .map(time => Math.round(Number(time) * 1_000))
    return times.toSorted((a, b) => a - b)
  }

  for (const kind of ['faststart', 'bframes', 'vfr'] as const satisfies FilmKind[]) {
    it(`is known, and plays in every quality with the same cuts: ${kind}`, async () => {
      const { path } = await makeFilm({ seconds: SECONDS, kind })
      const put = await fetch(up.urlOf('public', `${kind}.mp4`), {
        method: 'PUT',
        body: await readFile(path)
      })
      equal(put.status, 201)
      const place = `/media/public/${kind}.mp4`
      const untilMs = performance.now() + WITHIN_MS
      for (;;) {
        const { jobs } = await json(`/api/v1/jobs?application=media&user=public&file=${kind}.mp4`)
        for (const job of jobs) ok(job.state !== 'failed', `${job.kind} ${job.profile}: ${job.error}`)
        if (jobs.length === 5 && jobs.every(({ state }: { state: string }) => state === 'done')) break
        ok(performance.now() < untilMs, JSON.stringify(jobs))
        await sleep(200)
      }
      const { film, media, renditions, notStreamable } = await json(`/api/v1/films${place}`)
      deepEqual([film.facts, film.width, film.height, notStreamable], ['ready', 1280, 720, null])
      ok(Math.abs(film.durationS - SECONDS) < 0.2, `${film.durationS} s`)
      equal(media.tracks.length, 2)
      deepEqual(renditions.map(({ profile }: { profile: string }) => profile).toSorted(), ['144p', '240p'])
      equal((await fetch(`${up.httpUrl}${film.links.poster}`)).headers.get('content-type'), 'image/jpeg')
      match(
        await text(`/thumbnails${place}/${film.generation}/thumbnails.vtt`),
        /thumbnails\.jpg#xywh=0,0,160,90/
      )

      const master = await text(film.links.hls)
      const variants = [...master.matchAll(/^#EXT-X-STREAM-INF:.*RESOLUTION=(\d+x\d+).*\n(.+)$/gm)]
      deepEqual(variants.map(([, size]) => String(size)).toSorted(), ['1280x720', '256x144', '426x240'])
      const base = new URL('./', `${up.httpUrl}${film.links.hls}`)
      const cuts = await Promise.all(
        variants.map(async ([, , uri]) => {
          const list = await (await fetch(new URL(uri!, base))).text()
          return [...list.matchAll(/^#EXTINF:([\d.]+)/gm)].map(([, seconds]) => Number(seconds).toFixed(2))
        })
      )
      for (const cut of cuts) {
        deepEqual(cut.slice(0, -1), cuts[0]!.slice(0, -1))
        // How long the last picture is shown, a film of uneven pictures does not say.
        ok(Math.abs(Number(cut.at(-1)) - Number(cuts[0]!.at(-1))) < 0.1)
      }
      const original = await timesOf(path)
      for (const [, size, uri] of variants) {
        const times = await timesOf(new URL(uri!, base).href)
        equal(times.length, original.length, `${size} has every picture`)
        const shift = times[0]! - original[0]!
        for (const [at, time] of times.entries())
          ok(Math.abs(time - shift - original[at]!) <= 2, `${size}: picture ${at} at ${time} ms`)
      }
    })
  }

  it('is there with all that was made of it after a death without goodbye, and nothing is made twice', async () => {
    const before = await json('/api/v1/jobs?limit=200')
    const killed = up
    await killed.stop('SIGKILL')
    up = await RunningUp.start({ worker: true, folder, flags: FLAGS })
    const details = await json('/api/v1/films/media/public/bframes.mp4')
    deepEqual([details.renditions.length, details.derived.length], [2, 8])
    await sleep(2_000)
    equal((await json('/api/v1/jobs?limit=200')).jobs.length, before.jobs.length)
  })
})
