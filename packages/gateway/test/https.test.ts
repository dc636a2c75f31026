import { deepEqual, equal, match, ok, throws } from 'node:assert/strict'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { get, request } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { ConfigError, createLog, loadConfig, systemClock, type ConfigProblem } from '@tributary/runtime'
import { freePort } from '../../../test/testkit/ports.ts'
import { noOpenssl, TestAuthority, type TestCertificate } from '../../../test/testkit/certificates.ts'
import { createGateway, gatewayConfig, reportCertificate, type Gateway } from '../src/index.ts'
import { HttpCaller } from './support/http-caller.ts'
import { MemoryFiles } from './support/memory-files.ts'

const DAY_MS = 24 * 3_600_000
const film = Buffer.alloc(8 * 1024 * 1024, 'film')

function problemsOf(flags: Record<string, unknown>): readonly ConfigProblem[] {
  try {
    loadConfig(gatewayConfig, { flags })
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

describe('a gateway with a certificate', { skip: noOpenssl(), timeout: 60_000 }, () => {
  let authority: TestAuthority
  let first: TestCertificate
  let second: TestCertificate

  before(async () => {
    authority = await TestAuthority.open()
    ;[first, second] = [await authority.issue(), await authority.issue()]
  })
  after(() => authority.close())

  const file = async (name: string, text: string): Promise<string> => {
    const path = join(authority.folder, name)
    await writeFile(path, text)
    return path
  }

  interface Open {
    gateway: Gateway
    files: MemoryFiles
    at: { host: string; port: number }
    logged: string[]
  }
  const open = async (t: TestContext, flags: Record<string, unknown> = {}): Promise<Open> => {
    const files = new MemoryFiles()
    const logged: string[] = []
    const pair = { certificate: first.path, private_key: first.keyPath }
    const gateway = createGateway({
      config: loadConfig(gatewayConfig, { flags: { port: 0, ...pair, ...flags } }),
      log: createLog({
        name: 'gateway',
        level: 'debug',
        destination: { write: line => void logged.push(line) }
      }),
      clock: systemClock(),
      version: '0.0.0',
      client: files
    })
    const at = await gateway.start()
    t.after(() => gateway.stop(AbortSignal.timeout(100)))
    return { gateway, files, at, logged }
  }
  const secure = async (at: Open['at'], options = {}): Promise<TLSSocket> => {
    const socket = connectTls({ ...at, ca: authority.text, ...options })
    await once(socket, 'secureConnect')
    return socket
  }
  const plain = async ({ port, host }: Open['at']): Promise<Socket> => {
    const socket = connect(port, host)
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }
  const body = async (incoming: IncomingMessage): Promise<string> => {
    let text = ''
    for await (const chunk of incoming) text += String(chunk)
    return text
  }
  const ask = async (at: Open['at'], path: string): Promise<{ status: number; text: string }> => {
    const outgoing = get({ ...at, path, ca: authority.text, agent: false })
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    return { status: incoming.statusCode!, text: await body(incoming) }
  }

  it('takes and gives files over HTTPS, and counts what came and went', async t => {
    const { at, logged } = await open(t)
    const outgoing = request({
      ...at,
      path: '/files/film',
      method: 'PUT',
      headers: { 'Content-Type': 'video/mp4' },
      ca: authority.text,
      agent: false
    })
    outgoing.end(film)
    const [created] = (await once(outgoing, 'response')) as [IncomingMessage]
    equal(created.statusCode, 201)
    await body(created)
    const ranged = get({
      ...at,
      path: '/files/film',
      headers: { Range: 'bytes=4-11' },
      ca: authority.text,
      agent: false
    })
    const [part] = (await once(ranged, 'response')) as [IncomingMessage]
    deepEqual([part.statusCode, await body(part)], [206, 'filmfilm'])
    const { text } = await ask(at, '/metrics')
    match(text, /^tributary_gateway_connections_accepted_total 3$/m)
    const [, received] = /^tributary_gateway_received_bytes_total (\d+)$/m.exec(text) ?? []
    ok(Number(received) >= film.byteLength - 128 * 1024, received)
    const [, expiry] = /^tributary_gateway_certificate_expiry_timestamp_seconds (\d+)$/m.exec(text) ?? []
    ok(Math.abs(Number(expiry) * 1_000 - Date.now() - 90 * DAY_MS) < 60_000)
    ok(!logged.join('').includes('PRIVATE KEY'))
    match(logged.join(''), new RegExp(`"serial":"${first.serial}"`))
  })

  it('speaks TLS 1.2 and later, and nothing before', async t => {
    const { at } = await open(t)
    const socket = await secure(at, { maxVersion: 'TLSv1.2' })
    equal(socket.getProtocol(), 'TLSv1.2')
    socket.destroy()
    const old = connectTls({ ...at, ca: authority.text, minVersion: 'TLSv1', maxVersion: 'TLSv1.1' })
    const [error] = (await once(old, 'error')) as [NodeJS.ErrnoException]
    match(error.code ?? '', /^ERR_SSL_/)
  })

  it('tells who comes without TLS to use https://, whatever he asks', async t => {
    const { at } = await open(t)
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'POST']) {
      const answer = await new HttpCaller(at).raw(`${method} /files/film HTTP/1.1\r\nHost: localhost\r\n\r\n`)
      match(answer, /^HTTP\/1\.1 400 Bad Request\r\n[^]*https:\/\//, method)
    }
    equal(await new HttpCaller(at).raw('\0\0noise'), '')
    equal((await ask(at, '/healthz')).status, 200)
  })

  it('lets a handshake go that does not come, and makes room among those that say nothing', async t => {
    const { at } = await open(t, { header_wait_s: 0.5 })
    const silent = await plain(at)
    const startMs = performance.now()
    await once(silent, 'close')
    ok(performance.now() - startMs < 5_000)

    const slow = await secure(at)
    slow.write('GET /files/film HTTP/1.1\r\nHost: loc')
    const [answer] = (await once(slow, 'data')) as [Buffer]
    match(answer.toString(), /^HTTP\/1\.1 408 /)
    await once(slow, 'close')

    const { at: small } = await open(t, { connections_max: 8 })
    const crowd = await Promise.all(Array.from({ length: 8 }, () => plain(small)))
    await wait(1_100)
    const refused = await plain(small)
    await once(refused, 'close')
    equal((await ask(small, '/healthz')).status, 200)
    for (const socket of crowd) socket.destroy()
  })

  it('cuts a receiver that takes nothing', async t => {
    const { at, files } = await open(t, { stall_s: 0.4 })
    files.put({ application: 'media', user: 'public', file: 'film' }, Buffer.alloc(64 * 1024 * 1024))
    const socket = await secure(at)
    socket.on('error', () => {})
    socket.pause()
    socket.write('GET /files/film HTTP/1.1\r\nHost: localhost\r\n\r\n')
    let left = 1
    for (let tried = 0; left > 0 && tried < 100; tried++) {
      await wait(100)
      const { text } = await ask(at, '/metrics')
      left = Number(/^tributary_gateway_connections_open (\d+)$/m.exec(text)?.[1]) - 1 // that asks
    }
    equal(left, 0)
    socket.destroy()
  })

  it('stops at once with idle connections and handshakes half done, and lets an answer end', async t => {
    const { at, files, gateway } = await open(t)
    files.put({ application: 'media', user: 'public', file: 'film' }, Buffer.alloc(32 * 1024 * 1024))
    const [silent, idle] = [await plain(at), await secure(at)]
    const outgoing = get({ ...at, path: '/files/film', ca: authority.text, agent: false })
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    const startMs = performance.now()
    const stopped = gateway.stop(AbortSignal.timeout(20_000))
    await Promise.all([once(silent, 'close'), once(idle, 'close')])
    let bytes = 0
    for await (const chunk of incoming) bytes += (chunk as Buffer).byteLength
    equal(bytes, 32 * 1024 * 1024)
    await stopped
    ok(performance.now() - startMs < 10_000)
  })

  it('takes another certificate while a download goes on, for new connections', async t => {
    const { at, files, gateway, logged } = await open(t)
    files.put({ application: 'media', user: 'public', file: 'film' }, Buffer.alloc(32 * 1024 * 1024))
    const outgoing = get({ ...at, path: '/files/film', ca: authority.text, agent: false })
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    incoming.pause()
    const pair = { certificate: second.path, private_key: second.keyPath }
    gateway.reload(loadConfig(gatewayConfig, { flags: { port: 0, ...pair } }))
    const socket = await secure(at)
    equal(socket.getPeerX509Certificate()?.serialNumber, second.serial)
    socket.destroy()
    const old = connectTls({ ...at, ca: authority.text, minVersion: 'TLSv1', maxVersion: 'TLSv1.1' })
    await once(old, 'error')
    let bytes = 0
    for await (const chunk of incoming) bytes += (chunk as Buffer).byteLength
    equal(bytes, 32 * 1024 * 1024)
    ok(incoming.complete)
    match(logged.join(''), new RegExp(`"serial":"${second.serial}"`))
  })

  it('serves one that has expired, with a warning', async t => {
    const expired = await authority.issue(-1)
    const { at, logged } = await open(t, { certificate: expired.path, private_key: expired.keyPath })
    match(logged.join(''), /"level":"warn"[^\n]*it expired on/)
    const socket = await secure(at, { rejectUnauthorized: false })
    equal(socket.getPeerX509Certificate()?.serialNumber, expired.serial)
    socket.destroy()
  })

  it('serves health and metrics alone on a port of their own, over HTTP', async t => {
    const probe = new HttpCaller({ host: '127.0.0.1', port: await freePort() })
    await open(t, { admin_port: probe.port })
    for (const path of ['/healthz', '/metrics']) equal((await probe.ask(path)).status, 200, path)
    match((await probe.ask('/readyz')).text, /"storage":\{"ok":false,"reason":"no storage server is active"/)
    equal((await probe.ask('/files/film')).status, 404)
  })

  describe('is not started', () => {
    const refuses = async (flags: Record<string, unknown>, key: string, expected: RegExp): Promise<void> => {
      const problems = problemsOf(flags)
      equal(problems.length, 1, JSON.stringify(problems))
      equal(problems[0]!.key, `gateway.${key}`)
      match(problems[0]!.expected, expected)
      ok(!/BEGIN|[A-Za-z0-9+/]{60}/.test(JSON.stringify(problems)))
    }

    it('with one of the two files only', async () => {
      await refuses({ certificate: first.path }, 'private_key', /both or neither/)
      await refuses({ private_key: first.keyPath }, 'certificate', /both or neither/)
    })

    it('with a file that cannot be read, or is no PEM', async () => {
      const none = join(authority.folder, 'none.pem')
      await refuses({ certificate: none, private_key: first.keyPath }, 'certificate', /can be read: ENOENT/)
      const noise = await file('noise.pem', 'no PEM at all')
      await refuses({ certificate: noise, private_key: first.keyPath }, 'certificate', /a PEM file/)
      await refuses({ certificate: first.path, private_key: noise }, 'private_key', /a PEM file/)
      const torn = await file('torn.pem', first.text.replace(/^M.*$/m, 'MAAA'))
      await refuses({ certificate: torn, private_key: first.keyPath }, 'certificate', /can be read/)
      const tornKey = await file('torn.key', first.key.replace(/^M.*$/m, 'MAAA'))
      await refuses({ certificate: first.path, private_key: tornKey }, 'private_key', /can be read/)
    })

    it('with a key of another certificate, a locked key, or a chain in the wrong order', async () => {
      await refuses({ certificate: first.path, private_key: second.keyPath }, 'private_key', /belongs to/)
      const locked = await file('locked.key', first.key.replaceAll('PRIVATE KEY', 'ENCRYPTED PRIVATE KEY'))
      await refuses({ certificate: first.path, private_key: locked }, 'private_key', /without a passphrase/)
      const reversed = await file('reversed.pem', authority.text + first.text)
      const key = { certificate: reversed, private_key: first.keyPath }
      await refuses(key, 'certificate', /the server's own certificate first/)
    })
  })

  it('warns of its end 14 days before, and of one of a short life later', () => {
    const config = loadConfig(gatewayConfig, {
      flags: { certificate: first.path, private_key: first.keyPath }
    })
    const at = (days: number): string | undefined =>
      reportCertificate(config.certificate!, Date.now() + days * DAY_MS).warning
    equal(at(75), undefined)
    match(at(77)!, /it expires on/)
    match(at(91)!, /it expired on/)
    match(at(-1)!, /not valid before/)
    equal(JSON.stringify(config.privateKey), JSON.stringify(first.keyPath))
    throws(() => loadConfig(gatewayConfig, { flags: { admin_port: 1, admin_host: '0.0.0.0' } }), ConfigError)
  })
})
