import { describe, it } from 'node:test'
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { memoryGateway } from './support/memory-gateway.ts'

const key = (file: string) => ({ application: 'media', user: 'public', file })
const stored = 'Fri, 02 Jan 2026 03:04:05 GMT'

describe('storing a file under an id', () => {
  it('answers 201 with where and what it is', async t => {
    const { http, files } = await memoryGateway(t)
    const body = randomBytes(300_000)
    const { status, headers, json } = await http.ask('/files/media/public/a%2Fb.mp4', {
      method: 'PUT',
      body,
      headers: { 'content-type': 'video/mp4' }
    })
    equal(status, 201)
    equal(headers.location, '/files/media/public/a%2Fb.mp4')
    equal(headers.etag, `"${json.generation}"`)
    equal(json.file, 'a/b.mp4')
    equal(json.sizeBytes, 300_000)
    match(json.crc32, /^[0-9a-f]{8}$/)
    deepEqual((await http.ask(headers.location)).body, body)
    equal(files.stored.size, 1)
  })

  it('takes content whose length only its end tells, and none at all', async t => {
    const { http } = await memoryGateway(t)
    const chunked = { method: 'PUT', headers: { 'transfer-encoding': 'chunked' }, body: 'in pieces' }
    equal((await http.ask('/files/chunked', chunked)).status, 201)
    equal((await http.ask('/files/chunked')).text, 'in pieces')
    equal((await http.ask('/files/empty', { method: 'PUT' })).status, 201)
    equal((await http.ask('/files/empty')).headers['content-length'], '0')
  })

  it('is refused with 409 where one is, and leaves it', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key('taken'), 'first')
    for (const headers of [{}, { 'if-none-match': '*' }, { 'if-match': '*' }]) {
      const { status, json } = await http.ask('/files/taken', { method: 'PUT', body: 'second', headers })
      equal(status, 409)
      equal(json.code, 'FILE_EXISTS')
    }
    equal((await http.ask('/files/taken')).text, 'first')
    equal(
      (await http.ask('/files/free', { method: 'PUT', body: 'x', headers: { 'if-match': '*' } })).status,
      412
    )
  })

  it('asks for no content before storage takes it', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key('taken'), 'first')
    const head = (id: string): string =>
      `PUT /files/${id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n`
    const refused = await http.raw(`${head('taken')}\r\n`)
    match(refused, /^HTTP\/1\.1 409 /)
    ok(!refused.includes('100 Continue'))

    let accepted = false
    files.beforeContent = async () => {
      await wait(30)
      accepted = true
    }
    const socket = connect(http.port, http.host)
    socket.write(`${head('free')}Connection: close\r\n\r\n`)
    const [first] = (await once(socket, 'data')) as [Buffer]
    match(first.toString(), /^HTTP\/1\.1 100 Continue/)
    ok(accepted)
    socket.write('hello')
    const [second] = (await once(socket, 'data')) as [Buffer]
    match(second.toString(), /^HTTP\/1\.1 201 /)
    equal((await http.ask('/files/free')).text, 'hello')
    socket.destroy()
  })

  it('leaves nothing when the sender goes away, with and without a length', async t => {
    const { http, files } = await memoryGateway(t)
    for (const framing of [
      'Content-Length: 100\r\n\r\nhalf',
      'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'
    ]) {
      const socket = connect(http.port, http.host)
      socket.write(`PUT /files/half HTTP/1.1\r\nHost: localhost\r\n${framing}`)
      await wait(30)
      socket.destroy()
      await wait(30)
    }
    const halfClosed = await http.raw(
      'PUT /files/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf',
      { halfClose: true }
    )
    ok(!halfClosed.includes('201'))
    equal(files.stored.size, 0)
    equal(files.calls.filter(call => call === 'upload').length, 3)
  })

  it('gives up a sender that falls silent, and says so', async t => {
    const { http, files } = await memoryGateway(t, { silenceS: 0.2 })
    const answer = await http
      .raw('PUT /files/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf', {
        halfClose: false
      })
      .catch(() => '')
    match(answer, /^HTTP\/1\.1 408 /)
    equal(files.stored.size, 0)
  })

  it('does not blame the sender for a storage server that is slow to begin', async t => {
    const { http, files } = await memoryGateway(t, { silenceS: 0.2 })
    files.beforeContent = () => wait(400)
    equal((await http.ask('/files/x', { method: 'PUT', body: randomBytes(500_000) })).status, 201)
  })

  it('refuses what is too large, by its length or when it turns out so', async t => {
    const { http, files } = await memoryGateway(t, { uploadMaxBytes: 10 })
    equal((await http.ask('/files/x', { method: 'PUT', body: 'x'.repeat(11) })).status, 413)
    const chunked = { 'transfer-encoding': 'chunked' }
    const turned = await http.ask('/files/x', { method: 'PUT', body: 'x'.repeat(11), headers: chunked })
    equal(turned.status, 413)
    equal(turned.json.code, 'CONTENT_TOO_LARGE')
    equal((await http.ask('/files/x', { method: 'PUT', body: 'x'.repeat(10), headers: chunked })).status, 201)
    equal(files.stored.size, 1)
  })

  it('lets the sender of a refused large upload read why', async t => {
    const { http } = await memoryGateway(t, { uploadMaxBytes: 10 })
    const { status, json } = await http.ask('/files/x', { method: 'PUT', body: randomBytes(8_000_000) })
    equal(status, 413)
    match(json.detail, /10 bytes/)
  })

  for (const [what, headers, status] of [
    ['a part of a file', { 'content-range': 'bytes 0-1/5' }, 400],
    ['compressed content', { 'content-encoding': 'gzip' }, 415],
    ['a form', { 'content-type': 'multipart/form-data; boundary=x' }, 415]
  ] as const) {
    it(`refuses ${what}`, async t => {
      const { http, files } = await memoryGateway(t)
      equal((await http.ask('/files/x', { method: 'PUT', body: 'abc', headers })).status, status)
      equal(files.stored.size, 0)
    })
  }

  it('takes a type that says nothing for none, and asks the name', async t => {
    const { http } = await memoryGateway(t)
    for (const [type, expected] of [
      ['application/x-www-form-urlencoded', 'video/mp4'],
      ['application/octet-stream', 'video/mp4'],
      ['text/vnd.trolltech.linguist', 'video/mp4'],
      ['nonsense', 'video/mp4'],
      ['video/webm', 'video/webm']
    ] as const) {
      const path = `/files/${encodeURIComponent(type)}.mp4`
      equal(
        (await http.ask(path, { method: 'PUT', body: 'x', headers: { 'content-type': type } })).status,
        201
      )
      equal((await http.ask(path)).headers['content-type'], expected)
    }
  })

  it('takes so many at a time, and tells the others to come back', async t => {
    const { http, files } = await memoryGateway(t, { uploadsMax: 1 })
    const gate = Promise.withResolvers<void>()
    files.beforeContent = () => gate.promise
    const first = http.ask('/files/one', { method: 'PUT', body: 'x' })
    while (!files.calls.includes('upload')) await wait(5)
    const { status, headers } = await http.ask('/files/two', { method: 'PUT', body: 'x' })
    equal(status, 503)
    ok(headers['retry-after'])
    gate.resolve()
    equal((await first).status, 201)
    files.beforeContent = undefined
    equal((await http.ask('/files/two', { method: 'PUT', body: 'x' })).status, 201)
  })

  it('reads no faster than storage takes', async t => {
    const { http, files } = await memoryGateway(t)
    const gate = Promise.withResolvers<void>()
    files.beforeContent = () => gate.promise
    const outgoing = httpRequest({ host: http.host, port: http.port, path: '/files/x', method: 'PUT' })
    outgoing.on('error', () => {})
    let sentBytes = 0
    const piece = randomBytes(1024 * 1024)
    for (let index = 0; index < 64; index++) outgoing.write(piece, () => (sentBytes += piece.byteLength))
    await wait(150)
    ok(sentBytes < 32 * 1024 * 1024, `${sentBytes} bytes left while nobody took them`)
    gate.resolve()
    outgoing.end()
    const [response] = (await once(outgoing, 'response')) as [{ statusCode: number; resume: () => void }]
    response.resume()
    equal(response.statusCode, 201)
  })
})

describe('storing a file without an id', () => {
  it('makes one that ends like its name', async t => {
    const { http } = await memoryGateway(t)
    for (const [path, headers, name] of [
      ['?name=My%20Film.MP4', {}, 'My Film.MP4'],
      ['?name=AC%2FDC%20live.mp4', {}, 'AC/DC live.mp4'],
      ['', { 'content-disposition': `attachment; filename*=UTF-8''%E7%94%B5%E5%BD%B1.mp4` }, '电影.mp4'],
      ['', { 'x-file-name': '%E7%94%B5.mp4' }, '电.mp4']
    ] as const) {
      const made = await http.ask(`/files/media/public${path}`, { method: 'POST', body: 'film', headers })
      equal(made.status, 201)
      equal(made.json.name, name)
      match(made.json.file, /^[a-z0-9]+\.mp4$/)
      equal(made.headers.location, made.json.url)
      const got = await http.ask(made.json.url)
      equal(got.text, 'film')
      equal(got.headers['content-type'], 'video/mp4')
    }
    const unnamed = await http.ask('/files/media/public', { method: 'POST', body: 'x' })
    match(unnamed.json.file, /^[a-z0-9]+$/)
  })
})

describe('deleting a file', () => {
  it('is 204 once and 404 then', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key('x'), 'abc')
    const { status, body } = await http.ask('/files/x', { method: 'DELETE' })
    equal(status, 204)
    equal(body.byteLength, 0)
    equal((await http.ask('/files/x', { method: 'DELETE' })).status, 404)
  })

  it('heeds conditions', async t => {
    const { http, files } = await memoryGateway(t)
    const { generation } = files.put(key('x'), 'abc')
    for (const headers of [
      { 'if-match': '"abcd"' },
      { 'if-none-match': `"${generation}"` },
      { 'if-unmodified-since': 'Fri, 02 Jan 2026 03:04:04 GMT' }
    ]) {
      equal((await http.ask('/files/x', { method: 'DELETE', headers })).status, 412)
    }
    const headers = { 'if-match': `"${generation}"`, 'if-modified-since': stored }
    equal((await http.ask('/files/x', { method: 'DELETE', headers })).status, 204)
  })
})

describe('listing files', () => {
  it('goes through all of them in pages', async t => {
    const { http, files } = await memoryGateway(t)
    const ids = ['a', 'b/c', 'd e', 'é', '电']
    for (const id of ids) files.put(key(id), id, { name: `${id}.mp4` })
    const seen: string[] = []
    let after = ''
    for (let pages = 0; pages < 10; pages++) {
      const { status, json } = await http.ask(
        `/files/media/public?limit=2&after=${encodeURIComponent(after)}`
      )
      equal(status, 200)
      seen.push(...json.files.map((entry: { file: string }) => entry.file))
      equal((await http.ask(json.files[0].url)).text, json.files[0].file)
      if (json.next === null) break
      after = json.next
    }
    deepEqual(seen, ids)
  })

  it('refuses a limit that is none', async t => {
    const { http } = await memoryGateway(t)
    for (const limit of ['0', '-1', 'x', '1.5', '']) {
      equal((await http.ask(`/files/media/public?limit=${limit}`)).status, 400)
    }
    equal((await http.ask('/files/media/public?limit=100000')).status, 200)
  })
})
