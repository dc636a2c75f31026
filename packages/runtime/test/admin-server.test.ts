import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import {
  AdminServer,
  AllowList,
  createLog,
  Lifespan,
  Metrics,
  Readiness,
  serveAdmin,
  silentLog,
  type AdminServerOptions,
  type HostPort
} from '../src/index.ts'

async function started(t: TestContext, options: Partial<AdminServerOptions> = {}) {
  const lines: string[] = []
  const readiness = new Readiness()
  const log = createLog({ name: 'test', destination: { write: line => lines.push(line) } })
  const server = new AdminServer({ readiness, metrics: new Metrics('test'), log, ...options })
  const address = await server.start({ host: '127.0.0.1', port: 0 })
  t.after(() => server.stop(AbortSignal.abort()))
  return { server, readiness, lines, port: address?.port ?? 0, url: `http://127.0.0.1:${address?.port}` }
}

async function reply(socket: Socket): Promise<string> {
  let text = ''
  for await (const chunk of socket) text += String(chunk)
  return text
}

describe('the administrative listener', { timeout: 10_000 }, () => {
  it('is ready when every condition holds, and gives the reasons when not', async t => {
    const { url, readiness } = await started(t)
    equal((await fetch(`${url}/readyz`)).status, 200)
    readiness.set('database', false, 'MariaDB does not answer')
    readiness.set('disk', true)
    const response = await fetch(`${url}/readyz?verbose`)
    equal(response.status, 503)
    deepEqual(await response.json(), {
      ready: false,
      conditions: {
        database: { ok: false, reason: 'MariaDB does not answer' },
        disk: { ok: true, reason: '' }
      }
    })
    equal((await fetch(`${url}/healthz`)).status, 200)
    readiness.set('database', true)
    equal((await fetch(`${url}/readyz`)).status, 200)
  })

  it('tells one listener about changes only', () => {
    const readiness = new Readiness(['database'])
    const seen: boolean[] = []
    readiness.onChange(({ ready }) => seen.push(ready))
    readiness.set('database', false, 'still')
    readiness.set('database', true)
    readiness.set('database', true)
    readiness.set('disk', false, 'full')
    readiness.remove('disk')
    deepEqual(seen, [true, false, true])
  })

  it('serves metrics, and HEAD without a body', async t => {
    const metrics = new Metrics('test')
    metrics.gauge('free_bytes', 'Free', () => 7)
    const { url } = await started(t, { metrics })
    const response = await fetch(`${url}/metrics`)
    match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
    match(await response.text(), /^tributary_test_free_bytes 7$/m)
    const head = await fetch(`${url}/metrics`, { method: 'HEAD' })
    deepEqual([head.status, await head.text()], [200, ''])
  })

  it('answers a gauge that throws with a broken connection and a line in the log, and lives on', async t => {
    const metrics = new Metrics('test')
    metrics.gauge('free_bytes', 'Free', () => {
      throw new Error('no such disk')
    })
    const { url, lines } = await started(t, { metrics })
    await rejects(fetch(`${url}/metrics`))
    match(lines.join(), /no such disk/)
    equal((await fetch(`${url}/healthz`)).status, 200)
  })

  it('refuses other methods and paths', async t => {
    const { url } = await started(t)
    const post = await fetch(`${url}/healthz`, { method: 'POST', body: 'x'.repeat(100_000) })
    deepEqual([post.status, post.headers.get('allow')], [405, 'GET, HEAD'])
    equal((await fetch(`${url}/`)).status, 404)
  })

  it('disconnects whom it does not know', async t => {
    const { url } = await started(t, { allow: AllowList.parse(['10.0.0.0/8']) })
    await rejects(fetch(`${url}/healthz`))
  })

  it('cuts off a peer that does not finish its header, and one whose header is too long', async t => {
    const { port } = await started(t)
    const slow = connect(port, '127.0.0.1')
    const long = connect(port, '127.0.0.1')
    const garbage = connect(port, '127.0.0.1')
    slow.write('GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ')
    long.write(`GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ${'y'.repeat(20_000)}\r\n\r\n`)
    garbage.write('\0\0\0\0\0\0\0\0\x0a\0')
    for (const socket of [slow, long, garbage]) socket.on('error', () => {})
    await Promise.all([reply(long).catch(() => ''), reply(garbage).catch(() => '')])
    const startMs = performance.now()
    await reply(slow).catch(() => '')
    ok(performance.now() - startMs < 8_000)
  })

  it('bounds its connections', async t => {
    const { port } = await started(t)
    const sockets = Array.from({ length: 80 }, () => connect(port, '127.0.0.1').on('error', () => {}))
    t.after(() => sockets.forEach(socket => socket.destroy()))
    const closed = new Promise<void>(resolve => {
      let count = 0
      for (const socket of sockets) socket.on('close', () => ++count === 16 && resolve())
    })
    for (const socket of sockets) socket.resume()
    await closed
  })

  it('takes a port that is taken as a warning, or as a failure where it is required', async t => {
    const { port } = await started(t)
    const lines: string[] = []
    const options = {
      readiness: new Readiness(),
      metrics: new Metrics('test'),
      log: createLog({ name: 'test', destination: { write: (line: string) => lines.push(line) } })
    }
    const server = new AdminServer(options)
    equal(await server.start({ host: '127.0.0.1', port }), undefined)
    match(lines[0]!, /"warn".*cannot be served/)
    await server.stop(AbortSignal.abort())
    await rejects(new AdminServer({ ...options, required: true }).start({ host: '127.0.0.1', port }), {
      code: 'EADDRINUSE'
    })
  })

  it('does not wait for idle connections when it stops, and cuts the rest at the deadline', async t => {
    const { server, port, url } = await started(t)
    await (await fetch(`${url}/healthz`)).text()
    const half = connect(port, '127.0.0.1').on('error', () => {})
    half.write('GET /healthz HTTP/1.1\r\n')
    await once(half, 'connect')
    const closed = once(half, 'close')
    half.resume()
    const stopping = server.stop(AbortSignal.timeout(100))
    equal(server.stop(AbortSignal.abort()), stopping)
    await stopping
    await closed
  })

  it('is there for as long as its server, if the configuration wants it', async () => {
    const options = { readiness: new Readiness(), metrics: new Metrics('test'), log: silentLog() }
    const at = { adminHost: '127.0.0.1', insecure: false, allow: undefined }
    const life: Lifespan<(HostPort | undefined)[]> = new Lifespan(
      async () => [
        await serveAdmin({ ...at, adminPort: 0 }, life, options),
        await serveAdmin({ ...at, adminPort: await freePort() }, life, options)
      ],
      () => {}
    )
    const [unwanted, where] = await life.start()
    equal(unwanted, undefined)
    const url = `http://127.0.0.1:${where!.port}/healthz`
    equal((await fetch(url)).status, 200)
    await life.stop(AbortSignal.abort())
    await rejects(fetch(url))
  })
})

async function freePort(): Promise<number> {
  const probe = createServer()
  probe.listen({ host: '127.0.0.1', port: 0 })
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}
