import { describe, it } from 'node:test'
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { formatBytes, formatSeconds } from '../public/format.js'
import { hintFor, kindOf, reasonsFor } from '../public/playability.js'
import { RateMeter } from '../public/rate-meter.js'
import { LANGUAGES, pickLanguage, stringsOf } from '../public/strings.js'
import { memoryGateway } from './support/memory-gateway.ts'

const entry = (mediaType: string, name = '') => ({ mediaType, name, file: 'id' })
const UNSUPPORTED = 4

describe('the page', () => {
  it('is served with its parts, revalidated, and under a policy that runs nothing else', async t => {
    const { http } = await memoryGateway(t)
    const folder = new URL('../public/', import.meta.url)
    for (const name of await readdir(folder)) {
      const { status, headers, body } = await http.ask(name === 'index.html' ? '/' : `/${name}`)
      equal(status, 200, name)
      deepEqual(body, await readFile(new URL(name, folder)))
      match(String(headers['content-security-policy']), /default-src 'none'; script-src 'self'/)
      ok(!String(headers['content-security-policy']).includes('unsafe'))
      equal(headers['x-content-type-options'], 'nosniff')
      equal(headers['cache-control'], 'no-cache')
      const again = await http.ask(name === 'index.html' ? '/' : `/${name}`, {
        headers: { 'if-none-match': String(headers.etag) }
      })
      equal(again.status, 304, name)
    }
    equal((await http.ask('/', { method: 'HEAD' })).status, 200)
    const { text } = await http.ask('/')
    ok(!/ style=|<style|<script>| on[a-z]+=/.test(text), 'nothing inline')
    equal((await http.ask('/../package.json')).status, 404)
    equal((await http.ask('/..%2fpackage.json')).status, 404)
  })

  it('has every sentence in every language', () => {
    const { en, ...others } = LANGUAGES
    for (const strings of Object.values(others))
      deepEqual(Object.keys(strings).sort(), Object.keys(en).sort())
    equal(pickLanguage(['fr-FR', 'zh-CN', 'en']), 'zh')
    equal(pickLanguage(['fr']), 'en')
    equal(stringsOf('zh').choose, '选择文件')
  })

  it('names only sentences that there are', async () => {
    const folder = new URL('../public/', import.meta.url)
    const known = (key: string | undefined, where: string): void => {
      ok(Object.hasOwn(LANGUAGES.en, String(key)), `${where}: ${key}`)
    }
    const html = await readFile(new URL('index.html', folder), 'utf8')
    for (const [, key] of html.matchAll(/data-(?:text|label)="(\w+)"/g)) known(key, 'index.html')
    for (const name of (await readdir(folder)).filter(name => name.endsWith('.js'))) {
      const code = await readFile(new URL(name, folder), 'utf8')
      for (const [, key] of code.matchAll(/\btexts\.(\w+)/g)) known(key, name)
      for (const [key] of code.matchAll(/(?<=')(?:hint|reason)[A-Z]\w+(?=')/g)) known(key, name)
    }
  })
})

describe('why a browser does not play a file', () => {
  for (const [mediaType, name, hint] of [
    ['video/x-matroska', '', 'hintMkv'],
    ['video/webm', 'film.mkv', 'hintMkv'],
    ['video/webm', 'film.webm', undefined],
    ['video/x-msvideo', '', 'hintAvi'],
    ['application/octet-stream', 'film.AVI', 'hintAvi'],
    ['video/quicktime', '', 'hintMov'],
    ['video/mp2t', '', 'hintTs'],
    ['video/mp4', '', 'hintMp4'],
    ['application/zip', 'films.zip', 'hintOther']
  ] as const) {
    it(`tells of ${mediaType} ${name}: ${hint ?? 'nothing more'}`, () =>
      equal(hintFor(entry(mediaType, name)), hint))
  }

  it('tells a broken connection and a missing file from a format that is not known', () => {
    const film = entry('video/x-msvideo')
    deepEqual(reasonsFor(film, UNSUPPORTED, 200), ['reasonUnsupported', 'hintAvi', 'advice'])
    deepEqual(reasonsFor(film, UNSUPPORTED, 404), ['reasonMissing'])
    deepEqual(reasonsFor(film, UNSUPPORTED, 0), ['reasonNetwork'])
    deepEqual(reasonsFor(film, UNSUPPORTED, 503), ['reasonNetwork'])
    deepEqual(reasonsFor(film, 2, 200), ['reasonNetwork'])
    deepEqual(reasonsFor(film, 3, 200), ['reasonDecode', 'hintAvi', 'advice'])
  })

  it('takes the name where the type says nothing', () => {
    equal(kindOf(entry('application/octet-stream', 'a.MKV')), 'video')
    equal(kindOf(entry('application/octet-stream', 'a.flac')), 'audio')
    equal(kindOf(entry('application/octet-stream', 'a.exe')), 'other')
    equal(kindOf(entry('audio/mpeg', 'a.mp4')), 'audio')
  })
})

describe('figures for people', () => {
  it('are short', () => {
    deepEqual(
      [0, 999, 1000, 999_949, 999_950, 1_500_000, 123_456_789, 5e15].map(bytes => formatBytes(bytes, 'en')),
      ['0 B', '999 B', '1 KB', '1 MB', '1 MB', '1.5 MB', '123 MB', '5 PB']
    )
    deepEqual([0, 5, 65, 3725].map(formatSeconds), ['0:00', '0:05', '1:05', '1:02:05'])
  })

  it('follow a change of speed within seconds', () => {
    const meter = new RateMeter()
    equal(meter.bytesPerS, 0)
    let doneBytes = 0
    for (let atMs = 0; atMs <= 10_000; atMs += 100) meter.add((doneBytes += 100_000), atMs)
    ok(Math.abs(meter.bytesPerS - 1e6) < 1e4, String(meter.bytesPerS))
    for (let atMs = 10_100; atMs <= 17_000; atMs += 100) meter.add((doneBytes += 10_000), atMs)
    ok(Math.abs(meter.bytesPerS - 1e5) < 1e4, String(meter.bytesPerS))
  })
})
