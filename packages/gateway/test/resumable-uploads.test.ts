/** /uploads against the text of tus 1.0, over real servers: a test for what it demands, and for what nobody should send. */
import { after, before, describe, it } from 'node:test'
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { startCluster, type Cluster } from './support/cluster.ts'
import type { Answer, Ask, HttpCaller } from './support/http-caller.ts'

const TUS = { 'tus-resumable': '1.0.0' }
const OFFSET_STREAM = 'application/offset+octet-stream'
const film = randomBytes(2 * 1024 * 1024 + 17)
let made = 0

const base64 = (text: string): string => Buffer.from(text).toString('base64')
const metadataOf = (values: Record<string, string>): string =>
  Object.entries(values)
    .map(([key, value]) => `${key} ${base64(value)}`)
    .join(',')

describe('resumable uploads over HTTP', { timeout: 120_000 }, () => {
  let cluster: Cluster
  let http: HttpCaller
  before(async () => {
    cluster = await startCluster({ storageCount: 2 })
    http = cluster.http
  })
  after(() => cluster?.stop())

  const tus = (method: string, path: string, headers: object = {}, body?: Ask['body']): Promise<Answer> =>
    http.ask(path, { method, headers: { ...TUS, ...headers }, ...(body !== undefined && { body }) })
  /** @returns URL of a new upload. */
  const create = async (sizeBytes: number, headers: object = {}): Promise<string> => {
    const answer = await tus('POST', '/uploads', { 'upload-length': sizeBytes, ...headers })
    equal(answer.status, 201, answer.text)
    return String(answer.headers.location)
  }
  const patch = (url: string, offset: number | string, body: Buffer, headers: object = {}): Promise<Answer> =>
    tus('PATCH', url, { 'content-type': OFFSET_STREAM, 'upload-offset': offset, ...headers }, body)
  const offsetOf = async (url: string): Promise<string> =>
    String((await tus('HEAD', url)).headers['upload-offset'])
  const partFolders = (): Promise<string[]> => readdir(join(cluster.storePath, '.parts')).catch(() => [])

  describe('the core protocol', () => {
    it('takes the bytes at the offset, acknowledges with 204 and the new offset, and stores the whole as a file', async () => {
      const file = `film-${made++}.mp4`
      const url = await create(film.byteLength, {
        'upload-metadata': metadataOf({
          filename: 'Ein Film.mp4',
          filetype: 'video/mp4',
          app: 'media',
          user: 'anna',
          file
        })
      })
      match(url, /^\/uploads\/[0-9a-f]{32}$/)
      const first = await patch(url, 0, film.subarray(0, 70))
      equal(first.status, 204)
      equal(first.headers['upload-offset'], '70')
      equal(first.headers['tus-resumable'], '1.0.0')
      equal(first.headers['tributary-file'], undefined)
      equal(await offsetOf(url), '70')
      const last = await patch(url, 70, film.subarray(70))
      equal(last.status, 204)
      equal(last.headers['upload-offset'], String(film.byteLength))
      equal(last.headers['tributary-file'], `/files/media/anna/${file}`)
      const got = await http.ask(`/files/media/anna/${file}`)
      deepEqual(got.body, film)
      equal(got.headers['content-type'], 'video/mp4')
      match(String(got.headers['content-disposition']), /Ein Film/)
      const head = await tus('HEAD', url)
      equal(head.headers['upload-offset'], String(film.byteLength))
      equal(head.headers['tributary-file'], `/files/media/anna/${file}`)
    })

    it('is counted by its methods', async () => {
      const url = await create(2)
      await patch(url, 0, Buffer.from('ab'))
      const { text } = await http.ask('/metrics')
      for (const [method, status] of [
        ['POST', 201],
        ['PATCH', 204]
      ]) {
        const labels = `route="upload",method="${method}",status="${status}"`
        match(text, new RegExp(`responses_total\\{${labels}\\} [1-9]`))
      }
    })

    it('tells with HEAD the offset, even 0, and the length, the metadata as they came, and forbids to cache it', async () => {
      const metadata = `filename ${base64('a.mkv')},is_confidential,note ${base64('ä')}`
      const url = await create(100, { 'upload-metadata': metadata })
      const { status, headers } = await tus('HEAD', url)
      equal(status, 200)
      equal(headers['upload-offset'], '0')
      equal(headers['upload-length'], '100')
      equal(headers['upload-metadata'], metadata)
      equal(headers['cache-control'], 'no-store')
      equal(headers['tus-resumable'], '1.0.0')
    })

    it('answers 404 without an offset for an upload that is not there', async () => {
      for (const id of ['0'.repeat(32), 'nonsense', '..%2f..%2fetc', '0'.repeat(33)]) {
        const { status, headers } = await tus('HEAD', `/uploads/${id}`)
        equal(status, 404, id)
        equal(headers['upload-offset'], undefined)
        equal((await patch(`/uploads/${id}`, 0, Buffer.from('x'))).status, 404)
        equal((await tus('DELETE', `/uploads/${id}`)).status, 404)
      }
    })

    it('refuses another offset with 409, another type with 415, and leaves the upload as it was', async () => {
      const url = await create(100)
      await patch(url, 0, Buffer.alloc(10))
      for (const offset of [0, 9, 11, 100]) equal((await patch(url, offset, Buffer.alloc(5))).status, 409)
      const other = { 'content-type': 'application/octet-stream', 'upload-offset': 10 }
      equal((await tus('PATCH', url, other, Buffer.alloc(5))).status, 415)
      equal(await offsetOf(url), '10')
    })

    it('refuses a version that it does not speak with 412 and those that it does, and processes nothing', async () => {
      for (const version of [undefined, '0.2.2', '1.0', '1.0.0, 1.0.0']) {
        const headers = { 'upload-length': 5, ...(version !== undefined && { 'tus-resumable': version }) }
        const { status, headers: said } = await http.ask('/uploads', { method: 'POST', headers })
        equal(status, 412)
        equal(said['tus-version'], '1.0.0')
        equal(said['location'], undefined)
      }
    })

    it('describes itself to OPTIONS, whatever version that says', async () => {
      for (const url of ['/uploads', '/uploads/', `/uploads/${'0'.repeat(32)}`]) {
        const { status, headers } = await http.ask(url, {
          method: 'OPTIONS',
          headers: { 'tus-resumable': '9' }
        })
        equal(status, 204)
        equal(headers['tus-version'], '1.0.0')
        deepEqual(String(headers['tus-extension']).split(','), [
          'creation',
          'creation-with-upload',
          'expiration',
          'checksum',
          'termination',
          'concatenation'
        ])
        equal(headers['tus-max-size'], String(1024 ** 4))
        ok(String(headers['tus-checksum-algorithm']).split(',').includes('sha1'))
        equal(headers['access-control-allow-origin'], undefined, 'pages of other sites have no business here')
      }
    })

    it('takes the method that X-HTTP-Method-Override names', async () => {
      const url = await create(10)
      const headers = { 'x-http-method-override': 'PATCH', 'content-type': OFFSET_STREAM, 'upload-offset': 0 }
      equal((await tus('POST', url, headers, Buffer.alloc(4))).status, 204)
      equal(await offsetOf(url), '4')
      const foreign = {
        ...headers,
        origin: 'http://elsewhere.example',
        'upload-offset': 4,
        'content-length': 1
      }
      equal((await tus('OPTIONS', url, foreign, Buffer.alloc(1))).status, 403)
      equal((await tus('POST', url, { 'x-http-method-override': 'DELETE' })).status, 204)
      equal((await tus('HEAD', url)).status, 404)
    })

    it('stores as much as came when the sender goes away, and goes on there', async () => {
      const file = `broken-${made++}`
      const url = await create(film.byteLength, { 'upload-metadata': metadataOf({ file }) })
      await breakOff(url, film, 1_500_000)
      let offset = 0
      for (let tries = 0; tries < 50 && offset === 0; tries++) {
        await wait(50)
        offset = Number(await offsetOf(url))
      }
      ok(offset > 0 && offset <= 1_500_000, `${offset}`)
      equal((await patch(url, offset, film.subarray(offset))).status, 204)
      deepEqual((await http.ask(`/files/${file}`)).body, film)
    })

    it('takes content whose length is not announced', async () => {
      const file = `chunked-${made++}`
      const url = await create(film.byteLength, { 'upload-metadata': metadataOf({ file }) })
      const headers = { 'content-type': OFFSET_STREAM, 'upload-offset': 0, 'transfer-encoding': 'chunked' }
      equal((await tus('PATCH', url, headers, film)).status, 204)
      deepEqual((await http.ask(`/files/${file}`)).body, film)
      const short = await create(10)
      const answer = await tus('PATCH', short, headers, film)
      equal(answer.status, 413)
    })

    /** Sends so much of `content`, and cuts the connection. */
    async function breakOff(url: string, content: Buffer, bytes: number): Promise<void> {
      const outgoing = httpRequest({
        host: http.host,
        port: http.port,
        method: 'PATCH',
        path: url,
        agent: false,
        headers: {
          ...TUS,
          'content-type': OFFSET_STREAM,
          'upload-offset': 0,
          'content-length': content.byteLength
        }
      })
      outgoing.on('error', () => {})
      outgoing.write(content.subarray(0, bytes))
      await wait(300)
      const closed = new Promise(resolve => outgoing.once('close', resolve))
      outgoing.destroy()
      await closed
    }
  })

  describe('creation', () => {
    it('stores an upload of no bytes at once', async () => {
      const file = `empty-${made++}`
      const answer = await tus('POST', '/uploads', {
        'upload-length': 0,
        'upload-metadata': metadataOf({ file })
      })
      equal(answer.status, 201)
      equal(answer.headers['tributary-file'], `/files/media/public/${file}`)
      equal((await http.ask(`/files/${file}`)).status, 200)
    })

    it('makes a file id that ends as the name does, where none is given', async () => {
      const metadata = metadataOf({ filename: 'Film.MKV' })
      const answer = await tus('POST', '/uploads', { 'upload-length': 0, 'upload-metadata': metadata })
      match(String(answer.headers['tributary-file']), /^\/files\/media\/public\/[0-9a-z]+\.mkv$/)
    })

    it('refuses what is too large with 413, and a name that is taken with 409, before anything is read', async () => {
      equal((await tus('POST', '/uploads', { 'upload-length': 1024 ** 4 + 1 })).status, 413)
      const taken = `taken-${made++}`
      await http.ask(`/files/${taken}`, { method: 'PUT', body: 'there' })
      const metadata = { 'upload-metadata': metadataOf({ file: taken }) }
      equal((await tus('POST', '/uploads', { 'upload-length': 5, ...metadata })).status, 409)
    })

    it('takes content with it, all or a part, and says how much', async () => {
      const file = `with-${made++}`
      const headers = {
        'upload-length': film.byteLength,
        'upload-metadata': metadataOf({ file }),
        'content-type': OFFSET_STREAM
      }
      const part = await tus('POST', '/uploads', headers, film.subarray(0, 1_000))
      equal(part.status, 201)
      equal(part.headers['upload-offset'], '1000')
      equal((await patch(String(part.headers['location']), 1_000, film.subarray(1_000))).status, 204)
      deepEqual((await http.ask(`/files/${file}`)).body, film)
      const small = { ...headers, 'upload-length': 5, 'upload-metadata': metadataOf({ file: `${file}-b` }) }
      const whole = await tus('POST', '/uploads', small, Buffer.from('whole'))
      equal(whole.headers['upload-offset'], '5')
      equal(whole.headers['tributary-file'], `/files/media/public/${file}-b`)
      equal(
        (await tus('POST', '/uploads', { ...small, 'upload-length': 4 }, Buffer.from('whole'))).status,
        413
      )
    })

    it('refuses lengths, metadata and names that are none', async () => {
      const lengths = [
        '-1',
        '1e3',
        '0x10',
        ' ',
        '12abc',
        '1.5',
        '9007199254740993',
        '99999999999999999999',
        'NaN'
      ]
      for (const length of lengths)
        equal((await tus('POST', '/uploads', { 'upload-length': length })).status, 400, length)
      equal((await tus('POST', '/uploads')).status, 400)
      equal((await tus('POST', '/uploads', { 'upload-defer-length': 1 })).status, 400)
      const metadata = [
        'filename not*base64',
        `a ${base64('1')},a ${base64('2')}`,
        ', ,',
        `a ${base64('1')} more`,
        `a ${Buffer.from([0xff, 0xfe]).toString('base64')}`,
        metadataOf({ app: '../etc' }),
        metadataOf({ file: '.derived/00000000000000000000000000000000/index' }),
        metadataOf({ file: '..' }),
        metadataOf({ file: 'a\0b' }),
        metadataOf({ user: 'x'.repeat(256) }),
        Array.from({ length: 65 }, (_, index) => `k${index}`).join(',')
      ]
      for (const value of metadata) {
        const { status } = await tus('POST', '/uploads', { 'upload-length': 1, 'upload-metadata': value })
        equal(status, 400, value)
      }
      equal(
        (
          await tus('POST', '/uploads', {
            'upload-length': 1,
            'upload-metadata': metadataOf({ app: 'nobody' })
          })
        ).status,
        404
      )
    })

    it('refuses offsets that are none, and stays alive', async () => {
      const url = await create(100)
      for (const offset of ['-1', '', 'abc', '0x0', '1e1', '99999999999999999999', '0, 0', '+0']) {
        equal((await patch(url, offset, Buffer.from('x'))).status, 400, offset)
      }
      const without = { 'content-type': OFFSET_STREAM }
      equal((await tus('PATCH', url, without, Buffer.from('x'))).status, 400)
      equal((await patch(url, 0, Buffer.alloc(101))).status, 413)
      equal(await offsetOf(url), '0')
      await fc.assert(
        fc.asyncProperty(fc.stringMatching(/^[\x21-\x7e]{1,60}$/), async value => {
          const answer = await tus('POST', '/uploads', {
            'upload-length': 1,
            'upload-metadata': value,
            'upload-concat': value
          })
          ok(answer.status === 400 || answer.status === 404, `${answer.status} ${value}`)
        }),
        { numRuns: 50 }
      )
    })
  })

  describe('who may', () => {
    it('is the same as for every write: no page of another site', async () => {
      const foreign = { origin: 'http://elsewhere.example' }
      const url = await create(10)
      equal((await tus('POST', '/uploads', { 'upload-length': 1, ...foreign })).status, 403)
      equal((await patch(url, 0, Buffer.alloc(1), foreign)).status, 403)
      equal((await tus('DELETE', url, foreign)).status, 403)
      equal((await tus('HEAD', url, { host: 'rebound.example' })).status, 403)
    })

    it('takes no other methods', async () => {
      const url = await create(10)
      for (const method of ['GET', 'PUT', 'POST']) equal((await tus(method, url)).status, 405, method)
      for (const method of ['GET', 'PUT', 'PATCH', 'DELETE'])
        equal((await tus(method, '/uploads')).status, 405, method)
    })
  })

  describe('expiration', () => {
    it('is told when an upload is created, with every answer to it, and is put off', async () => {
      const created = await tus('POST', '/uploads', { 'upload-length': 10 })
      const expires = (answer: Answer): number => Date.parse(String(answer.headers['upload-expires']))
      ok(expires(created) > Date.now() + 23 * 3_600_000)
      const url = String(created.headers['location'])
      ok(expires(await tus('HEAD', url)) >= expires(created))
      await wait(1_100)
      const patched = await patch(url, 0, Buffer.alloc(1))
      ok(expires(patched) > expires(created))
      match(String(patched.headers['upload-expires']), /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/)
    })
  })

  describe('checksum', () => {
    const digests: Record<string, (bytes: Buffer) => string> = {
      sha1: bytes => createHash('sha1').update(bytes).digest('base64'),
      sha256: bytes => createHash('sha256').update(bytes).digest('base64'),
      md5: bytes => createHash('md5').update(bytes).digest('base64'),
      crc32: bytes => {
        const digest = Buffer.alloc(4)
        digest.writeUInt32BE(crc32(bytes))
        return digest.toString('base64')
      }
    }
    for (const [algorithm, digest] of Object.entries(digests)) {
      it(`of ${algorithm} is compared; what differs is 460, is thrown away, and changes nothing`, async () => {
        const url = await create(200_000)
        const piece = film.subarray(0, 100_000)
        const wrong = await patch(url, 0, piece, { 'upload-checksum': `${algorithm} ${digest(film)}` })
        equal(wrong.status, 460)
        equal(wrong.headers['tus-resumable'], '1.0.0')
        equal(await offsetOf(url), '0')
        const right = await patch(url, 0, piece, { 'upload-checksum': `${algorithm} ${digest(piece)}` })
        equal(right.status, 204)
        equal(await offsetOf(url), '100000')
      })
    }

    it('of an algorithm that is not known, or that is none, is 400', async () => {
      const url = await create(10)
      for (const checksum of [
        'sha512 AAAA',
        'sha1',
        'sha1 AAAA',
        'SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=',
        'constructor x'
      ]) {
        equal((await patch(url, 0, Buffer.alloc(1), { 'upload-checksum': checksum })).status, 400, checksum)
      }
      equal(await offsetOf(url), '0')
    })
  })

  describe('termination', () => {
    it('ends with 204, frees what was there, and is 404 from then on', async () => {
      const url = await create(100)
      await patch(url, 0, Buffer.alloc(50))
      const id = url.split('/').at(-1)!
      ok((await partFolders()).includes(id))
      equal((await tus('DELETE', url)).status, 204)
      for (const method of ['HEAD', 'DELETE']) equal((await tus(method, url)).status, 404)
      equal((await patch(url, 50, Buffer.alloc(50))).status, 404)
      ok(!(await partFolders()).includes(id))
    })
  })

  describe('concatenation', () => {
    it('joins parts in the order of the list, tells what each is, and takes no content for the whole', async () => {
      const pieces = [film.subarray(0, 700_000), film.subarray(700_000, 700_001), film.subarray(700_001)]
      const urls: string[] = []
      for (const piece of pieces) {
        const url = await create(piece.byteLength, { 'upload-concat': 'partial' })
        equal((await patch(url, 0, piece)).status, 204)
        const head = await tus('HEAD', url)
        equal(head.headers['upload-concat'], 'partial')
        equal(head.headers['upload-offset'], String(piece.byteLength))
        equal(head.headers['tributary-file'], undefined)
        urls.push(url)
      }
      const file = `joined-${made++}`
      const concat = `final;${http.url}${urls[0]} ${urls[1]} ${urls[2]}`
      const answer = await tus('POST', '/uploads', {
        'upload-concat': concat,
        'upload-metadata': metadataOf({ file })
      })
      equal(answer.status, 201, answer.text)
      equal(answer.headers['tributary-file'], `/files/media/public/${file}`)
      deepEqual((await http.ask(`/files/${file}`)).body, film)
      const url = String(answer.headers['location'])
      const head = await tus('HEAD', url)
      equal(head.headers['upload-concat'], concat)
      equal(head.headers['upload-length'], String(film.byteLength))
      equal(head.headers['upload-offset'], String(film.byteLength))
      equal((await patch(url, film.byteLength, Buffer.alloc(1))).status, 403)
    })

    it('refuses parts that are not whole, are none, or are unknown', async () => {
      const part = await create(10, { 'upload-concat': 'partial' })
      const whole = await create(10)
      const join = (urls: string): Promise<Answer> =>
        tus('POST', '/uploads', { 'upload-concat': `final;${urls}` })
      equal((await join(part)).status, 409)
      equal((await join(whole)).status, 400)
      equal((await join(`/uploads/${'0'.repeat(32)}`)).status, 404)
      for (const urls of ['', ' ', '/uploads', 'file:///etc/passwd', `${part} nonsense`])
        equal((await join(urls)).status, 400, urls)
      equal((await tus('POST', '/uploads', { 'upload-concat': 'other', 'upload-length': 1 })).status, 400)
      equal(
        (await tus('POST', '/uploads', { 'upload-concat': `final;${part}`, 'upload-length': 10 })).status,
        400
      )
    })

    it('takes nobody else’s parts', async () => {
      const partOf = async (metadata: Record<string, string>): Promise<string> => {
        const concat = { 'upload-concat': 'partial', 'upload-metadata': metadataOf(metadata) }
        const url = await create(10, concat)
        equal((await patch(url, 0, film.subarray(0, 10))).status, 204)
        return url
      }
      const join = (metadata: Record<string, string>, ...urls: string[]): Promise<Answer> => {
        const concat = `final;${urls.join(' ')}`
        return tus('POST', '/uploads', { 'upload-concat': concat, 'upload-metadata': metadataOf(metadata) })
      }
      const [ofAnna, another] = [await partOf({ user: 'anna' }), await partOf({ user: 'anna' })]
      const nobodys = await partOf({})
      const refused = await join({ user: 'bob' }, nobodys, ofAnna)
      equal(refused.status, 403)
      equal(refused.json.code, 'ACCESS_DENIED')
      equal((await join({ user: 'anna' }, await partOf({ user: 'public' }))).status, 403)
      equal((await join({ app: 'other', user: 'anna' }, ofAnna)).status, 403)
      equal((await join({ app: 'other' }, nobodys)).status, 403)
      const file = `annas-${made++}`
      equal((await join({ user: 'anna', file }, ofAnna, another, nobodys)).status, 201)
      equal((await http.ask(`/files/media/anna/${file}`)).body.byteLength, 30)
    })

    it('copies nothing of parts that said where they belong', async () => {
      const whole = randomBytes(16).toString('hex')
      const partBytes = Math.floor(film.byteLength / 3)
      const urls = await Promise.all(
        [0, 1, 2].map(async part => {
          const end = part === 2 ? film.byteLength : (part + 1) * partBytes
          const piece = film.subarray(part * partBytes, end)
          const url = await create(piece.byteLength, {
            'upload-concat': 'partial',
            'upload-metadata': metadataOf({ parallel: `${whole} ${part} 3 ${film.byteLength}` })
          })
          equal((await patch(url, 0, piece)).status, 204)
          return url
        })
      )
      const before = await partFolders()
      ok(!urls.some(url => before.includes(url.split('/').at(-1)!)), 'none has a folder of its own')
      const file = `parallel-${made++}`
      const answer = await tus('POST', '/uploads', {
        'upload-concat': `final;${urls.join(' ')}`,
        'upload-metadata': metadataOf({ file })
      })
      equal(answer.status, 201, answer.text)
      deepEqual((await http.ask(`/files/${file}`)).body, film)
    })
  })
})
