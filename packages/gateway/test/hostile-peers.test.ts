import { describe, it } from 'node:test'
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import type { HttpCaller } from './support/http-caller.ts'
import { memoryGateway } from './support/memory-gateway.ts'

const key = (file: string) => ({ application: 'media', user: 'public', file })
const film = randomBytes(24 * 1024 * 1024)

async function open({ host, port }: HttpCaller): Promise<Socket> {
  const socket = connect(port, host)
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

describe('requests that are none', () => {
  const host = 'Host: localhost\r\n'
  const cases: [what: string, bytes: string, status: number][] = [
    ['noise', '\x00\x01\x02 nonsense\r\n\r\n', 400],
    ['another protocol', '\x16\x03\x01\x02\x00\x01\x00', 400],
    ['a URL that is not percent-encoded', `GET /files/%zz HTTP/1.1\r\n${host}Connection: close\r\n\r\n`, 400],
    ['a URL with bad UTF-8', `GET /files/%ff HTTP/1.1\r\n${host}Connection: close\r\n\r\n`, 400],
    ['a bad URL elsewhere', `GET /%zz HTTP/1.1\r\n${host}Connection: close\r\n\r\n`, 400],
    ['raw bytes in the URL', `GET /files/caf\xe9 HTTP/1.1\r\n${host}Connection: close\r\n\r\n`, 400],
    ['headers without end', `GET / HTTP/1.1\r\n${host}X: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['a URL without end', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\n${host}\r\n`, 431],
    ['no host', 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
    ['two hosts', `GET /files/x HTTP/1.1\r\n${host}Host: evil\r\nConnection: close\r\n\r\n`, 400],
    ['two lengths', `PUT /files/x HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, 400],
    [
      'length and chunks',
      `PUT /files/x HTTP/1.1\r\n${host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      400
    ],
    ['a negative length', `PUT /files/x HTTP/1.1\r\n${host}Content-Length: -1\r\n\r\n`, 400],
    [
      'an unknown expectation',
      `PUT /files/x HTTP/1.1\r\n${host}Expect: wonders\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
      417
    ],
    ['an unknown version', `GET / HTTP/9.9\r\n${host}\r\n`, 400]
  ]
  for (const [what, bytes, status] of cases) {
    it(`with ${what} are ${status}, as a problem`, async t => {
      const { http, files } = await memoryGateway(t)
      const answer = await http.raw(Buffer.from(bytes, 'latin1'))
      match(answer, new RegExp(`^HTTP/1\\.1 ${status} `))
      if (what !== 'no host') match(answer, /content-type: application\/problem\+json/i)
      equal(files.stored.size, 0)
    })
  }

  it('in a broken chunk leave nothing', async t => {
    const { http, files } = await memoryGateway(t)
    const answer = await http.raw(
      'PUT /files/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzzz\r\n'
    )
    ok(!answer.includes('201'))
    await wait(20)
    equal(files.stored.size, 0)
  })
})

describe('what is not there, or not that way', () => {
  it('is told as a problem', async t => {
    const { http } = await memoryGateway(t)
    const cases: [method: string, path: string, status: number, allow?: string][] = [
      ['GET', '/none', 404],
      ['GET', '/files', 404],
      ['GET', '/files/none', 404],
      ['GET', '/files/a/b/c/d', 404],
      ['GET', `/files/${'x'.repeat(128)}`, 400],
      ['GET', '/files/bad-app/u/f', 400],
      ['POST', '/files/media/u/f', 405, 'GET, HEAD, PUT, DELETE, OPTIONS'],
      ['PATCH', '/files/media/u/f', 405, 'GET, HEAD, PUT, DELETE, OPTIONS'],
      ['PROPFIND', '/files/media/u/f', 405, 'GET, HEAD, PUT, DELETE, OPTIONS'],
      ['PUT', '/files/media/u', 405, 'GET, HEAD, POST, OPTIONS'],
      ['DELETE', '/files/media/u', 405, 'GET, HEAD, POST, OPTIONS'],
      ['POST', '/healthz', 405, 'GET, HEAD'],
      ['DELETE', '/', 405, 'GET, HEAD']
    ]
    for (const [method, path, status, allow] of cases) {
      const answer = await http.ask(path, { method })
      equal(answer.status, status, `${method} ${path}`)
      equal(answer.headers['content-type'], 'application/problem+json')
      equal(answer.headers.allow, allow, `${method} ${path}`)
      equal(answer.json.status, status)
      equal(answer.json.type, 'about:blank')
      ok(answer.json.title && answer.json.detail && answer.json.code)
    }
    const head = await http.ask('/files/none', { method: 'HEAD' })
    equal(head.status, 404)
    equal(head.body.byteLength, 0)
  })
})

describe('a receiver', () => {
  it('that goes away ends its download', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key('film'), film)
    const socket = await open(http)
    socket.write('GET /files/film HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await once(socket, 'data')
    socket.destroy()
    while (files.cancelled === 0) await wait(5)
    ok(files.piecesGiven < 90)
  })

  it('that never ends what it says to the API is told so, and let go', async t => {
    const { http } = await memoryGateway(t, { silenceS: 0.4 })
    for (const path of ['/api/v1/session', '/api/v1/plays', `/api/v1/shares/${'a'.repeat(16)}/open`]) {
      const socket = await open(http)
      let answer = ''
      socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')))
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{`
      )
      // A byte now and then is no content, either.
      const dripping = setInterval(() => socket.write(' '), 100)
      await once(socket, 'close').finally(() => clearInterval(dripping))
      match(answer, /^HTTP\/1\.1 408 /, path)
      equal(answer.match(/HTTP\/1\.1/g)!.length, 1)
    }
    equal((await http.ask('/healthz')).status, 200)
  })

  it('that is slow holds two pieces and no more', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key('film'), film)
    const socket = await open(http)
    socket.pause()
    socket.write('GET /files/film HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    await wait(100)
    ok(files.piecesOut <= 2, `${files.piecesOut} pieces out`)
    ok(files.piecesGiven < 96, 'the rest is not read')
    const chunks: Buffer[] = []
    socket.on('data', chunk => chunks.push(chunk)).resume()
    await once(socket, 'close')
    const bytes = Buffer.concat(chunks)
    deepEqual(bytes.subarray(bytes.indexOf('\r\n\r\n') + 4), film)
  })

  it('that takes nothing is cut, and harms nobody meanwhile', async t => {
    const { http, files } = await memoryGateway(t, { stallS: 0.3 })
    files.put(key('film'), film)
    files.put(key('small'), 'abc')
    const stalled = await Promise.all(Array.from({ length: 20 }, () => open(http)))
    for (const socket of stalled) {
      socket.pause()
      socket.write('GET /files/film HTTP/1.1\r\nHost: localhost\r\n\r\n')
    }
    equal((await http.ask('/files/small')).text, 'abc')
    for (let waitedMs = 0; files.cancelled < 20 && waitedMs < 3_000; waitedMs += 20) await wait(20)
    equal(files.cancelled, 20)
    for (const socket of stalled) socket.destroy()
  })

  it('gets no more of an answer when storage fails in the middle', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key('film'), film)
    const fetch = files.fetch.bind(files)
    files.fetch = async (...given) => {
      const fetched = await fetch(...given)
      if (fetched.outcome !== 'content') return fetched
      return {
        ...fetched,
        stream: async taker => {
          await new Promise<void>(resolve => taker(film.subarray(0, 1000), resolve))
          throw new Error('storage is gone')
        }
      }
    }
    const failure = await http.ask('/files/film').catch(error => error.code)
    equal(failure, 'ECONNRESET')
  })
})

describe('connections', () => {
  it('by the hundred that say nothing keep nobody out, and are closed in time', async t => {
    const { http, files } = await memoryGateway(t, { headerWaitS: 0.5 })
    files.put(key('small'), 'abc')
    const silent = await Promise.all(Array.from({ length: 300 }, () => open(http)))
    const slow = await Promise.all(Array.from({ length: 50 }, () => open(http)))
    for (const socket of slow) socket.write('GET /files/small HTTP/1.1\r\nHost: localhost\r\nX: ')
    equal((await http.ask('/files/small')).text, 'abc')
    const closing = Promise.all([...silent, ...slow].map(socket => (socket.resume(), once(socket, 'close'))))
    ok(await Promise.race([closing, wait(4_000, false)]), 'they are still open')
  })

  it('beyond a number are refused, and idle ones make room', async t => {
    const { http, files } = await memoryGateway(t, { connectionsMax: 8 })
    files.put(key('small'), 'abc')
    const agent = new Agent({ keepAlive: true })
    const idle = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const request = get({ host: http.host, port: http.port, path: '/files/small', agent })
        const [response] = (await once(request, 'response')) as [IncomingMessage]
        response.resume()
        await once(response, 'end')
        return request
      })
    )
    equal(idle.length, 8)
    for (let tries = 0; ; tries++) {
      const status = await http.ask('/files/small').then(
        answer => answer.status,
        () => 0
      )
      if (status === 200) break
      ok(tries < 20, 'idle connections keep everybody out')
      await wait(20)
    }
    agent.destroy()
  })

  it('may carry requests one behind the other', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key('film'), film)
    files.put(key('small'), 'abc')
    const ask = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`
    const answers = await http.raw(
      ask('/files/film') + ask('/files/none') + ask('/files/small', 'Connection: close\r\n')
    )
    deepEqual(
      answers.match(/HTTP\/1\.1 \d+/g)?.filter(line => /(200|404)$/.test(line)),
      ['HTTP/1.1 200', 'HTTP/1.1 404', 'HTTP/1.1 200']
    )
  })
})

describe('stopping', () => {
  it('finishes the answer in hand and closes what idles', async t => {
    const { http, files, gateway } = await memoryGateway(t)
    files.put(key('film'), film)
    const socket = await open(http)
    socket.pause()
    socket.write('GET /files/film HTTP/1.1\r\nHost: localhost\r\n\r\n')
    const idle = await open(http)
    await wait(50)
    const stopping = gateway.stop(AbortSignal.timeout(5_000))
    await once(idle.resume(), 'close')
    const chunks: Buffer[] = []
    socket.on('data', chunk => chunks.push(chunk)).resume()
    await once(socket, 'close')
    ok(Buffer.concat(chunks).byteLength > film.byteLength)
    await stopping
  })

  it('cuts at the deadline what takes nothing', async t => {
    const { http, files, gateway } = await memoryGateway(t)
    files.put(key('film'), film)
    const socket = await open(http)
    socket.pause()
    socket.write('GET /files/film HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await wait(50)
    const startedMs = performance.now()
    await gateway.stop(AbortSignal.timeout(100))
    ok(performance.now() - startedMs < 1_000)
    socket.destroy()
  })
})

describe('operators', () => {
  it('see health, readiness and figures', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key('small'), 'abc')
    equal((await http.ask('/healthz')).status, 200)
    const ready = await http.ask('/readyz')
    equal(ready.status, 503)
    equal(ready.json.conditions.tracker.ok, true)
    match(ready.json.conditions.storage.reason, /no storage server/)
    await http.ask('/files/small')
    await http.ask('/files/none')
    const { text, headers } = await http.ask('/metrics')
    match(String(headers['content-type']), /^text\/plain/)
    match(text, /tributary_gateway_responses_total\{route="file",method="GET",status="200"\} 1/)
    match(text, /tributary_gateway_responses_total\{route="file",method="GET",status="404"\} 1/)
    match(text, /tributary_gateway_requests_total\{command="GET file",outcome="FILE_NOT_FOUND"\} 1/)
    match(text, /tributary_gateway_request_duration_seconds_bucket/)
    match(text, /tributary_gateway_connections_open 1/)
  })
})
