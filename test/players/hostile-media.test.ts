import { equal, match, ok } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, describe, it } from 'node:test'
import { makeFilm } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { missingPrograms } from '../testkit/service.ts'

const skip = missingPrograms(['ffmpeg'])
const ANSWER_MS = 25_000

/** A box that says what size one likes. */
function box(type: string, size: bigint, body = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt32BE(1)
  head.write(type, 4, 'latin1')
  head.writeBigUInt64BE(size, 8)
  return Buffer.concat([head, body])
}
const FTYP = Buffer.from('\0\0\0\u0014ftypisom\0\0\0\0isom', 'latin1')

describe('a file that is no film, asked for as HLS', { skip, timeout: 120_000 }, () => {
  let system: PlayableCluster
  let film: Buffer

  before(async () => {
    system = await startPlayableCluster()
    film = await readFile((await makeFilm({ seconds: 6, kind: 'bframes' })).path)
  })
  after(async () => {
    await system?.stop()
  })

  const cases: [string, () => Buffer][] = [
    ['text', () => Buffer.from('hello\n'.repeat(100))],
    ['a zip', () => Buffer.concat([Buffer.from('PK\u0003\u0004', 'latin1'), Buffer.alloc(10_000, 5)])],
    ['a box of 2^63 bytes', () => Buffer.concat([FTYP, box('moov', 1n << 63n)])],
    ['a box of an exabyte', () => Buffer.concat([FTYP, box('moov', (1n << 60n) - 8n)])],
    ['a film that was cut off', () => film.subarray(0, film.byteLength >> 1)],
    [
      'a film that lost its index',
      () => Buffer.concat([FTYP, box('mdat', 100_016n, Buffer.alloc(100_000, 3))])
    ],
    [
      'an index of nonsense',
      () => {
        const bytes = Buffer.from(film)
        bytes.fill(0xff, bytes.indexOf('stbl') + 4, bytes.indexOf('stbl') + 1_000)
        return bytes
      }
    ]
  ]
  for (const [name, make] of cases) {
    it(`is refused with the reason, and still comes as it is: ${name}`, async () => {
      const file = encodeURIComponent(name)
      const content = make()
      equal((await fetch(system.urlOf(name), { method: 'PUT', body: new Uint8Array(content) })).status, 201)
      const startedMs = performance.now()
      for (const address of [
        `/hls/media/public/${file}/master.m3u8`,
        `/dash/media/public/${file}/manifest.mpd`
      ]) {
        const answer = await fetch(system.url + address)
        equal(answer.status, 415)
        match(answer.headers.get('content-type')!, /problem\+json/)
        const { code, detail } = (await answer.json()) as { code: string; detail: string }
        equal(code, 'NOT_PACKAGEABLE')
        match(detail, /^the film cannot be packaged: [a-z]/)
      }
      ok(performance.now() - startedMs < ANSWER_MS)
      const whole = await fetch(system.urlOf(name))
      ok(Buffer.from(await whole.arrayBuffer()).equals(content))
    })
  }

  it('leaves the server as it was, and other films playing', async () => {
    equal((await fetch(system.urlOf('good'), { method: 'PUT', body: new Uint8Array(film) })).status, 201)
    equal((await fetch(`${system.url}/hls/media/public/good/master.m3u8`)).status, 200)
    equal((await fetch(`${system.url}/healthz`)).status, 200)
    for (const address of [
      '/hls/media/public/good/nothing',
      '/hls/media/public/good/0123/v1-original/1/segment-0.m4s',
      `/hls/media/public/good/${'0'.repeat(32)}/v1-original/1/segment-0.m4s`,
      '/hls/media/public/good/..%2f..%2f/master.m3u8',
      '/dash/media/public/none/manifest.mpd'
    ]) {
      equal((await fetch(system.url + address)).status, 404, address)
    }
    ok(!system.logged.some(line => line.includes('"level":50')), system.logged.join(''))
  })
})
