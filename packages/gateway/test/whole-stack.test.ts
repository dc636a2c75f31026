import { after, before, describe, it } from 'node:test'
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import fc from 'fast-check'
import { startCluster, type Cluster } from './support/cluster.ts'
import type { HttpCaller } from './support/http-caller.ts'
import { readParts } from './support/multipart.ts'

const film = randomBytes(3 * 1024 * 1024 + 17)
const small = randomBytes(4096)

describe('the gateway over real servers', { timeout: 60_000 }, () => {
  let cluster: Cluster
  let http: HttpCaller
  let tag: string
  before(async () => {
    cluster = await startCluster({ storageCount: 2 })
    http = cluster.http
    const put = await http.ask('/files/media/public/film.mp4', {
      method: 'PUT',
      body: film,
      headers: { 'content-type': 'video/mp4' }
    })
    equal(put.status, 201, put.text)
    tag = String(put.headers.etag)
    equal((await http.ask('/files/media/public/small.bin', { method: 'PUT', body: small })).status, 201)
    equal((await http.ask('/files/media/public/empty', { method: 'PUT' })).status, 201)
  })
  after(() => cluster?.stop())

  it('gives back what was stored, large, small and empty', async () => {
    const { status, headers, body } = await http.ask('/files/film.mp4')
    equal(status, 200)
    deepEqual(body, film)
    equal(headers.etag, tag)
    equal(headers['content-type'], 'video/mp4')
    ok(Math.abs(Date.parse(String(headers['last-modified'])) - Date.now()) < 60_000)
    deepEqual((await http.ask('/files/small.bin')).body, small)
    const empty = await http.ask('/files/empty')
    equal(empty.status, 200)
    equal(empty.body.byteLength, 0)
    const head = await http.ask('/files/film.mp4', { method: 'HEAD', headers: { range: 'bytes=0-0' } })
    equal(head.status, 200)
    equal(head.headers['content-length'], String(film.byteLength))
    equal(head.headers.etag, tag)
  })

  it('gives every range exactly', async () => {
    const at = fc.nat(film.byteLength + 10)
    await fc.assert(
      fc.asyncProperty(
        at,
        fc.nat(1_000_000),
        fc.constantFrom('interval', 'open', 'suffix'),
        async (start, length, kind) => {
          const range =
            kind === 'suffix' ? `bytes=-${length}` : `bytes=${start}-${kind === 'open' ? '' : start + length}`
          const first = kind === 'suffix' ? Math.max(0, film.byteLength - length) : start
          const end = kind === 'interval' ? Math.min(film.byteLength, start + length + 1) : film.byteLength
          const { status, headers, body } = await http.ask('/files/film.mp4', { headers: { range } })
          if (first >= end) {
            equal(status, 416)
            equal(headers['content-range'], `bytes */${film.byteLength}`)
            return
          }
          equal(status, 206)
          equal(headers['content-range'], `bytes ${first}-${end - 1}/${film.byteLength}`)
          equal(headers['content-length'], String(end - first))
          ok(body.equals(film.subarray(first, end)))
        }
      ),
      { numRuns: 40 }
    )
    equal((await http.ask('/files/empty', { headers: { range: 'bytes=-5' } })).status, 200)
    equal((await http.ask('/files/empty', { headers: { range: 'bytes=0-' } })).status, 416)
  })

  it('gives several ranges as parts', async () => {
    const range = 'bytes=-100, 0-99, 1000000-2499999'
    const { status, headers, body } = await http.ask('/files/film.mp4', { headers: { range } })
    equal(status, 206)
    equal(headers['content-length'], String(body.byteLength))
    const parts = readParts(headers, body).map(part => part.body)
    ok(parts[0]!.equals(film.subarray(-100)))
    ok(parts[1]!.equals(film.subarray(0, 100)))
    ok(parts[2]!.equals(film.subarray(1_000_000, 2_500_000)))
    equal(parts.length, 3)
  })

  it('evaluates conditions, by storage and by itself', async () => {
    const ask = (headers: Record<string, string>) =>
      http.ask('/files/film.mp4', { headers: { range: 'bytes=0-9', ...headers } })
    equal((await ask({ 'if-none-match': tag })).status, 304)
    equal((await ask({ 'if-none-match': `"x", W/${tag}` })).status, 304)
    equal((await ask({ 'if-none-match': '"00"' })).status, 206)
    equal((await ask({ 'if-match': tag })).status, 206)
    equal((await ask({ 'if-match': '"00"' })).status, 412)
    equal((await ask({ 'if-range': tag })).status, 206)
    const other = await ask({ 'if-range': '"00"' })
    equal(other.status, 200)
    deepEqual(other.body, film)
    equal((await ask({ 'if-modified-since': new Date(Date.now() + 5_000).toUTCString() })).status, 304)
    equal(
      (await http.ask('/files/film.mp4', { method: 'HEAD', headers: { 'if-none-match': tag } })).status,
      304
    )
  })

  it('refuses an id that is taken and leaves the file, whoever asks at the same time', async () => {
    const racers = Array.from({ length: 8 }, (_, index) =>
      http.ask('/files/raced', { method: 'PUT', body: `racer ${index}` })
    )
    const answers = await Promise.all(racers)
    equal(
      answers.filter(({ status }) => status === 201).length,
      1,
      answers.map(({ status }) => status).join()
    )
    equal(answers.filter(({ status }) => status === 409).length, 7)
    const winner = answers.findIndex(({ status }) => status === 201)
    equal((await http.ask('/files/raced')).text, `racer ${winner}`)
    equal((await http.ask('/files/film.mp4', { method: 'PUT', body: film })).status, 409)
    equal((await http.ask('/files/film.mp4')).headers.etag, tag)
  })

  it('takes content without a length, in pieces of any size', async () => {
    const outgoing = httpRequest({
      host: http.host,
      port: http.port,
      path: '/files/chunked.bin',
      method: 'PUT'
    })
    for (let at = 0; at < film.byteLength; at += 777_777) outgoing.write(film.subarray(at, at + 777_777))
    outgoing.end()
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
    response.resume()
    equal(response.statusCode, 201)
    ok((await http.ask('/files/chunked.bin')).body.equals(film))
  })

  it('sends 100 Continue when storage has taken the upload, and not when it has not', async () => {
    const head = (id: string) =>
      `PUT /files/${id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ${film.byteLength}\r\nExpect: 100-continue\r\n\r\n`
    const refused = await http.raw(head('film.mp4'))
    match(refused, /^HTTP\/1\.1 409 /)
    const socket = connect(http.port, http.host)
    socket.write(head('expected.bin'))
    const [first] = (await once(socket, 'data')) as [Buffer]
    match(first.toString(), /^HTTP\/1\.1 100 /)
    socket.write(film)
    const [second] = (await once(socket, 'data')) as [Buffer]
    match(second.toString(), /^HTTP\/1\.1 201 /)
    socket.destroy()
  })

  it('leaves nothing of an upload that broke off', async () => {
    const listed = async (): Promise<number> => (await http.ask('/files/media/public')).json.files.length
    const filesBefore = await listed()
    const onDisk = await countFiles(cluster.storePath)
    for (const framing of [
      `Content-Length: ${film.byteLength}\r\n\r\n`,
      `Transfer-Encoding: chunked\r\n\r\n300000\r\n`
    ]) {
      const socket = connect(http.port, http.host)
      socket.on('error', () => {})
      socket.write(`PUT /files/broken HTTP/1.1\r\nHost: localhost\r\n${framing}`)
      socket.write(film.subarray(0, 2_000_000))
      await wait(150)
      socket.resetAndDestroy()
    }
    for (let waitedMs = 0; (await countFiles(cluster.storePath)) > onDisk && waitedMs < 5_000; waitedMs += 50)
      await wait(50)
    equal((await http.ask('/files/broken')).status, 404)
    equal(await listed(), filesBefore)
    equal(await countFiles(cluster.storePath), onDisk)
    equal((await http.ask('/files/broken', { method: 'PUT', body: 'whole' })).status, 201)
    equal((await http.ask('/files/broken')).text, 'whole')
  })

  it('makes an id, keeps the name and finds the type by the content', async () => {
    const png = Buffer.from(
      'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg==',
      'base64'
    )
    const { status, json, headers } = await http.ask('/files/media/public?name=%E7%94%B5%E5%BD%B1', {
      method: 'POST',
      body: png
    })
    equal(status, 201)
    equal(headers.location, json.url)
    const got = await http.ask(json.url)
    deepEqual(got.body, png)
    equal(got.headers['content-type'], 'image/png')
    match(String(got.headers['content-disposition']), /^inline; .*filename\*=UTF-8''%E7%94%B5%E5%BD%B1$/)
  })

  it('keeps users apart and ids byte for byte', async () => {
    const user = 'é/ü'
    const ids = ['a', 'A', 'a ', '%41', 'a+b', '日本', 'e\u0301', 'é', 'x'.repeat(127)]
    const url = (id: string) => `/files/media/${encodeURIComponent(user)}/${encodeURIComponent(id)}`
    for (const id of ids) equal((await http.ask(url(id), { method: 'PUT', body: `<${id}>` })).status, 201, id)
    for (const id of ids) equal((await http.ask(url(id))).text, `<${id}>`)
    const missing = await http.ask(`/files/${encodeURIComponent('日本')}`)
    equal(missing.status, 404)
    ok(!missing.json.detail.startsWith('['), "the name of the server that knows is nobody's business")
    const seen: string[] = []
    for (let after: string | null = ''; after !== null;) {
      const page: any = await http.ask(
        `/files/media/${encodeURIComponent(user)}?limit=2&after=${encodeURIComponent(after)}`
      )
      seen.push(...page.json.files.map((entry: { file: string }) => entry.file))
      after = page.json.next
    }
    deepEqual(
      seen,
      ids.toSorted((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
    )
  })

  it('deletes at once and for every member', async () => {
    equal((await http.ask('/files/doomed', { method: 'PUT', body: 'x' })).status, 201)
    equal((await http.ask('/files/doomed')).text, 'x')
    equal((await http.ask('/files/doomed', { method: 'DELETE' })).status, 204)
    for (let tries = 0; tries < 6; tries++) equal((await http.ask('/files/doomed')).status, 404)
    equal((await http.ask('/files/doomed', { method: 'DELETE' })).status, 404)
    equal((await http.ask('/files/doomed', { method: 'PUT', body: 'again' })).status, 201)
    equal((await http.ask('/files/doomed')).text, 'again')
  })

  it('knows no application that is not there', async () => {
    for (const [method, path] of [
      ['GET', '/files/other/u/f'],
      ['PUT', '/files/other/u/f'],
      ['GET', '/files/other/u'],
      ['HEAD', '/files/other/u/f']
    ] as const) {
      equal(
        (await http.ask(path, { method, ...(method === 'PUT' && { body: 'x' }) })).status,
        404,
        `${method} ${path}`
      )
    }
  })

  it('serves many at a time, while slow and gone receivers hold what they hold', async () => {
    const idle = Array.from({ length: 10 }, () => {
      const socket = connect(http.port, http.host)
      socket.on('error', () => {})
      socket.pause()
      socket.write('GET /files/film.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n')
      return socket
    })
    const sum = createHash('sha256').update(film).digest('hex')
    const bodies = await Promise.all(Array.from({ length: 8 }, () => http.ask('/files/film.mp4')))
    for (const { body } of bodies) equal(createHash('sha256').update(body).digest('hex'), sum)
    for (const socket of idle) socket.destroy()
    equal((await http.ask('/files/small.bin')).status, 200)
  })

  it('goes on when a storage server stops, without a byte lost', async () => {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      httpRequest({ host: http.host, port: http.port, path: '/files/film.mp4', agent: false }, resolve)
        .on('error', reject)
        .end()
    })
    response.pause()
    await wait(50)
    await cluster.storages[0]!.stop(AbortSignal.abort())
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk as Buffer)
    ok(Buffer.concat(chunks).equals(film))
    deepEqual((await http.ask('/files/small.bin')).body, small)
  })
})

/** Files of uploads, finished or not; what a server keeps for itself does not count. */
async function countFiles(storePath: string): Promise<number> {
  const entries = await readdir(storePath, { recursive: true, withFileTypes: true })
  return entries.filter(
    entry => entry.isFile() && !/journal|redo|\.tributary/.test(`${entry.parentPath}/${entry.name}`)
  ).length
}
