import { describe, it } from 'node:test'
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { oEmbedOf, watchHead } from '../src/watch-page.ts'
import { memoryGateway } from './support/memory-gateway.ts'

const FOLDER = new URL('../public/', import.meta.url)
const ROUTES = ['/', '/trash', '/cluster', '/jobs', '/access', '/login']
const ODD = `<b onclick="x">ünï & 'q' "p" 50% #1 ?.mp4`

async function assetNames(): Promise<string[]> {
  const names = await readdir(new URL('assets/', FOLDER))
  return names.filter(name => !/\.(br|gz)$/.test(name))
}

describe('the console', () => {
  it('is one page at all its addresses, revalidated, under a policy that runs nothing else', async t => {
    const { http } = await memoryGateway(t)
    const built = await readFile(new URL('index.html', FOLDER), 'utf8')
    for (const path of ROUTES) {
      const { status, headers, text } = await http.ask(path)
      equal(status, 200, path)
      equal(text, built.replace('<!--head-->', ''), path)
      match(String(headers['content-type']), /^text\/html; charset=utf-8$/)
      const policy = String(headers['content-security-policy'])
      match(policy, /^default-src 'none'; script-src 'self'; style-src 'self'/)
      match(policy, /base-uri 'none'; form-action 'none'; frame-ancestors 'none'/)
      ok(!policy.includes('unsafe'), policy)
      equal(headers['x-content-type-options'], 'nosniff')
      equal(headers['referrer-policy'], 'no-referrer')
      equal(headers['cross-origin-opener-policy'], 'same-origin')
      equal(headers['cache-control'], 'no-cache')
      const again = await http.ask(path, { headers: { 'if-none-match': String(headers.etag) } })
      equal(again.status, 304, path)
    }
    equal((await http.ask('/', { method: 'HEAD' })).status, 200)
    ok(!/ style=|<style|<script>| on[a-z]+=/.test(built), 'nothing inline')
    for (const path of ['/../package.json', '/..%2fpackage.json', '/page.json', '/index.html', '/nowhere']) {
      equal((await http.ask(path)).status, 404, path)
    }
  })

  it('keeps its assets for good, and sends them compressed', async t => {
    const { http } = await memoryGateway(t)
    const names = await assetNames()
    ok(names.some(name => name.endsWith('.js')) && names.some(name => name.endsWith('.css')))
    for (const name of names) {
      match(name, /-[\w-]{8}\.(js|css)$/, 'has a hash of its content in its name')
      const path = `/assets/${name}`
      const plain = await http.ask(path)
      deepEqual(plain.body, await readFile(new URL(`assets/${name}`, FOLDER)))
      equal(plain.headers['cache-control'], 'public, max-age=31536000, immutable')
      equal(plain.headers['x-content-type-options'], 'nosniff')
      for (const [encoding, unpack] of [
        ['br', brotliDecompressSync],
        ['gzip', gunzipSync]
      ] as const) {
        const packed = await http.ask(path, { headers: { 'accept-encoding': encoding } })
        equal(packed.status, 200)
        const { 'content-encoding': used } = packed.headers
        if (plain.body.byteLength > 2_000) equal(used, encoding, name)
        deepEqual(used ? unpack(packed.body) : packed.body, plain.body, name)
      }
    }
    equal((await http.ask('/icon.svg')).headers['content-type'], 'image/svg+xml')
    equal((await http.ask('/assets/..%2fpage.json')).status, 404)
  })
})

describe("a film's page", () => {
  const key = { application: 'media', user: 'o’neil & co', file: `it's "50%".mp4` }
  const path = (prefix: string): string =>
    `/${prefix}/${[key.application, key.user, key.file].map(encodeURIComponent).join('/')}`

  it('tells programs what film it is, whatever the film is called', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key, 'film', { name: ODD })
    const { status, text, headers } = await http.ask(path('watch'))
    equal(status, 200)
    ok(!text.includes('<b onclick'), text)
    match(
      text,
      /<meta property="og:title" content="&lt;b onclick=&quot;x&quot;&gt;ünï &amp; &#39;q&#39; &quot;p&quot; 50% #1 \?\.mp4" \/>/
    )
    match(
      text,
      new RegExp(
        `<meta property="og:url" content="${http.url}/watch/media/o%E2%80%99neil%20%26%20co/it%27s%20%2250%25%22\\.mp4" />`
      )
    )
    match(text, /<link rel="alternate" type="application\/json\+oembed" href="http:\/\/127\.0\.0\.1/)
    match(String(headers['content-security-policy']), /frame-ancestors 'none'/)
  })

  it('may be framed by other sites as /embed/ only', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key, 'film')
    const { status, headers } = await http.ask(path('embed'))
    equal(status, 200)
    match(String(headers['content-security-policy']), /frame-ancestors \*$/)
    ok(!String(headers['content-security-policy']).includes('unsafe'))
  })

  it('is there without a film, too, and says nothing of it', async t => {
    const { http } = await memoryGateway(t)
    const { status, text } = await http.ask(path('watch'))
    equal(status, 200)
    ok(!text.includes('og:'), text)
    for (const wrong of ['/watch/media/public', '/watch/a/b/c/d', '/watch/media/public/%ff'])
      ok([400, 404].includes((await http.ask(wrong)).status), wrong)
  })

  it('says nothing to a name that is not its own, and lets no Host into its text', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key, 'film', { name: 'Secret' })
    for (const host of ['evil.example', '"><script>', 'a b']) {
      const { text } = await http.ask(path('watch'), { headers: { host } })
      ok(!text.includes('Secret') && !text.includes('og:') && !text.includes(host), host)
    }
  })

  it('is described to those who embed it', async t => {
    const { http, files } = await memoryGateway(t)
    files.put(key, 'film', { name: ODD })
    const ask = (query: Record<string, string>) => http.ask(`/oembed?${new URLSearchParams(query)}`)
    const url = http.url + path('watch')
    const { status, json } = await ask({ url, maxwidth: '480' })
    equal(status, 200)
    equal(json.type, 'video')
    equal(json.title, ODD)
    deepEqual([json.width, json.height], [480, 270])
    match(
      json.html,
      /^<iframe src="http:\/\/127\.0\.0\.1:\d+\/embed\/media\/[^"<>]+" width="480" height="270" title="[^"<>]+" /
    )
    equal((await ask({ url, format: 'xml' })).status, 501)
    equal((await ask({ url, maxwidth: '-1' })).status, 400)
    equal((await ask({ url: 'https://elsewhere.example/watch/a/b/c' })).status, 404)
    equal((await ask({ url: `${http.url}/files/media/public/x` })).status, 404)
    equal((await ask({ url: `${http.url}/watch/media/public/none` })).status, 404)
    equal((await ask({})).status, 404)
  })

  it('escapes whatever a title, a user or a file can be', () => {
    const hostile = `"><script>alert(1)</script>'\u0000\ud800&amp;`
    const film = {
      key: { application: 'a', user: 'u', file: 'f' },
      title: hostile,
      hasPoster: true,
      durationS: 59.94
    }
    const head = watchHead(film, 'https://films.example')
    ok(!head.includes('<script') && !head.includes('\u0000') && head.isWellFormed(), head)
    for (const line of head.split('\n')) match(line.trim(), /^<(meta|link) [^<>]*\/>$/)
    match(head, /og:video:duration" content="60"/)
    const { html } = oEmbedOf(film, 'https://films.example', {})
    equal(html.match(/</g)!.length, 2)
  })

  it('fits the frame to the film', () => {
    const film = {
      key: { application: 'a', user: 'u', file: 'f' },
      title: '',
      hasPoster: false,
      width: 1080,
      height: 1920
    }
    const { width, height, title } = oEmbedOf(film, 'https://x.example', { maxHeight: 640 })
    deepEqual([width, height, title], [360, 640, 'f'])
  })
})
