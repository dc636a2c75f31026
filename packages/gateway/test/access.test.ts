import { describe, it, type TestContext } from 'node:test'
import { equal, match, ok, throws } from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { ConfigError, loadConfig } from '@tributary/runtime'
import { gatewayConfig } from '../src/index.ts'
import { HttpCaller } from './support/http-caller.ts'
import { memoryGateway } from './support/memory-gateway.ts'

const put = (headers: Record<string, string> = {}) => ({ method: 'PUT', body: 'x', headers })

describe('writing on the machine itself', () => {
  it('is open to programs', async t => {
    const { http } = await memoryGateway(t)
    for (const [index, host] of [
      '127.0.0.1',
      `localhost:${http.port}`,
      'LOCALHOST',
      '[::1]:8080',
      'films.localhost'
    ].entries()) {
      equal((await http.ask(`/files/${index}`, put({ host }))).status, 201)
    }
  })

  it('is open to pages of this server', async t => {
    const { http } = await memoryGateway(t)
    const host = `localhost:${http.port}`
    const page = { host, origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }
    equal((await http.ask('/files/a', put(page))).status, 201)
    equal((await http.ask('/files/a', { method: 'DELETE', headers: page })).status, 204)
    equal((await http.ask('/files/media/public', { method: 'POST', headers: page })).status, 201)
  })

  const foreign: [string, Record<string, string>][] = [
    ['another site', { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }],
    ['another site, by Origin alone', { origin: 'https://evil.example' }],
    ['another site, by Sec-Fetch-Site alone', { 'sec-fetch-site': 'cross-site' }],
    ['another port', { origin: 'http://127.0.0.1:1', 'sec-fetch-site': 'same-site' }],
    ['a sandbox', { origin: 'null' }],
    [
      'a name made to point here',
      { host: 'evil.example', origin: 'http://evil.example', 'sec-fetch-site': 'same-origin' }
    ],
    ['a name that looks like ours', { host: 'localhost.evil.example' }],
    ['an address elsewhere', { host: '192.0.2.1' }]
  ]
  for (const [who, headers] of foreign) {
    it(`is closed to ${who}`, async t => {
      const { http, files } = await memoryGateway(t)
      files.put({ application: 'media', user: 'public', file: 'here' }, 'x')
      for (const [path, method] of [
        ['/files/new', 'PUT'],
        ['/files/here', 'DELETE'],
        ['/files/media/public', 'POST']
      ] as const) {
        const { status, json } = await http.ask(path, { method, headers })
        equal(status, 403)
        equal(json.code, 'ACCESS_DENIED')
      }
      equal(files.stored.size, 1)
    })
  }

  it('needs a name', async t => {
    const { http, files } = await memoryGateway(t)
    for (const head of ['HTTP/1.0', 'HTTP/1.1\r\nHost:\r\nConnection: close']) {
      match(await http.raw(`PUT /files/x ${head}\r\nContent-Length: 0\r\n\r\n`), /^HTTP\/1\.1 403 /)
    }
    equal(files.stored.size, 0)
  })

  it('lets names be added', async t => {
    const { http } = await memoryGateway(t, { names: 'films.lan' })
    equal((await http.ask('/files/a', put({ host: 'Films.lan:8080' }))).status, 201)
    equal((await http.ask('/files/b', put({ host: 'x:1', origin: 'https://films.lan' }))).status, 403)
  })

  it('does not tell a rebound name what there is', async t => {
    const { http } = await memoryGateway(t)
    equal((await http.ask('/files/media/public', { headers: { host: 'evil.example' } })).status, 403)
    equal((await http.ask('/files/media/public')).status, 200)
  })
})

describe('writing with a token', () => {
  const writeToken = 'a-token-of-some-length'
  it('needs it, from everybody', async t => {
    const { http } = await memoryGateway(t, {})
    equal((await http.ask('/about.json')).json.writeToken, false)
    const { http: guarded, files } = await guardedGateway(t, writeToken)
    equal((await guarded.ask('/about.json')).json.writeToken, true)
    for (const authorization of [
      '',
      'Bearer wrong',
      `Basic ${writeToken}`,
      `Bearer ${writeToken}x`,
      'Bearer'
    ]) {
      const { status, headers, text } = await guarded.ask(
        '/files/a',
        put(authorization ? { authorization } : {})
      )
      equal(status, 401)
      match(String(headers['www-authenticate']), /^Bearer/)
      ok(!text.includes(writeToken))
    }
    equal(files.stored.size, 0)
    const authorization = `bearer ${writeToken}`
    equal((await guarded.ask('/files/a', put({ authorization, host: 'films.example' }))).status, 201)
    equal((await guarded.ask('/files/a')).text, 'x')
    const foreign = { authorization, origin: 'https://evil.example' }
    equal((await guarded.ask('/files/b', put(foreign))).status, 403)
  })
})

describe('listening beyond this machine', () => {
  const load = (flags: Record<string, unknown>) => loadConfig(gatewayConfig, { flags })

  it('is refused without an allow list and a token, in a sentence that names both', () => {
    for (const host of ['0.0.0.0', '::', '192.0.2.1', 'films.example']) {
      throws(
        () => load({ host }),
        (error: Error) =>
          error instanceof ConfigError && /allow/.test(error.message) && /write_token/.test(error.message)
      )
      throws(() => load({ host, allow: 'private' }), /write_token/)
    }
    load({ host: '0.0.0.0', insecure: true })
    for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) load({ host })
    throws(() => load({ allow: 'everybody' }), /network/)
  })

  it('keeps out who is not in the list, and this machine never', async t => {
    const own = Object.values(networkInterfaces())
      .flat()
      .find(address => address && !address.internal && address.family === 'IPv4')
    const { http: bound } = await guardedGateway(t, 'a-token', { host: '0.0.0.0', allow: '198.51.100.0/24' })
    const http = new HttpCaller({ host: '127.0.0.1', port: bound.port })
    equal((await http.ask('/healthz')).status, 200)
    if (!own) return t.diagnostic('this machine has no address but loopback')
    const fromOutside = new HttpCaller({ host: own.address, port: http.port })
    await fromOutside.ask('/healthz').then(
      () => ok(false, 'was let in'),
      error => ok(['ECONNRESET', 'EPIPE'].includes(error.code), String(error))
    )
  })
})

/** A gateway with a write token, which comes out of a file as it does in production. */
async function guardedGateway(t: TestContext, token: string, flags: Record<string, unknown> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-gateway-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'token'), `${token}\n`, { mode: 0o600 })
  return memoryGateway(t, { ...flags, writeTokenFile: join(folder, 'token') })
}
