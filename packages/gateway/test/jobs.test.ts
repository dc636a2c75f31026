import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Client } from '@tributary/client'
import { derivedKey } from '@tributary/protocol'
import type { FilmDetails, Job, JobPage } from '../src/contract/index.ts'
import { startCluster, type Cluster } from './support/cluster.ts'
import type { Answer, Ask } from './support/http-caller.ts'

const JPEG = Buffer.concat([Buffer.from('ffd8ffe000104a464946', 'hex'), Buffer.alloc(500, 1)])
const CUES = 'WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nthumbnails.jpg#xywh=0,0,160,90\n'

describe('work on films, over HTTP', { timeout: 60_000 }, () => {
  let cluster: Cluster
  let client: Client
  before(async () => {
    cluster = await startCluster({ storageCount: 1 })
    client = new Client({ trackers: [cluster.tracker] })
  })
  after(async () => {
    client?.close()
    await cluster?.stop()
  })

  const ask = (path: string, options?: Ask): Promise<Answer> => cluster.http.ask(path, options)
  const post = (path: string, body: unknown): Promise<Answer> =>
    ask(path, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })
  const store = async (name: string): Promise<FilmDetails['film']> => {
    const put = await ask(`/files/media/alice/${encodeURIComponent(name)}`, { method: 'PUT', body: name })
    equal(put.status, 201, put.text)
    return ((await ask(pathOf(name))).json as FilmDetails).film
  }
  const pathOf = (name: string): string => `/api/v1/films/media/alice/${encodeURIComponent(name)}`
  const made = async (
    film: FilmDetails['film'],
    what: string,
    content: Buffer,
    mediaType: string
  ): Promise<string> => {
    const { application, user, file, generation } = film
    const beside = { application, user, file }
    const key = derivedKey(beside, generation, what)
    return (await client.upload(content, { key, beside, name: file, mediaType })).generation
  }

  it('is asked for, listed, tried again and cancelled', async () => {
    const film = await store('Der müde Tod.mp4')
    const asked = await post(`${pathOf('Der müde Tod.mp4')}/jobs`, { kind: 'poster' })
    equal(asked.status, 201, asked.text)
    const job = asked.json as Job
    deepEqual(
      [job.kind, job.profile, job.state, job.generation, job.title, job.error, job.worker, job.nextTryAt],
      ['poster', null, 'waiting', film.generation, 'Der müde Tod', null, null, null]
    )
    const again = (await post(`${pathOf('Der müde Tod.mp4')}/jobs`, { kind: 'poster' })).json as Job
    equal(again.id, job.id, 'the same work is one job')
    const rendition = await post(`${pathOf('Der müde Tod.mp4')}/jobs`, { kind: 'rendition', profile: '720p' })
    equal((rendition.json as Job).profile, '720p')

    await client.index('jobs.report', { worker: 'w', version: '1', lacks: ['ffmpeg: nothing is made here'] })
    const { job: claimed, token } = await client.index('jobs.claim', {
      worker: 'w',
      kinds: ['poster'],
      profiles: [],
      leaseMs: 60_000
    })
    equal(claimed!.id, job.id)
    await client.index('jobs.heartbeat', { id: job.id, token: token!, progress: 0.5, leaseMs: 60_000 })
    const page = (await ask('/api/v1/jobs?state=running')).json as JobPage
    deepEqual(
      page.jobs.map(({ id, progress, worker, attempts }) => [id, progress, worker, attempts]),
      [[job.id, 0.5, 'w', 1]]
    )
    deepEqual(
      page.workers.map(({ name, lacks }) => [name, lacks]),
      [['w', ['ffmpeg: nothing is made here']]]
    )
    await client.index('jobs.fail', { id: job.id, token: token!, failure: 'retry', error: 'no picture' })
    const [failed] = (
      (await ask('/api/v1/jobs?application=media&user=alice&state=waiting')).json as JobPage
    ).jobs.filter(({ id }) => id === job.id)
    equal(failed!.error, 'no picture')
    ok(Date.parse(failed!.nextTryAt!) > Date.now())
    const retried = await ask(`/api/v1/jobs/${job.id}/retry`, { method: 'POST' })
    equal(retried.status, 200, retried.text)
    deepEqual([(retried.json as Job).attempts, (retried.json as Job).nextTryAt], [0, null])
    equal((await ask(`/api/v1/jobs/${job.id}`, { method: 'DELETE' })).status, 204)
    const ended = (await ask('/api/v1/jobs?state=cancelled')).json as JobPage
    deepEqual(
      ended.jobs.map(({ id }) => id),
      [job.id]
    )
    const all: string[] = []
    for (let after = ''; ;) {
      const { jobs, next } = (await ask(`/api/v1/jobs?limit=1${after}`)).json as JobPage
      all.push(...jobs.map(({ kind }) => kind))
      if (next === null) break
      after = `&after=${encodeURIComponent(next)}`
    }
    deepEqual(all.toSorted(), ['poster', 'rendition'])
  })

  it('is refused where it makes no sense', async () => {
    await store('Genuine.mp4')
    equal((await post(`${pathOf('Genuine.mp4')}/jobs`, { kind: 'rendition' })).status, 400)
    equal((await post(`${pathOf('Genuine.mp4')}/jobs`, { kind: 'poster', profile: '720p' })).status, 400)
    equal((await post(`${pathOf('Genuine.mp4')}/jobs`, { kind: 'colour' })).status, 400)
    equal((await post(`${pathOf('Nothing.mp4')}/jobs`, { kind: 'poster' })).status, 404)
    equal((await ask(`/api/v1/jobs/${'0'.repeat(32)}/retry`, { method: 'POST' })).status, 404)
    equal((await ask('/api/v1/jobs/x', { method: 'DELETE' })).status, 404)
    equal((await ask('/api/v1/jobs?after=x')).status, 400)
    equal((await ask('/api/v1/jobs?user=alice')).status, 400)
  })

  it('shows a poster at the address of its film, and says where there is none', async () => {
    const film = await store('Asphalt & Co/1.mp4')
    const place = '/poster/media/alice/Asphalt%20%26%20Co%2F1.mp4'
    equal((await ask(place)).status, 404)
    match((await ask(place)).text, /the film has no poster/)
    const generation = await made(film, 'poster.jpg', JPEG, 'image/jpeg')
    const got = await ask(place)
    equal(got.status, 200, got.text)
    deepEqual(got.body, JPEG)
    equal(got.headers['content-type'], 'image/jpeg')
    equal(got.headers['x-content-type-options'], 'nosniff')
    equal(got.headers.etag, `"${generation}"`)
    const { poster } = ((await ask(pathOf('Asphalt & Co/1.mp4'))).json as FilmDetails).film.links
    ok(poster!.startsWith(place))
    equal((await ask(poster!)).status, 200)
    equal((await ask(place, { headers: { 'if-none-match': `"${generation}"` } })).status, 304)
    const head = await ask(place, { method: 'HEAD' })
    deepEqual([head.status, head.headers['content-length']], [200, String(JPEG.byteLength)])
    equal((await ask('/poster/media/alice/nothing.mp4')).status, 404)
    equal((await ask('/poster/media/alice')).status, 404)
    equal((await ask('/poster/media/alice/a/b')).status, 404)
    equal((await ask(place, { method: 'PUT', body: 'x' })).status, 404)
  })

  it('shows a poster of a film in the trash to those who could put it back, and keeps caches out', async () => {
    const film = await store('Phantom.mp4')
    await made(film, 'poster.jpg', JPEG, 'image/jpeg')
    equal((await ask(pathOf('Phantom.mp4'), { method: 'DELETE' })).status, 204)
    const seen = await ask('/poster/media/alice/Phantom.mp4')
    equal(seen.status, 200)
    match(seen.headers['cache-control']!, /private/)
    const elsewhere = { 'sec-fetch-site': 'cross-site' }
    equal((await ask('/poster/media/alice/Phantom.mp4', { headers: elsewhere })).status, 404)
  })

  it('shows thumbnails of one generation, the sprite beside the cues that name it', async () => {
    const film = await store('Varieté.mp4')
    const folder = `/thumbnails/media/alice/Variet%C3%A9.mp4/${film.generation}`
    equal((await ask(`${folder}/thumbnails.vtt`)).status, 404)
    await made(film, 'thumbnails.jpg', JPEG, 'image/jpeg')
    await made(film, 'thumbnails.vtt', Buffer.from(CUES), 'text/vtt')
    const details = (await ask(pathOf('Varieté.mp4'))).json as FilmDetails
    equal(details.thumbnails, `${folder}/thumbnails.vtt`)
    const cues = await ask(details.thumbnails!)
    equal(cues.text, CUES)
    match(cues.headers['content-type']!, /^text\/vtt/)
    equal(cues.headers['x-content-type-options'], 'nosniff')
    const sprite = new URL('thumbnails.jpg', `http://x${details.thumbnails}`).pathname
    deepEqual((await ask(sprite)).body, JPEG)
    const other = `/thumbnails/media/alice/Variet%C3%A9.mp4/${'0'.repeat(32)}/thumbnails.vtt`
    equal((await ask(other)).status, 404, 'of another generation there are none')
    equal((await ask(`${folder}/index`)).status, 404, 'and nothing else is to be had there')
    equal((await ask(`${folder}/../x`)).status, 404)
  })
})
