import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@tributary/client'
import type { Cluster as ClusterReport, Film, FilmDetails, FilmPage } from '../src/contract/index.ts'
import { DOCUMENT, OPENAPI, openApi, withEndpoints } from './api-document.ts'
import { startCluster, type Cluster } from './support/cluster.ts'
import type { Answer, Ask } from './support/http-caller.ts'

const REMAKE = 'node scripts/run.mjs packages/gateway/test/api-document.ts makes it anew'
const PNG = Buffer.from(
  '89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000a49444154789c6300010000050001',
  'hex'
)

describe('the API', { timeout: 60_000 }, () => {
  let cluster: Cluster
  before(async () => {
    cluster = await startCluster({ storageCount: 2 })
  })
  after(() => cluster?.stop())

  const ask = (path: string, options?: Ask): Promise<Answer> => cluster.http.ask(path, options)
  const send = (method: string, path: string, body: unknown): Promise<Answer> =>
    ask(path, { method, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })
  const store = async (name: string, type = 'video/mp4', bytes = 100_000): Promise<Film> => {
    const put = await ask(`/files/media/alice/${encodeURIComponent(name)}`, {
      method: 'PUT',
      body: Buffer.alloc(bytes, name),
      headers: { 'content-type': type, 'content-disposition': `attachment; filename="${name}"` }
    })
    equal(put.status, 201, put.text)
    return (await detailsOf(name)).film
  }
  const pathOf = (file: string): string => `/api/v1/films/media/alice/${encodeURIComponent(file)}`
  const detailsOf = async (file: string): Promise<FilmDetails> => {
    const got = await ask(pathOf(file))
    equal(got.status, 200, got.text)
    return got.json as FilmDetails
  }
  const list = async (query: string): Promise<string[]> => {
    const titles: string[] = []
    let after = ''
    for (;;) {
      const got = await ask(`/api/v1/films?${query}${after}`)
      equal(got.status, 200, got.text)
      const { films, next } = got.json as FilmPage
      titles.push(...films.map(film => film.title))
      if (next === null) return titles
      after = `&after=${encodeURIComponent(next)}`
    }
  }

  it('lists a film as soon as its upload is answered, and no longer once it is deleted', async () => {
    const film = await store('Nosferatu 1922.mp4')
    equal(film.title, 'Nosferatu 1922')
    equal(film.kind, 'video')
    equal(film.links.file, '/files/media/alice/Nosferatu%201922.mp4')
    equal(film.links.hls, '/hls/media/alice/Nosferatu%201922.mp4/master.m3u8')
    deepEqual(await list('search=nosf&limit=1'), ['Nosferatu 1922'])
    equal((await ask(film.links.file, { method: 'DELETE' })).status, 204)
    deepEqual(await list('search=nosf'), [])
    equal((await ask(pathOf('Nosferatu 1922.mp4'))).status, 404)
  })

  it('lists what programs stored over the wire, a moment later', async () => {
    const client = new Client({ trackers: [cluster.tracker] })
    try {
      await client.upload(Buffer.from('wire'), {
        key: { application: 'media', user: 'wire', file: 'wired.mkv' },
        name: 'Wired.mkv'
      })
      for (let tries = 0; (await list('user=wire&application=media')).length === 0; tries++) {
        ok(tries < 100, 'within ten seconds')
        await sleep(100)
      }
      deepEqual(await list('user=wire&application=media'), ['Wired'])
    } finally {
      client.close()
    }
  })

  it('sorts, filters and pages', async () => {
    await store('b.mp4', 'video/mp4', 300_000)
    await store('a.mp3', 'audio/mpeg', 200_000)
    await store('c.bin', 'application/x-thing', 100_000)
    const mine = 'application=media&user=alice'
    deepEqual(await list(`${mine}&sort=title&limit=2`), ['a', 'b', 'c'])
    deepEqual(await list(`${mine}&sort=size&limit=1`), ['b', 'a', 'c'])
    deepEqual(await list(`${mine}&sort=newest&reverse=true&limit=2`), ['b', 'a', 'c'])
    deepEqual(await list(`${mine}&kind=audio`), ['a'])
    equal((await ask('/api/v1/films?limit=0')).status, 400)
    equal((await ask('/api/v1/films?sort=best')).status, 400)
    equal((await ask('/api/v1/films?user=alice')).status, 400)
    equal((await ask('/api/v1/films?after=junk')).status, 400)
    deepEqual(
      (await ask('/api/v1/owners')).json.owners.filter(({ user }: { user: string }) => user === 'alice'),
      [{ application: 'media', user: 'alice' }]
    )
    const usage = (await ask('/api/v1/usage?application=media&user=alice')).json
    deepEqual([usage.files, usage.bytes], [3, 600_000])
  })

  it('takes a title, trimmed, and refuses what is none', async () => {
    await store('rip-x264.mp4')
    const changed = await send('PATCH', pathOf('rip-x264.mp4'), { title: '  Die Büchse der Pandora ' })
    equal(changed.status, 200, changed.text)
    equal((changed.json as Film).title, 'Die Büchse der Pandora')
    deepEqual(await list('search=buchse%20pan'), ['Die Büchse der Pandora'])
    for (const body of [{}, { title: '' }, { title: '   ' }, { title: 7 }, { title: 'x'.repeat(251) }]) {
      equal((await send('PATCH', pathOf('rip-x264.mp4'), body)).status, 400)
    }
    const torn = await ask(pathOf('rip-x264.mp4'), {
      method: 'PATCH',
      body: '{"title":',
      headers: { 'content-type': 'application/json' }
    })
    equal(torn.status, 400)
    const unknown = await send('PATCH', pathOf('rip-x264.mp4'), { title: 'A', titel: 'B' })
    equal(unknown.status, 400)
    match(unknown.text, /the content is not as expected: there is no titel/)
    match(torn.text, /JSON/)
    const plain = await ask(pathOf('rip-x264.mp4'), {
      method: 'PATCH',
      body: 'x',
      headers: { 'content-type': 'text/plain' }
    })
    equal(plain.status, 415)
    equal((await send('PATCH', pathOf('none.mp4'), { title: 'x' })).status, 404)
    const long = await send('PATCH', pathOf('rip-x264.mp4'), { title: 'x', more: 'y'.repeat(300_000) })
    equal(long.status, 413)
  })

  it('puts into the trash, where nobody reads it, and out again, the same file', async () => {
    const film = await store('Metropolis.mp4')
    equal((await ask(film.links.file)).status, 200, 'hot in every cache')
    equal((await ask(pathOf('Metropolis.mp4'), { method: 'DELETE' })).status, 204)
    equal((await ask(film.links.file)).status, 404)
    deepEqual(await list('search=metropolis'), [])
    deepEqual(await list('search=metropolis&trashed=true'), ['Metropolis'])
    const { film: trashed } = await detailsOf('Metropolis.mp4')
    const leftMs = Date.parse(trashed.trashedUntil!) - Date.now()
    ok(Math.abs(leftMs - 7 * 86_400_000) < 60_000, 'seven days')
    const usage = (await ask('/api/v1/usage?application=media&user=alice')).json
    equal(usage.trashedBytes, 100_000)
    const again = await ask(film.links.file, { method: 'PUT', body: 'another' })
    equal(again.status, 409, 'its name is kept for it')
    const restored = await ask(`${pathOf('Metropolis.mp4')}/restore`, { method: 'POST' })
    equal(restored.status, 200, restored.text)
    equal((restored.json as Film).generation, film.generation)
    const read = await ask(film.links.file)
    equal(read.status, 200)
    equal(read.headers.etag, `"${film.generation}"`)
    deepEqual(await list('search=metropolis'), ['Metropolis'])
  })

  it('deletes for good, at once or out of the trash, with everything that was made of it', async () => {
    const film = await store('Faust.mp4')
    const poster = await ask(`${pathOf('Faust.mp4')}/poster`, {
      method: 'PUT',
      body: PNG,
      headers: { 'content-type': 'image/jpeg' }
    })
    equal(poster.status, 204, poster.text)
    const { derived, film: shown } = await detailsOf('Faust.mp4')
    deepEqual(
      derived.map(({ what }) => what),
      ['poster.jpg']
    )
    match(shown.links.poster!, /^\/poster\/media\/alice\/Faust\.mp4\?v=[0-9a-f]{8}$/)
    const listed = (await ask('/files/media/alice?limit=1000')).json.files.map(
      ({ file }: { file: string }) => file
    )
    ok(
      !listed.some((file: string) => file.startsWith('.derived')),
      'nobody sees derived files among their own'
    )
    const hidden = `/files/media/alice/${encodeURIComponent(`.derived/${film.generation}/poster.jpg`)}`
    equal((await ask(hidden)).status, 404)
    equal((await ask(hidden, { method: 'PUT', body: 'x' })).status, 404)
    const before = (await ask('/api/v1/usage?application=media&user=alice')).json.files
    equal((await ask(pathOf('Faust.mp4'), { method: 'DELETE' })).status, 204)
    const emptied = await ask('/api/v1/trash?application=media&user=alice', { method: 'DELETE' })
    deepEqual(emptied.json, { files: 1, more: false })
    equal((await ask('/api/v1/usage?application=media&user=alice')).json.files, before - 2)
    await store('Faust.mp4')
    equal((await ask(`${pathOf('Faust.mp4')}?forever=true`, { method: 'DELETE' })).status, 204)
    equal((await ask(pathOf('Faust.mp4'))).status, 404)
    equal((await ask(`${pathOf('Faust.mp4')}?forever=true`, { method: 'DELETE' })).status, 404)
  })

  it('replaces a poster, and takes only pictures', async () => {
    await store('Caligari.mp4')
    const put = (body: Buffer): Promise<Answer> =>
      ask(`${pathOf('Caligari.mp4')}/poster`, { method: 'PUT', body })
    equal((await put(PNG)).status, 204)
    const first = (await detailsOf('Caligari.mp4')).film.links.poster
    equal((await put(PNG)).status, 204)
    const second = (await detailsOf('Caligari.mp4')).film.links.poster
    ok(first !== second, 'a new poster has a new address')
    equal((await put(Buffer.from('<svg onload="alert(1)"/>'))).status, 415)
    equal((await put(Buffer.alloc(0))).status, 400)
    equal((await ask(`${pathOf('Caligari.mp4')}/poster`, { method: 'DELETE' })).status, 204)
    equal((await detailsOf('Caligari.mp4')).film.links.poster, null)
    equal((await ask(`${pathOf('Caligari.mp4')}/poster`, { method: 'DELETE' })).status, 404)
  })

  it('shows the cluster, and goes on showing it', async () => {
    const report = (await ask('/api/v1/cluster')).json as ClusterReport
    equal(report.groups.length, 1)
    equal(report.groups[0]!.members.length, 2)
    equal(report.trackers[0]!.answers, true)
    deepEqual(
      report.faults.filter(({ severity }) => severity === 'error'),
      []
    )
    const events: ClusterReport[] = []
    await new Promise<void>((resolve, reject) => {
      const outgoing = request(
        { host: cluster.http.host, port: cluster.http.port, path: '/api/v1/cluster/events' },
        incoming => {
          equal(incoming.headers['content-type'], 'text/event-stream; charset=utf-8')
          let text = ''
          incoming.on('data', (chunk: Buffer) => {
            text += chunk.toString()
            for (const [whole, data] of text.matchAll(/event: cluster\ndata: (.*)\n\n/g)) {
              events.push(JSON.parse(data!) as ClusterReport)
              text = text.replace(whole, '')
            }
            if (events.length >= 2) {
              outgoing.destroy()
              resolve()
            }
          })
          incoming.on('error', () => {})
        }
      )
      outgoing.on('error', error => (events.length >= 2 ? undefined : reject(error)))
      outgoing.end()
    })
    ok(events[1]!.at > events[0]!.at)
  })

  it('describes itself as OpenAPI 3.1', async () => {
    const document = (await ask('/api/v1/openapi.json')).json
    equal(document.openapi, '3.1.0')
    const film = document.paths['/api/v1/films/{application}/{user}/{file}']
    deepEqual(Object.keys(film).sort(), ['delete', 'get', 'patch'])
    equal(film.get.responses['200'].content['application/json'].schema.type, 'object')
  })

  it('is described in the documents as it is', async () => {
    equal(readFileSync(DOCUMENT, 'utf8'), withEndpoints(readFileSync(DOCUMENT, 'utf8')), REMAKE)
    equal(readFileSync(OPENAPI, 'utf8'), await openApi(), REMAKE)
  })

  it('refuses pages of other sites, and says where there is nothing', async () => {
    const foreign = await ask(pathOf('b.mp4'), {
      method: 'DELETE',
      headers: { origin: 'http://evil.example' }
    })
    equal(foreign.status, 403)
    equal((await ask('/api/v1/films', { headers: { host: 'evil.example' } })).status, 403)
    equal((await ask('/api/v1/nothing')).status, 404)
    equal((await ask('/api/v1/films', { method: 'PUT', body: 'x' })).status, 405)
  })
})
