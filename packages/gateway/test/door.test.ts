/** Access over a whole cluster and two gateways: what one of them is told, the other one knows. */
import { after, before, describe, it } from 'node:test'
import { deepEqual, equal, match, notEqual, ok } from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { Client } from '@tributary/client'
import { derivedKey } from '@tributary/protocol'
import { startCluster, type Cluster } from './support/cluster.ts'
import type { Answer, Ask, HttpCaller } from './support/http-caller.ts'

const WRITE_TOKEN = 'the-write-token'
const DEAD_WITHIN_MS = 5_000
/** A client remembers for less than this where a film is. */
const LOCATED_MS = 5_200

describe('the door of a cluster with two gateways', { timeout: 120_000 }, () => {
  let cluster: Cluster
  let one: HttpCaller
  let other: HttpCaller

  before(async () => {
    // Any gateway may deliver a webhook: all are told where those may go.
    cluster = await startCluster({ gateway: { webhookNetworks: 'loopback' } })
    const flags = { proxies: 'loopback', webhookNetworks: 'loopback' }
    const env = { TRIBUTARY_GATEWAY_WRITE_TOKEN: WRITE_TOKEN }
    one = await cluster.openGateway(flags, env)
    other = await cluster.openGateway(flags, env)
    equal((await put('/files/media/public/film', 'a film')).status, 201)
    equal((await put('/files/media/public/second', 'another')).status, 201)
    equal((await put('/files/media/alice/hers', 'of alice')).status, 201)
  })
  after(() => cluster?.stop())

  const as = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` })
  const put = (path: string, body: string, headers = as(WRITE_TOKEN)) =>
    one.ask(path, { method: 'PUT', body, headers })
  const api = (path: string, ask: Omit<Ask, 'body'> & { json?: unknown; to?: HttpCaller } = {}) => {
    const { json, to = one, ...rest } = ask
    const content = json === undefined ? {} : { 'content-type': 'application/json' }
    return to.ask(`/api/v1${path}`, {
      ...rest,
      ...(json !== undefined && { body: JSON.stringify(json) }),
      headers: { ...as(WRITE_TOKEN), ...content, ...rest.headers }
    })
  }
  const makeToken = async (grants: object[], more = {}): Promise<{ id: string; secret: string }> => {
    const made = await api('/tokens', { method: 'POST', json: { name: 'a token', grants, ...more } })
    equal(made.status, 201, made.text)
    return { id: made.json.token.id, secret: made.json.secret }
  }
  const setReads = async (reads: string, quotas = {}): Promise<void> => {
    const set = await api('/applications/media', { method: 'PATCH', json: { reads, ...quotas } })
    equal(set.status, 200, set.text)
    await until(async () => {
      const { status } = await other.ask('/files/media/public/film')
      return status === (reads === 'open' ? 200 : 401)
    })
  }

  describe('a token', () => {
    it('made at one gateway works at the other at once', async () => {
      const { secret } = await makeToken([{ application: 'media', rights: ['write'] }])
      const stored = await other.ask('/files/media/public/by-token', {
        method: 'PUT',
        body: 'x',
        headers: as(secret)
      })
      equal(stored.status, 201)
    })

    it('is dead at both within 5 s of being revoked', async () => {
      const { id, secret } = await makeToken([{ application: '*', rights: ['admin'] }])
      for (const gateway of [one, other]) {
        equal((await api('/tokens', { to: gateway, headers: as(secret) })).status, 200)
      }
      const revokedMs = performance.now()
      equal((await api(`/tokens/${id}`, { method: 'DELETE' })).status, 204)
      equal((await api('/tokens', { headers: as(secret) })).status, 401)
      await until(async () => (await api('/tokens', { to: other, headers: as(secret) })).status === 401)
      ok(performance.now() - revokedMs < DEAD_WITHIN_MS, 'in time')
    })

    it('that is revoked is dead for what goes on, too', async () => {
      await setReads('token')
      const { id, secret } = await makeToken([{ application: '*', rights: ['read'] }])
      const controller = new AbortController()
      const events = await fetch(`${other.url}/api/v1/cluster/events`, {
        headers: as(secret),
        signal: controller.signal
      })
      equal(events.status, 200)
      const ended = (async () => {
        for await (const chunk of events.body!) void chunk
      })().catch(() => {})
      equal((await api(`/tokens/${id}`, { method: 'DELETE' })).status, 204)
      const isLate = wait(DEAD_WITHIN_MS + 2_000).then(() => 'late')
      equal(await Promise.race([ended, isLate]), undefined)
      controller.abort()
      await setReads('open')
    })

    it('can do what its grants say, and nothing else', async () => {
      const { secret: reader } = await makeToken([{ application: 'media', rights: ['read'] }])
      const { secret: alice } = await makeToken([{ application: 'media', user: 'alice', rights: ['write'] }])
      const { secret: elsewhere } = await makeToken([{ application: 'other', rights: ['admin'] }])
      const write = async (path: string, token: string) => (await put(path, 'x', as(token))).status
      equal(await write('/files/media/public/x', reader), 403)
      equal(await write('/files/media/alice/x', alice), 201)
      equal(await write('/files/media/public/x', alice), 403)
      equal(await write('/files/media/public/x', elsewhere), 403)
      for (const token of [reader, alice, elsewhere]) {
        equal((await api('/tokens', { headers: as(token) })).status, 403)
        equal((await api('/audit', { headers: as(token) })).status, 403)
        equal(
          (await api('/applications/media', { method: 'PATCH', json: {}, headers: as(token) })).status,
          403
        )
      }
    })

    it('ends when it expires, and its secret is told once', async () => {
      const { id, secret } = await makeToken([{ application: '*', rights: ['read'] }], { expiresInS: 3_600 })
      const { json, text } = await api('/tokens')
      const listed = json.tokens.find((token: { id: string }) => token.id === id)
      ok(Date.parse(listed.expiresAt) > Date.now())
      ok(!text.includes(secret))
    })

    it('is refused in every other spelling', async () => {
      const { secret } = await makeToken([{ application: '*', rights: ['admin'] }])
      for (const wrong of [
        `${secret}x`,
        secret.slice(0, -1),
        secret.toUpperCase(),
        `trb_${'A'.repeat(43)}`,
        'trb_',
        `trs_${secret.slice(4)}`,
        'x'.repeat(500),
        'x'.repeat(2_000)
      ]) {
        equal((await api('/tokens', { headers: as(wrong) })).status, 401, wrong.slice(0, 60))
      }
      for (const authorization of [
        'Bearer',
        'Bearer ',
        `Basic ${secret}`,
        `Bearer ${secret} ${secret}`,
        '\x7f'
      ]) {
        notEqual(
          (await api('/tokens', { headers: { authorization } }).catch(() => ({ status: 0 }))).status,
          200
        )
      }
    })
  })

  describe('a session', () => {
    const login = async (token: string): Promise<{ cookie: string; answer: Answer }> => {
      const answer = await api('/session', {
        method: 'POST',
        json: { token },
        headers: { authorization: '' }
      })
      const [cookie = ''] = answer.headers['set-cookie'] ?? []
      return { cookie, answer }
    }
    const page = (gateway: HttpCaller): Record<string, string> => ({
      origin: gateway.url,
      'sec-fetch-site': 'same-origin'
    })
    const withCookie = (cookie: string, more = {}) => ({
      authorization: '',
      cookie: cookie.split(';')[0]!,
      ...more
    })

    it('is opened with a token, in a cookie that scripts and other sites do not have', async () => {
      const { secret } = await makeToken([{ application: '*', rights: ['admin'] }])
      const { cookie, answer } = await login(secret)
      equal(answer.status, 201)
      match(cookie, /^tributary_session=trs_[\w-]{43}; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Strict$/)
      ok(!cookie.includes(secret))
      for (const gateway of [one, other]) {
        const { json } = await api('/session', { to: gateway, headers: withCookie(cookie) })
        equal(json.kind, 'token')
        const made = await api('/keys', {
          method: 'POST',
          to: gateway,
          headers: withCookie(cookie, page(gateway))
        })
        equal(made.status, 201, made.text)
      }
    })

    it('is marked to go over TLS alone where the browser uses that', async () => {
      const { secret } = await makeToken([{ application: '*', rights: ['read'] }])
      const { headers } = await api('/session', {
        method: 'POST',
        json: { token: secret },
        headers: { authorization: '', 'x-forwarded-proto': 'https' }
      })
      match(headers['set-cookie']![0]!, /; Secure$/)
    })

    it('changes nothing for a page of another site, nor for a request that no page of ours made', async () => {
      const { secret } = await makeToken([{ application: '*', rights: ['admin'] }])
      const { cookie } = await login(secret)
      for (const headers of [
        {},
        { 'sec-fetch-site': 'none' },
        { 'sec-fetch-site': 'same-site' },
        { 'sec-fetch-site': 'cross-site' },
        { origin: 'null' },
        { origin: 'https://evil.example' },
        { origin: 'https://evil.example', 'sec-fetch-site': 'same-origin' }
      ]) {
        const { status } = await api('/keys', { method: 'POST', headers: withCookie(cookie, headers) })
        equal(status, 403, JSON.stringify(headers))
      }
      const logged = await api('/session', {
        method: 'POST',
        json: { token: secret },
        headers: { authorization: '', origin: 'https://evil.example' }
      })
      equal(logged.status, 403, 'nor does another site log anybody in')
    })

    it('ends at both gateways with log-out', async () => {
      const { secret } = await makeToken([{ application: '*', rights: ['read'] }])
      const { cookie } = await login(secret)
      const kind = async (to: HttpCaller) =>
        (await api('/session', { to, headers: withCookie(cookie) })).json.kind
      equal(await kind(other), 'token')
      const out = await api('/session', { method: 'DELETE', headers: withCookie(cookie, page(one)) })
      equal(out.status, 204)
      match(out.headers['set-cookie']![0]!, /^tributary_session=; .*Max-Age=0/)
      equal(await kind(one), 'anonymous')
      await until(async () => (await kind(other)) === 'anonymous')
    })

    it('ends with its token', async () => {
      const { id, secret } = await makeToken([{ application: '*', rights: ['read'] }])
      const { cookie } = await login(secret)
      await api(`/tokens/${id}`, { method: 'DELETE' })
      equal((await api('/session', { headers: withCookie(cookie) })).json.kind, 'anonymous')
    })

    it('is also opened with the write token of the configuration', async () => {
      const { cookie, answer } = await login(WRITE_TOKEN)
      deepEqual(answer.json.grants, [{ application: '*', rights: ['admin'] }])
      equal((await api('/tokens', { to: other, headers: withCookie(cookie) })).status, 200)
    })

    it('cannot be guessed at: an address may try a few times, and waits then', async () => {
      const headers = { authorization: '', 'x-forwarded-for': '198.51.100.7' }
      const statuses: number[] = []
      let last: Answer | undefined
      for (let tries = 0; tries < 14; tries++) {
        last = await api('/session', { method: 'POST', json: { token: `guess${tries}` }, headers })
        statuses.push(last.status)
      }
      deepEqual(
        statuses.slice(0, 10),
        Array.from({ length: 10 }, () => 401)
      )
      equal(last!.status, 429)
      ok(Number(last!.headers['retry-after']) > 0)
      const elsewhere = await api('/session', {
        method: 'POST',
        json: { token: 'guess' },
        headers: { authorization: '', 'x-forwarded-for': '198.51.100.8' }
      })
      equal(elsewhere.status, 401)
    })
  })

  describe('a film of an application that is not open', () => {
    const FILM = '/files/media/public/film'
    const sign = async (json: object, film = 'film') =>
      (await api(`/films/media/public/${film}/signature`, { method: 'POST', json })).json
    before(() => setReads('signed'))
    after(() => setReads('open'))

    it('is read by nobody without a token, a signature or a share', async () => {
      for (const path of [
        FILM,
        '/hls/media/public/film/master.m3u8',
        '/hls/media/public/film/x/1.m4s',
        '/dash/media/public/film/manifest.mpd',
        '/poster/media/public/film',
        '/thumbnails/media/public/film/x/thumbnails.vtt',
        '/subtitles/media/public/film/x/en.vtt',
        '/files/media/public',
        '/api/v1/films?application=media',
        '/api/v1/films/media/public/film'
      ]) {
        for (const method of ['GET', 'HEAD']) {
          if (path.startsWith('/api') && method === 'HEAD') continue
          equal((await one.ask(path, { method })).status, 401, `${method} ${path}`)
        }
      }
    })

    it('is read with a token, and no shared cache keeps it', async () => {
      const { secret } = await makeToken([{ application: 'media', rights: ['read'] }])
      const { status, headers, text } = await other.ask(FILM, { headers: as(secret) })
      equal(status, 200)
      equal(text, 'a film')
      match(headers['cache-control']!, /^private/)
      equal((await other.ask('/files/media/public', { headers: as(secret) })).status, 200)
    })

    it('tells its rules to whoever has a token for it, and no others', async () => {
      const { secret } = await makeToken([{ application: 'media', rights: ['read'] }])
      const rules = (path: string, headers = as(secret)) => api(`/applications${path}`, { headers })
      const { status, json } = await rules('?application=media')
      equal(status, 200)
      deepEqual(
        json.applications.map((one: { application: string; reads: string }) => [one.application, one.reads]),
        [['media', 'signed']]
      )
      equal((await rules('')).status, 403)
      const { secret: alice } = await makeToken([{ application: 'media', user: 'alice', rights: ['admin'] }])
      equal((await rules('?application=media', as(alice))).status, 403)
      equal((await rules('?application=media', { authorization: '' })).status, 401)
    })

    it('plays under one signature, and no other film does', async () => {
      const links = await sign({ expiresInS: 60 })
      const signature = new URL(links.file, one.url).searchParams.get('signature')!
      for (const gateway of [one, other]) {
        const { status, text, headers } = await gateway.ask(links.file)
        equal(status, 200, text)
        match(headers['cache-control']!, /^private/)
        equal((await gateway.ask(`/signed/${signature}${FILM}`)).text, 'a film')
        equal((await gateway.ask(links.file, { method: 'HEAD' })).status, 200)
        equal((await gateway.ask(links.file, { headers: { range: 'bytes=2-3' } })).text, 'fi')
        for (const path of ['/files/media/public/second', '/files/media/alice/hers']) {
          equal((await gateway.ask(`${path}?signature=${signature}`)).status, 403)
          equal((await gateway.ask(`/signed/${signature}${path}`)).status, 403)
        }
        for (const tree of ['poster', 'thumbnails', 'subtitles', 'hls', 'dash']) {
          const { status: reached } = await gateway.ask(`/signed/${signature}/${tree}/media/public/film/none`)
          ok(![401, 403].includes(reached), `${tree}: ${reached}`)
        }
        // It is to read with, and nothing else.
        equal((await gateway.ask(links.file, { method: 'DELETE' })).status, 401)
        equal((await gateway.ask(`/signed/${signature}/api/v1/tokens`)).status, 401)
        equal((await gateway.ask(`/signed/${signature}/files/media/public`)).status, 401)
      }
      equal(links.hls, `/signed/${signature}/hls/media/public/film/master.m3u8`)
      // A page that has the signature gets addresses that have it, too.
      const details = await one.ask(`/signed/${signature}/api/v1/films/media/public/film`)
      equal(details.status, 200)
      equal((await other.ask(details.json.film.links.file)).text, 'a film')
      equal((await one.ask(`/signed/${signature}/api/v1/films/media/public/second`)).status, 403)
      equal((await one.ask(`/signed/${signature}/api/v1/films?application=media`)).status, 401)
    })

    it('is led from a signed playlist to where its relative addresses are signed, too', async () => {
      const links = await sign({ expiresInS: 60 })
      const signature = new URL(links.file, one.url).searchParams.get('signature')!
      const { status, headers } = await one.ask(`/hls/media/public/film/master.m3u8?signature=${signature}`)
      equal(status, 307)
      equal(headers.location, links.hls)
    })

    it('does not play with one flipped bit anywhere in the signature', async () => {
      const links = await sign({ expiresInS: 60 })
      const signature = new URL(links.file, one.url).searchParams.get('signature')!
      for (let at = 0; at < signature.length; at += 3) {
        const flipped = Buffer.from(signature)
        flipped[at]! ^= 1 << (at % 7)
        const { status } = await one.ask(
          `${FILM}?signature=${encodeURIComponent(flipped.toString('latin1'))}`
        )
        ok(status === 401 || status === 403, `${at}: ${status}`)
      }
    })

    it('does not play under another spelling of its address, which the router would take', async () => {
      for (const target of [
        'http://x/poster/media/public/film',
        'http://xmedia/poster/film',
        'https://xyz/files/media/public/film',
        '/%68ls/media/public/film/master.m3u8',
        '/%70oster/media/public/film',
        '/subtitle%73/media/public/film/x/en.vtt',
        '//poster/media/public/film'
      ]) {
        const answer = await one.raw(
          `GET ${target} HTTP/1.1\r\nHost: ${one.host}\r\nConnection: close\r\n\r\n`
        )
        match(answer, /^HTTP\/1\.1 (401|403|404) /, target)
      }
      const hash = await one.raw(
        `GET /api/v1/films/media/public/film#x HTTP/1.1\r\nHost: ${one.host}\r\nConnection: close\r\n\r\n`
      )
      match(hash, /^HTTP\/1\.1 400 /)
    })

    it('does not play when the signature has expired, from another network, or after its key was removed', async () => {
      const short = await sign({ expiresInS: 3 })
      const expired = wait(3_100)
      equal((await one.ask(short.file)).status, 200)
      const near = await sign({ expiresInS: 60, network: '198.51.100.0/24' })
      equal((await one.ask(near.file)).status, 403)
      equal((await one.ask(near.file, { headers: { 'x-forwarded-for': '198.51.100.9' } })).status, 200)
      const spoofed = { 'x-forwarded-for': '198.51.100.9, 203.0.113.5' }
      equal((await one.ask(near.file, { headers: spoofed })).status, 403)
      const long = await sign({ expiresInS: 60 })
      const { json } = await api('/keys')
      equal((await api('/keys', { method: 'POST' })).status, 201)
      equal((await one.ask(long.file)).status, 200, 'an old key is believed')
      for (const { id, active } of json.keys) {
        equal((await api(`/keys/${id}`, { method: 'DELETE' })).status, 204, String(active))
      }
      equal((await one.ask(long.file)).status, 403)
      equal((await one.ask((await sign({ expiresInS: 60 })).file)).status, 200, 'the new one signs')
      await expired
      equal((await one.ask(short.file)).status, 403)
    })

    it('is opened by a share link, with its password where it has one', async () => {
      const make = async (json: object) =>
        (await api('/films/media/public/film/shares', { method: 'POST', json })).json
      const open = async (id: string, json: object, headers = {}) =>
        other.ask(`/api/v1/shares/${id}/open`, {
          method: 'POST',
          body: JSON.stringify(json),
          headers: { 'content-type': 'application/json', ...headers }
        })
      const plain = await make({ expiresInS: 3_600 })
      equal(plain.url, `/watch/media/public/film?share=${plain.id}`)
      const opened = (await open(plain.id, {})).json
      equal(opened.needsPassword, false)
      equal((await other.ask(opened.links.file)).text, 'a film')

      const locked = await make({ password: 'naïve café' })
      const closed = (await open(locked.id, {})).json
      deepEqual(closed, { needsPassword: true, title: null, links: null })
      equal((await open(locked.id, { password: 'naive cafe' })).status, 403)
      const unlocked = await open(locked.id, { password: 'nai\u0308ve cafe\u0301' })
      equal(unlocked.status, 200, unlocked.text)
      equal((await one.ask(unlocked.json.links.file)).text, 'a film')
      const from = { 'x-forwarded-for': '198.51.100.20' }
      const tries = await Promise.all(
        Array.from({ length: 13 }, (_, index) => open(locked.id, { password: `${index}` }, from))
      )
      ok(tries.some(({ status }) => status === 429))

      equal((await api(`/shares/${plain.id}`, { method: 'DELETE' })).status, 204)
      const revokedMs = performance.now()
      for (const gateway of [one, other]) {
        await until(async () => (await gateway.ask(opened.links.file)).status === 403)
      }
      ok(performance.now() - revokedMs < DEAD_WITHIN_MS, 'in time')
      equal((await open(plain.id, {})).status, 404)
      equal((await open('nosuchshare12345', {})).status, 404)
      const { json } = await api('/films/media/public/film/shares')
      deepEqual(
        json.shares.map(({ id }: { id: string }) => id),
        [locked.id]
      )
    })

    it('has a card and an oEmbed for whoever was let in, whose addresses let others in by the same', async () => {
      const client = new Client({ trackers: [cluster.tracker] })
      const film = { application: 'media', user: 'public', file: 'film' }
      const { generation } = (await api('/films/media/public/film')).json.film
      await client.upload(Buffer.from('a picture'), {
        key: derivedKey(film, generation, 'poster.jpg'),
        beside: film,
        name: film.file,
        mediaType: 'image/jpeg'
      })
      client.close()
      const page = '/watch/media/public/film'
      const oEmbed = (path: string, headers = {}, to = other) =>
        to.ask(`/oembed?${new URLSearchParams({ url: to.url + path })}`, { headers })
      const { signature, network } = await (async () => {
        const signatureOf = async (json: object) =>
          new URL((await sign(json)).file, one.url).searchParams.get('signature')!
        return {
          signature: await signatureOf({ expiresInS: 60 }),
          network: await signatureOf({ expiresInS: 60, network: '198.51.100.0/24' })
        }
      })()
      const make = async (json: object) =>
        (await api('/films/media/public/film/shares', { method: 'POST', json })).json.id as string
      const [share, locked] = [await make({ expiresInS: 3_600 }), await make({ password: 'a password' })]
      const near = { 'x-forwarded-for': '198.51.100.7' }

      const works = async (query: string, headers = {}): Promise<void> => {
        const answer = await oEmbed(`${page}?${query}`, headers)
        equal(answer.status, 200, answer.text)
        match(answer.headers['cache-control']!, /private/)
        const { html, thumbnail_url: thumbnail } = answer.json
        ok(html.includes(`src="${other.url}/embed/media/public/film?${query}"`), html)
        const picture = await other.ask(new URL(thumbnail).pathname, { headers })
        equal(picture.text, 'a picture')
        const { text, headers: of } = await other.ask(`${page}?${query}`, { headers })
        match(of['cache-control']!, /private/)
        ok(text.includes(`content="${other.url}/embed/media/public/film?${query}"`), text)
        ok(text.includes(`<link rel="canonical" href="${other.url}${page}?${query}" />`), text)
        const [, image] = /og:image" content="([^"]+)"/.exec(text)!
        equal((await other.ask(new URL(image!).pathname, { headers })).text, 'a picture')
        const [, link] = /json\+oembed" href="([^"]+)"/.exec(text)!
        const { pathname, search } = new URL(link!.replaceAll('&amp;', '&'))
        deepEqual((await other.ask(pathname + search, { headers })).json, answer.json)
      }
      await works(`signature=${signature}`)
      await works(`signature=${network}`, near)
      await works(`share=${share}`)
      equal((await oEmbed(`/signed/${signature}${page}`)).status, 200)

      const nothing = async (path: string, status: number, headers = {}): Promise<void> => {
        equal((await oEmbed(path, headers)).status, status, path)
        const { text } = await other.ask(path, { headers })
        ok(!text.includes('og:') && !text.includes('oembed'), path)
      }
      await nothing(page, 401)
      await nothing(`${page}?signature=${network}`, 403)
      await nothing(`${page}?signature=${signature.slice(0, -1)}`, 403)
      await nothing(`/watch/media/public/second?signature=${signature}`, 403)
      await nothing(`/watch/media/public/second?share=${share}`, 401)
      await nothing(`${page}?share=${locked}`, 401)
      await nothing(`${page}?share=nosuchshare12345`, 401)
      await nothing(`${page}?share=${'x'.repeat(3_000)}`, 401)

      const { secret } = await makeToken([{ application: 'media', rights: ['read'] }])
      const own = await oEmbed(page, as(secret))
      equal(own.status, 200)
      ok(!/signature|share/.test(own.text), 'a token is not lent')
      equal((await api(`/shares/${share}`, { method: 'DELETE' })).status, 204)
      equal((await api(`/shares/${locked}`, { method: 'DELETE' })).status, 204)
      await until(async () => (await oEmbed(`${page}?share=${share}`)).status === 401)
    })

    it('takes neither signature nor share where a token is demanded', async () => {
      const links = await sign({ expiresInS: 60 })
      await setReads('token')
      equal((await one.ask(links.file)).status, 401)
      const { search } = new URL(links.file, one.url)
      const url = `${one.url}/watch/media/public/film${search}`
      equal((await one.ask(`/oembed?${new URLSearchParams({ url })}`)).status, 401)
      await setReads('signed')
      equal((await one.ask(links.file)).status, 200)
    })
  })

  describe('a film in the trash', () => {
    it('shows nothing of itself to readers, at any gateway, until it is taken out', async () => {
      const client = new Client({ trackers: [cluster.tracker] })
      const film = { application: 'media', user: 'fritz', file: 'm.mp4' }
      const place = '/media/fritz/m.mp4'
      equal((await put(`/files${place}`, 'M')).status, 201)
      const { generation } = (await api(`/films${place}`)).json.film
      const derive = (what: string, mediaType: string, text: string) =>
        client.upload(Buffer.from(text), {
          key: derivedKey(film, generation, what),
          beside: film,
          name: film.file,
          mediaType
        })
      await derive('poster.jpg', 'image/jpeg', 'a picture')
      await derive('thumbnails.vtt', 'text/vtt', 'WEBVTT')
      await derive('thumbnails.jpg', 'image/jpeg', 'pictures')
      await derive('subtitles-de.vtt', 'text/vtt', 'WEBVTT')
      client.close()
      const shown = [
        `/files${place}`,
        `/poster${place}`,
        `/poster${place}?v=${generation.slice(0, 8)}`,
        `/thumbnails${place}/${generation}/thumbnails.vtt`,
        `/thumbnails${place}/${generation}/thumbnails.jpg`,
        `/subtitles${place}/${generation}/de.vtt`,
        `/api/v1/films${place}`,
        `/oembed?url=${encodeURIComponent(`http://localhost/watch${place}`)}`
      ]
      const { secret: reader } = await makeToken([{ application: '*', rights: ['read'] }])
      const { secret: writer } = await makeToken([{ application: 'media', rights: ['write'] }])
      const statuses = async (to: HttpCaller, headers: Record<string, string>) => {
        const answers = await Promise.all(
          shown.map(path => to.ask(path, { headers: { host: 'localhost', ...headers } }))
        )
        return answers.map(({ status }) => status)
      }
      const card = async (to: HttpCaller) => (await to.ask(`/watch${place}`)).text.includes('og:title')
      const everywhere = async (status: number): Promise<void> => {
        for (const to of [one, other]) {
          for (const headers of [{}, as(reader)])
            deepEqual(
              await statuses(to, headers),
              Array.from(shown, () => status)
            )
          equal(await card(to), status === 200)
          for (const path of [`/hls${place}/master.m3u8`, `/dash${place}/manifest.mpd`])
            equal((await to.ask(path)).status, status === 200 ? 415 : status, path)
        }
      }
      await everywhere(200)
      const share = await api(`/films${place}/shares`, { method: 'POST', json: {} })
      equal(share.status, 201, share.text)
      const opened = (to: HttpCaller) =>
        to.ask(`/api/v1/shares/${share.json.id}/open`, {
          method: 'POST',
          body: '{}',
          headers: { 'content-type': 'application/json' }
        })
      equal((await opened(other)).json.title, 'm')
      equal((await api(`/films${place}`, { method: 'DELETE' })).status, 204)
      await everywhere(404)
      equal((await opened(other)).json.title, null)
      equal((await other.ask(`/poster${place}`, { headers: as(writer) })).status, 200)
      equal((await api(`/films${place}`, { to: other, headers: as(writer) })).status, 200)
      equal((await api(`/films${place}/restore`, { method: 'POST' })).status, 200)
      await everywhere(200)
    })
  })

  describe('while no tracker answers', () => {
    it('lets those read whom it knows, and lets nobody write for long', async () => {
      await setReads('token')
      const { secret } = await makeToken([{ application: 'media', rights: ['write'] }])
      // Where the film is was asked some seconds ago at most: it is asked anew, so that it is known for some seconds more.
      await wait(LOCATED_MS)
      equal((await other.ask('/files/media/public/film', { headers: as(secret) })).status, 200)
      await cluster.stopTracker()
      const read = await other.ask('/files/media/public/film', { headers: as(secret) })
      equal(read.status, 200, read.text)
      equal((await other.ask('/files/media/public/film')).status, 401)
      await wait(5_500)
      const write = await other.ask('/files/media/public/film', { method: 'DELETE', headers: as(secret) })
      equal(write.status, 503, write.text)
      equal(write.headers['retry-after'], '2')
      match(write.json.detail, /no tracker answers/)
      // Where the film is, only a tracker knows by now; who asks is known still.
      const asked = await api('/session', { to: other, headers: as(secret) })
      equal(asked.json.kind, 'token')
      const unknown = { headers: as(`trb_${'A'.repeat(43)}`) }
      equal((await other.ask('/files/media/public/film', unknown)).status, 401)
      await cluster.startTracker()
      await until(async () => (await api('/session', { to: other, headers: as(secret) })).status === 200)
      await setReads('open')
    })
  })

  describe('quotas and limits', () => {
    it('refuse what has no room, before its content is read', async () => {
      const big = Buffer.alloc(200)
      const ask = (path: string, sizeBytes: number) =>
        one.raw(
          `PUT ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${WRITE_TOKEN}\r\n` +
            `Content-Length: ${sizeBytes}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`
        )
      const usage = (await api('/usage?application=media')).json
      await setReads('open', { bytesMax: usage.bytes + 300, userFilesMax: null })
      match(await ask('/files/media/public/huge', usage.bytes + 301), /^HTTP\/1\.1 413 /)
      match(await ask('/files/media/public/big', 301), /^HTTP\/1\.1 507 /)
      equal((await put('/files/media/public/fits', String(big))).status, 201)
      const full = await put('/files/media/public/no-more', String(big))
      equal(full.status, 507)
      equal(full.json.code, 'QUOTA_EXCEEDED')
      const chunked = await one.ask('/files/media/public/chunked', {
        method: 'PUT',
        body: String(big),
        headers: { ...as(WRITE_TOKEN), 'transfer-encoding': 'chunked' }
      })
      equal(chunked.status, 507)
      await setReads('open', { bytesMax: null, userFilesMax: 1 })
      equal((await put('/files/media/bob/1', 'x')).status, 201)
      equal((await put('/files/media/bob/2', 'x')).status, 507)
      await setReads('open', { userFilesMax: null })
      equal((await put('/files/media/bob/2', 'x')).status, 201)
    })

    it('hold what a film is given, too', async () => {
      equal((await put('/files/media/gert/film', 'x')).status, 201)
      const { bytes, files } = (await api('/usage?application=media&user=gert')).json
      deepEqual([bytes, files], [1, 1])
      await setReads('open', { userBytesMax: 100 })
      await until(async () => (await put('/files/media/gert/huge', 'x'.repeat(101))).status === 413)
      const give = (path: string, body: string | Buffer, headers = {}) =>
        one.ask(`/api/v1/films/media/gert/film/${path}`, {
          method: 'PUT',
          body,
          headers: { ...as(WRITE_TOKEN), ...headers }
        })
      const picture = (size: number) =>
        Buffer.concat([Buffer.from('ffd8ffe000104a464946', 'hex'), Buffer.alloc(size - 10, 1)])
      const cues = 'WEBVTT\n\n00:00.000 --> 00:01.000\nx\n'
      equal((await give('poster', picture(150))).status, 413)
      equal((await give('poster', picture(100))).status, 507)
      equal((await give('poster', picture(60))).status, 204)
      equal((await give('subtitles/de', cues)).status, 200)
      const full = await give('subtitles/en', cues)
      equal(full.status, 507, full.text)
      equal(full.json.code, 'QUOTA_EXCEEDED')
      const chunked = { 'transfer-encoding': 'chunked' }
      ok([413, 507].includes((await give('subtitles/en', cues, chunked)).status))
      await setReads('open', { userBytesMax: null })
    })

    it('hold resumable uploads as well, when they begin and while they come', async () => {
      const { secret } = await makeToken([{ application: 'media', user: 'carol', rights: ['write'] }])
      const tus = (method: string, url: string, headers: object, body?: string) =>
        one.ask(url, {
          method,
          headers: { 'tus-resumable': '1.0.0', ...as(secret), ...headers },
          ...(body !== undefined && { body })
        })
      const begin = (user: string, sizeBytes: number) => {
        const metadata = `user ${Buffer.from(user).toString('base64')}`
        return tus('POST', '/uploads', { 'upload-length': sizeBytes, 'upload-metadata': metadata })
      }
      equal((await begin('public', 10)).status, 403)
      const begun = await begin('carol', 10)
      equal(begun.status, 201, begun.text)
      const url = String(begun.headers.location)
      const { secret: reader } = await makeToken([{ application: 'media', rights: ['read'] }])
      for (const headers of [{ authorization: '' }, as(reader)])
        for (const method of ['HEAD', 'PATCH', 'DELETE']) {
          const content = { 'content-type': 'application/offset+octet-stream', 'upload-offset': 0 }
          const { status } = await tus(method, url, { ...content, ...headers })
          ok(status === 401 || status === 403, `${method} ${status}`)
        }
      const usage = (await api('/usage?application=media')).json
      await setReads('open', { bytesMax: usage.bytes + 300 })
      equal((await begin('carol', usage.bytes + 301)).status, 413)
      equal((await begin('carol', usage.bytes + 250)).status, 507)
      await setReads('open', { bytesMax: 1 })
      const headers = { 'content-type': 'application/offset+octet-stream', 'upload-offset': 0 }
      equal((await tus('PATCH', url, headers, '0123456789')).status, 413)
      await setReads('open', { bytesMax: null })
      equal((await tus('PATCH', url, headers, '0123456789')).status, 204)
      const { entries } = (await api('/audit?limit=100')).json as { entries: { what: string }[] }
      ok(entries.some(({ what }) => what.includes('/uploads')))
      ok(!JSON.stringify(entries).includes(url.split('/').at(-1)!), 'the log does not open uploads')
    })

    it('join parts for those alone who may write where the parts are', async () => {
      const { secret } = await makeToken([{ application: 'media', user: 'emil', rights: ['write'] }])
      const tus = (method: string, url: string, token: string, headers: object, body?: string) =>
        one.ask(url, {
          method,
          headers: { 'tus-resumable': '1.0.0', ...as(token), ...headers },
          ...(body !== undefined && { body })
        })
      const metadata = `user ${Buffer.from('emil').toString('base64')}`
      const partOf = async (token: string, headers: object): Promise<string> => {
        const begun = await tus('POST', '/uploads', token, {
          'upload-length': 1,
          'upload-concat': 'partial',
          ...headers
        })
        equal(begun.status, 201, begun.text)
        const url = String(begun.headers.location)
        const content = { 'content-type': 'application/offset+octet-stream', 'upload-offset': 0 }
        equal((await tus('PATCH', url, token, content, 'x')).status, 204)
        return url
      }
      const join = (token: string, url: string) =>
        tus('POST', '/uploads', token, { 'upload-concat': `final;${url}`, 'upload-metadata': metadata })
      const secretPart = await partOf(WRITE_TOKEN, {})
      equal((await join(secret, secretPart)).status, 403)
      equal((await join(WRITE_TOKEN, secretPart)).status, 201)
      equal((await join(secret, await partOf(secret, { 'upload-metadata': metadata }))).status, 201)
    })

    it('count what uploads under way were promised, at every gateway', async t => {
      t.after(() => setReads('open', { userBytesMax: null }))
      const metadata = `user ${Buffer.from('dora').toString('base64')}`
      const content = { 'content-type': 'application/offset+octet-stream', 'upload-offset': 0 }
      const tus = (to: HttpCaller, method: string, url: string, headers: object, body?: string) =>
        to.ask(url, {
          method,
          headers: { 'tus-resumable': '1.0.0', ...as(WRITE_TOKEN), ...headers },
          ...(body !== undefined && { body })
        })
      const begin = (to: HttpCaller, sizeBytes: number, headers: object = {}) =>
        tus(to, 'POST', '/uploads', { 'upload-length': sizeBytes, 'upload-metadata': metadata, ...headers })
      const urlOf = ({ headers }: Answer) => String(headers.location)
      /** Both gateways hold to it. */
      const setMax = async (userBytesMax: number): Promise<void> => {
        await setReads('open', { userBytesMax })
        for (const to of [one, other])
          await until(async () => {
            const answer = await begin(to, userBytesMax + 1)
            if (answer.status === 201) await tus(to, 'DELETE', urlOf(answer), {})
            return answer.text.includes(`${userBytesMax} bytes`)
          })
      }
      await setMax(50)

      const begun = await begin(one, 40)
      equal(begun.status, 201, begun.text)
      const second = await begin(other, 40)
      equal(second.status, 507)
      equal(second.json.code, 'QUOTA_EXCEEDED')
      equal((await begin(other, 40, content)).status, 507, 'with its content')
      const plain = (bytes: number) =>
        other.ask('/files/media/dora/plain', {
          method: 'PUT',
          body: 'x'.repeat(bytes),
          headers: as(WRITE_TOKEN)
        })
      equal((await plain(11)).status, 507)
      equal((await plain(10)).status, 201)
      equal(
        (await tus(other, 'PATCH', urlOf(begun), content, 'x'.repeat(40))).status,
        204,
        'not in its own way'
      )
      equal((await begin(other, 1)).status, 507, 'what is stored counts once, and at once')
      const { bytes } = (await api('/usage?application=media&user=dora')).json
      equal(bytes, 50)

      await setMax(150)
      for (let round = 0; round < 5; round++) {
        const answers = await Promise.all([one, other, one, other].map(to => begin(to, 80)))
        const good = answers.filter(({ status }) => status === 201)
        ok(good.length <= 1, answers.map(({ status }) => status).join())
        for (const answer of good) equal((await tus(one, 'DELETE', urlOf(answer), {})).status, 204)
      }

      const part = { 'upload-concat': 'partial' }
      const parts = await Promise.all([one, other].map(to => begin(to, 50, part)))
      for (const { status, text } of parts) equal(status, 201, text)
      equal((await begin(one, 1, part)).status, 507, 'parts are bytes, too')
      for (const each of parts)
        equal((await tus(one, 'PATCH', urlOf(each), content, 'x'.repeat(50))).status, 204)
      const list = parts.map(urlOf).join(' ')
      const joined = await tus(other, 'POST', '/uploads', {
        'upload-metadata': metadata,
        'upload-concat': `final;${list}`
      })
      equal(joined.status, 201, joined.text)
      equal((await api('/usage?application=media&user=dora')).json.bytes, 150)
    })

    it('tell those who ask too often to wait, each by itself', async () => {
      await api('/applications/media', { method: 'PATCH', json: { requestsPerS: 5 } })
      const ask = async (from: string) =>
        (await one.ask('/files/media/public/film', { headers: { 'x-forwarded-for': from } })).status
      const statuses = await Promise.all(Array.from({ length: 30 }, () => ask('198.51.100.30')))
      ok(statuses.includes(200))
      ok(statuses.includes(429))
      equal(await ask('198.51.100.31'), 200)
      await api('/applications/media', { method: 'PATCH', json: { requestsPerS: null } })
      equal(await ask('198.51.100.30'), 200)
    })
  })

  describe('what is told afterwards', () => {
    it('has writes and refusals in the audit log, without secrets', async () => {
      await put('/files/media/public/audited', 'x')
      await put('/files/media/public/refused', 'x', {} as never)
      const { json, text } = await api('/audit?limit=200')
      const find = (target: string) =>
        json.entries.find((entry: { target: string }) => entry.target === target)
      equal(find('media/public/audited').outcome, 'done')
      equal(find('media/public/audited').who, 'write token')
      equal(find('media/public/refused').outcome, 'denied')
      equal(find('media/public/refused').who, 'anonymous')
      ok(!text.includes(WRITE_TOKEN))
      ok(!/tr[bs]_/.test(text))
      const denied = await api('/audit?outcome=denied&limit=2')
      equal(denied.json.entries.length, 2)
      ok(denied.json.next)
      const next = await api(`/audit?outcome=denied&limit=2&after=${denied.json.next}`)
      notEqual(JSON.stringify(next.json.entries), JSON.stringify(denied.json.entries))
    })

    it('has plays, counted by nobody in particular', async () => {
      const { json } = await api('/films/media/public/film')
      const report = (more: object) =>
        one.ask('/api/v1/plays', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({
            application: 'media',
            user: 'public',
            file: 'film',
            generation: json.film.generation,
            playedS: 10,
            ...more
          })
        })
      equal((await report({ started: true, position: 0.01 })).status, 204)
      equal((await report({ position: 0.25, before: 0.01 })).status, 204)
      equal((await report({ position: 0.1, before: 0.25 })).status, 204)
      equal((await report({ started: true, position: 0.5 })).status, 204)
      equal((await report({ position: 2 })).status, 400)
      // Of what is not there nothing is kept, so that nobody fills the index with it.
      for (const nothing of [{ generation: 'e'.repeat(32) }, { file: 'no-such-film' }])
        equal((await report({ started: true, position: 1, ...nothing })).status, 204)
      equal((await api('/films/media/public/no-such-film/plays')).json.starts, 0)
      const { json: plays } = await api('/films/media/public/film/plays')
      equal(plays.starts, 2)
      equal(plays.playedS, 40)
      deepEqual(plays.reached, [2, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0])
      equal(plays.days.length, 1)
    })

    it('reaches a webhook, once, signed, and again after a failure', async () => {
      let failures = 1
      const { got, receiver, port } = await startReceiver(() => (failures-- > 0 ? 500 : 204))
      try {
        const made = await api('/webhooks', {
          method: 'POST',
          json: { url: `http://127.0.0.1:${port}/hook`, events: ['stored', 'deleted'] }
        })
        equal(made.status, 201, made.text)
        const { secret, webhook } = made.json
        await until(async () => (await put(`/files/media/public/hook${Math.random()}`, 'x')).status === 201)
        equal((await put('/files/media/public/hooked', 'content')).status, 201)
        await one.ask('/files/media/public/hooked', { method: 'DELETE', headers: as(WRITE_TOKEN) })
        await until(async () => got.some(({ body }) => body.includes('"deleted"')), 30_000)
        // Programs store without a gateway.
        const client = new Client({ trackers: [cluster.tracker] })
        const key = { application: 'media', user: 'public', file: `wired-${Math.random()}` }
        const { generation } = await client.upload(Buffer.from('wire'), { key })
        const told = (event: string, file: string) =>
          got.map(({ body }) => JSON.parse(body)).filter(each => each.event === event && each.file === file)
        await until(async () => told('stored', key.file).length > 0, 30_000)
        // And they delete without one: whoever sees it first tells it, and nobody a second time.
        const seen = { ...key, file: `seen-${Math.random()}` }
        await client.upload(Buffer.from('wire'), { key: seen })
        await until(async () => told('stored', seen.file).length > 0, 30_000)
        await client.delete(key)
        await client.delete(seen)
        await Promise.all([one, other].map(to => api('/films?user=public&application=media', { to })))
        client.close()
        await until(
          async () => told('deleted', key.file).length > 0 && told('deleted', seen.file).length > 0,
          30_000
        )
        equal(told('deleted', key.file)[0].generation, generation)
        // Into the trash is deleted; that it goes from there for good is no news.
        equal((await put('/files/media/public/trashed', 'x')).status, 201)
        for (const query of ['', '', '?forever=true'])
          equal((await api(`/films/media/public/trashed${query}`, { method: 'DELETE' })).status, 204)
        await until(async () => told('deleted', 'trashed').length > 0, 30_000)
        ok(told('deleted', 'trashed')[0].trashedUntil)
        // Whichever was refused comes again later.
        const ofHooked = () => got.find(({ body }) => body.includes('"hooked"') && body.includes('"stored"'))
        await until(async () => ofHooked() !== undefined, 30_000)
        const stored = ofHooked()!
        isSigned(stored, secret)
        equal(JSON.parse(stored.body).sizeBytes, 7)
        await until(async () => {
          const { json } = await api('/webhooks')
          return json.webhooks[0].waiting === 0 && json.webhooks[0].lastStatus === 'delivered'
        }, 30_000)
        // Which of them was the last depends on when the program's upload was seen.
        const { at, event, ...last } = (await api('/webhooks')).json.webhooks[0].lastDelivery
        ok(['stored', 'deleted'].includes(event), event)
        deepEqual(last, { state: 'done', tries: 1, failure: '' })
        ok(Math.abs(Date.parse(at) - Date.now()) < 60_000)
        const ids = got.map(({ headers }) => headers['tributary-delivery'])
        equal(new Set(ids).size, ids.length, 'each one once')
        for (const file of ['hooked', key.file, seen.file, 'trashed']) {
          equal(told('stored', file).length, 1, file)
          equal(told('deleted', file).length, 1, file)
        }
        equal((await api(`/webhooks/${webhook.id}`, { method: 'DELETE' })).status, 204)
      } finally {
        receiver.close()
        receiver.closeAllConnections()
      }
    })

    it('sends a webhook a test when it is asked to, once, and tells how that went', async () => {
      let status = 204
      const { got, receiver, port } = await startReceiver(() => status)
      try {
        const url = `http://127.0.0.1:${port}/tested`
        const made = await api('/webhooks', { method: 'POST', json: { url, events: ['degraded'] } })
        equal(made.status, 201, made.text)
        const { id } = made.json.webhook
        const test = () => api(`/webhooks/${id}/test`, { method: 'POST' })
        const last = async () => (await api('/webhooks')).json.webhooks.find((w: any) => w.id === id)
        equal((await test()).status, 204)
        await until(async () => (await last()).lastStatus === 'delivered', 30_000)
        equal(got.length, 1)
        isSigned(got[0]!, made.json.secret)
        const { event, application } = JSON.parse(got[0]!.body)
        deepEqual([event, application], ['test', ''])
        status = 500
        equal((await test()).status, 204)
        await until(async () => (await last()).lastDelivery.state === 'failed', 30_000)
        const { lastDelivery, waiting } = await last()
        equal(lastDelivery.tries, 1, 'it is not tried again')
        equal(lastDelivery.failure, 'it answered 500')
        equal(waiting, 0)
        equal((await api(`/webhooks/${id}`, { method: 'DELETE' })).status, 204)
        equal((await test()).status, 404)
      } finally {
        receiver.close()
        receiver.closeAllConnections()
      }
    })

    it('does not go to addresses inside, unless that is configured', async () => {
      for (const url of [
        'http://10.0.0.1/',
        'http://[::ffff:10.0.0.1]/',
        'ftp://example.org/',
        'http://u:p@example.org/',
        'x'
      ]) {
        const { status } = await api('/webhooks', { method: 'POST', json: { url, events: ['stored'] } })
        equal(status, 400, url)
      }
    })
  })
})

interface Delivered {
  headers: IncomingHttpHeaders
  body: string
}

/** Of webhooks. `got` has what it took. */
async function startReceiver(
  statusOf: () => number
): Promise<{ got: Delivered[]; receiver: Server; port: number }> {
  const got: Delivered[] = []
  const receiver = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const status = statusOf()
      if (status < 300) got.push({ headers: request.headers, body })
      response.writeHead(status).end()
    })
  })
  receiver.listen(0, '127.0.0.1')
  await once(receiver, 'listening')
  return { got, receiver, port: (receiver.address() as AddressInfo).port }
}

function isSigned({ headers, body }: Delivered, secret: string): void {
  const [, time, mac] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['tributary-signature']))!
  equal(createHmac('sha256', secret).update(`${time}.${body}`).digest('hex'), mac)
}

async function until(holds: () => Promise<boolean>, withinMs = 10_000): Promise<void> {
  const endMs = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error('it did not come to be in time')
    await wait(50)
  }
}
