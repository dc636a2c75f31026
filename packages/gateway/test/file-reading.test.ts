import { after, before, describe, it } from 'node:test'
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { OutgoingHttpHeaders } from 'node:http'
import type { HttpCaller } from './support/http-caller.ts'
import type { MemoryFiles } from './support/memory-files.ts'
import { memoryGateway } from './support/memory-gateway.ts'
import { readParts } from './support/multipart.ts'

const key = (file: string) => ({ application: 'media', user: 'public', file })
const small = Buffer.from('0123456789')
const large = randomBytes(700_000)
const stored = 'Fri, 02 Jan 2026 03:04:05 GMT'
const earlier = 'Fri, 02 Jan 2026 03:04:04 GMT'
const later = 'Fri, 02 Jan 2026 03:04:06 GMT'

let files: MemoryFiles
let http: HttpCaller
let tag: string
const hooks: (() => Promise<unknown> | void)[] = []
before(async () => {
  const made = await memoryGateway({ after: hook => void hooks.push(hook as () => Promise<unknown>) })
  files = made.files
  http = made.http
  tag = `"${files.put(key('ten.mp4'), small).generation}"`
  files.put(key('large.mp4'), large)
  files.put(key('empty.mp4'), '')
})
after(() => Promise.all(hooks.map(async hook => hook())))

describe('reading a file', () => {
  it('answers with the content and all that describes it', async () => {
    const { status, headers, body } = await http.ask('/files/media/public/ten.mp4')
    equal(status, 200)
    deepEqual(body, small)
    equal(headers['content-length'], '10')
    equal(headers['content-type'], 'video/mp4')
    equal(headers['accept-ranges'], 'bytes')
    equal(headers.etag, tag)
    equal(headers['last-modified'], stored)
    equal(headers['x-content-type-options'], 'nosniff')
    equal(headers['access-control-allow-origin'], '*')
    match(String(headers['access-control-expose-headers']), /Content-Range/)
    equal(headers['content-disposition'], 'inline; filename="ten.mp4"')
    equal(headers['cache-control'], 'no-cache')
    ok(headers.date)
  })

  it('finds it under the default application and user', async () => {
    deepEqual((await http.ask('/files/ten.mp4')).body, small)
  })

  it('streams what is large, whole and in part', async () => {
    deepEqual((await http.ask('/files/large.mp4')).body, large)
    const part = await http.ask('/files/large.mp4', { headers: { range: 'bytes=100000-599999' } })
    equal(part.headers['content-range'], 'bytes 100000-599999/700000')
    deepEqual(part.body, large.subarray(100_000, 600_000))
  })

  it('answers HEAD as GET without content, and without looking at Range', async () => {
    const get = await http.ask('/files/large.mp4')
    const head = await http.ask('/files/large.mp4', { method: 'HEAD', headers: { range: 'bytes=0-1' } })
    equal(head.status, 200)
    equal(head.body.byteLength, 0)
    delete get.headers.date
    delete head.headers.date
    deepEqual(head.headers, get.headers)
  })

  it('saves under a name that is asked for', async () => {
    const own = await http.ask('/files/ten.mp4?download')
    equal(own.headers['content-disposition'], 'attachment; filename="ten.mp4"')
    const other = await http.ask('/files/ten.mp4?download=%E7%94%B5.mp4')
    match(String(other.headers['content-disposition']), /^attachment; .*filename\*=UTF-8''%E7%94%B5.mp4$/)
  })

  for (const type of ['text/html', 'image/svg+xml', 'application/xml', 'text/javascript']) {
    it(`gives ${type} as an attachment in a sandbox only`, async () => {
      files.put(key('active'), '<script>alert(1)</script>', { mediaType: type })
      const { headers } = await http.ask('/files/active')
      match(String(headers['content-disposition']), /^attachment/)
      equal(headers['content-security-policy'], "sandbox; default-src 'none'")
      equal(headers['x-content-type-options'], 'nosniff')
    })
  }

  it('gives a legacy server’s file without validators', async () => {
    files.put(key('old.mp3'), 'abc', { generation: '', storedAtMs: 0, mediaType: '', name: '' })
    for (const condition of [
      {},
      { 'if-none-match': '"x"' },
      { 'if-none-match': '""' },
      { 'if-modified-since': later }
    ]) {
      const { status, headers, text } = await http.ask('/files/old.mp3', { headers: condition })
      equal(status, 200)
      equal(text, 'abc')
      equal(headers.etag, undefined)
      equal(headers['last-modified'], undefined)
      equal(headers['content-type'], 'audio/mpeg')
    }
  })

  it('dates no file later than its answer', async () => {
    files.put(key('ahead'), 'abc', { storedAtMs: Date.now() + 100_000_000 })
    const { headers } = await http.ask('/files/ahead')
    ok(Date.parse(String(headers['last-modified'])) <= Date.parse(String(headers.date)))
  })
})

describe('a single range', () => {
  const cases: [
    file: string,
    range: string,
    status: number,
    contentRange: string | undefined,
    body: string
  ][] = [
    ['ten.mp4', 'bytes=0-0', 206, 'bytes 0-0/10', '0'],
    ['ten.mp4', 'bytes=0-', 206, 'bytes 0-9/10', '0123456789'],
    ['ten.mp4', 'bytes=3-5', 206, 'bytes 3-5/10', '345'],
    ['ten.mp4', 'bytes=9-', 206, 'bytes 9-9/10', '9'],
    ['ten.mp4', 'bytes=5-100', 206, 'bytes 5-9/10', '56789'],
    ['ten.mp4', 'bytes=-3', 206, 'bytes 7-9/10', '789'],
    ['ten.mp4', 'bytes=-100', 206, 'bytes 0-9/10', '0123456789'],
    ['ten.mp4', 'bytes=0-9007199254740993', 206, 'bytes 0-9/10', '0123456789'],
    ['ten.mp4', 'bytes=10-', 416, 'bytes */10', ''],
    ['ten.mp4', 'bytes=-0', 416, 'bytes */10', ''],
    ['ten.mp4', 'bytes=99999999999999999999-', 416, 'bytes */10', ''],
    ['ten.mp4', 'bytes=5-4', 200, undefined, '0123456789'],
    ['ten.mp4', 'lines=1-2', 200, undefined, '0123456789'],
    ['ten.mp4', 'bytes=x', 200, undefined, '0123456789'],
    ['empty.mp4', 'bytes=0-', 416, 'bytes */0', ''],
    ['empty.mp4', 'bytes=-1', 200, undefined, ''],
    ['empty.mp4', 'bytes=-0', 416, 'bytes */0', '']
  ]
  for (const [file, range, expected, contentRange, body] of cases) {
    it(`${range} of ${file} is ${expected}`, async () => {
      const { status, headers, text } = await http.ask(`/files/${file}`, { headers: { range } })
      equal(status, expected)
      equal(headers['content-range'], contentRange)
      if (expected === 416) equal(headers['content-type'], 'application/problem+json')
      else {
        equal(text, body)
        equal(headers['content-length'], String(body.length))
        if (expected === 206) equal(headers.etag, tag)
      }
    })
  }
})

describe('several ranges', () => {
  it('come as parts, in the order asked for', async () => {
    const range = 'bytes=8-9,0-1,-1,4-5'
    const { status, headers, body } = await http.ask('/files/ten.mp4', { headers: { range } })
    equal(status, 206)
    equal(headers['content-range'], undefined)
    equal(headers['content-length'], String(body.byteLength))
    equal(headers.etag, tag)
    deepEqual(
      readParts(headers, body).map(part => [
        part.headers['content-type'],
        part.headers['content-range'],
        part.body.toString()
      ]),
      [
        ['video/mp4', 'bytes 8-9/10', '89'],
        ['video/mp4', 'bytes 0-1/10', '01'],
        ['video/mp4', 'bytes 4-5/10', '45']
      ]
    )
  })

  it('may be large', async () => {
    const { headers, body } = await http.ask('/files/large.mp4', {
      headers: { range: 'bytes=0-299999, 400000-599999, -10' }
    })
    equal(headers['content-length'], String(body.byteLength))
    deepEqual(
      readParts(headers, body).map(part => part.body),
      [large.subarray(0, 300_000), large.subarray(400_000, 600_000), large.subarray(-10)]
    )
  })

  it('that become one come as one', async () => {
    const { status, headers, text } = await http.ask('/files/ten.mp4', {
      headers: { range: 'bytes=0-4,3-6,50-60' }
    })
    equal(status, 206)
    equal(headers['content-range'], 'bytes 0-6/10')
    equal(text, '0123456')
  })

  it('that all lie outside are 416', async () => {
    const { status, headers } = await http.ask('/files/ten.mp4', { headers: { range: 'bytes=10-,20-30' } })
    equal(status, 416)
    equal(headers['content-range'], 'bytes */10')
  })

  it('beyond a number are refused', async () => {
    const many = Array.from({ length: 33 }, (_, index) => `${index * 2}-${index * 2}`).join(',')
    const { status, json } = await http.ask('/files/large.mp4', { headers: { range: `bytes=${many}` } })
    equal(status, 416)
    match(json.detail, /32/)
  })
})

describe('conditions', () => {
  // T stands for the file's tag.
  const cases: [headers: OutgoingHttpHeaders, get: number, what: string][] = [
    [{ 'if-none-match': 'T' }, 304, 'the same tag'],
    [{ 'if-none-match': 'W/T' }, 304, 'the same tag, compared weakly'],
    [{ 'if-none-match': '"x", T' }, 304, 'a list with it'],
    [{ 'if-none-match': '"x",,W/T ,' }, 304, 'a list with it and holes'],
    [{ 'if-none-match': '*' }, 304, 'any'],
    [{ 'if-none-match': '"abcd"' }, 200, 'another tag'],
    [{ 'if-none-match': '"x", "y"' }, 200, 'other tags'],
    [{ 'if-none-match': 'garbage' }, 200, 'garbage'],
    [{ 'if-modified-since': stored }, 304, 'the same date'],
    [{ 'if-modified-since': later }, 304, 'a later date'],
    [{ 'if-modified-since': earlier }, 200, 'an earlier date'],
    [{ 'if-modified-since': 'Friday, 02-Jan-26 03:04:05 GMT' }, 304, 'the same date in the form of RFC 850'],
    [{ 'if-modified-since': 'Fri Jan  2 03:04:05 2026' }, 304, 'the same date in the form of C'],
    [{ 'if-modified-since': 'soon' }, 200, 'no date'],
    [{ 'if-none-match': '"abcd"', 'if-modified-since': later }, 200, 'another tag before a date'],
    [{ 'if-none-match': 'T', 'if-modified-since': earlier }, 304, 'the same tag before a date'],
    [{ 'if-match': 'T' }, 200, 'the tag it must be'],
    [{ 'if-match': '"x", T' }, 200, 'one of the tags it must be'],
    [{ 'if-match': '*' }, 200, 'any tag it must be'],
    [{ 'if-match': 'W/T' }, 412, 'a weak tag it must be'],
    [{ 'if-match': '"abcd"' }, 412, 'another tag it must be'],
    [{ 'if-match': 'garbage' }, 412, 'garbage it must be'],
    [{ 'if-unmodified-since': stored }, 200, 'not changed since its date'],
    [{ 'if-unmodified-since': later }, 200, 'not changed since later'],
    [{ 'if-unmodified-since': earlier }, 412, 'not changed since earlier'],
    [{ 'if-unmodified-since': 'soon' }, 200, 'not changed since no date'],
    [{ 'if-match': 'T', 'if-unmodified-since': earlier }, 200, 'the tag before the date'],
    [{ 'if-match': '"abcd"', 'if-none-match': 'T' }, 412, 'what it must be before what it must not'],
    [{ 'if-match': 'T', 'if-none-match': 'T' }, 304, 'both tags'],
    [{ 'if-unmodified-since': later, 'if-none-match': 'T' }, 304, 'a date and a tag']
  ]
  const fill = (headers: OutgoingHttpHeaders): OutgoingHttpHeaders =>
    Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [
        name,
        String(value).replace('T', tag).replace(`F${tag}`, 'FT').replace(`GM${tag}`, 'GMT')
      ])
    )

  for (const [condition, expected, what] of cases) {
    for (const method of ['GET', 'HEAD']) {
      it(`${method} with ${what} is ${expected}`, async () => {
        const { status, headers, body } = await http.ask('/files/ten.mp4', {
          method,
          headers: fill(condition)
        })
        equal(status, expected)
        if (status === 304) {
          equal(body.byteLength, 0)
          equal(headers.etag, tag)
          equal(headers['cache-control'], 'no-cache')
          equal(headers['content-length'], undefined)
        }
      })
    }
  }

  it('on a range go before it', async () => {
    const range = 'bytes=0-1'
    equal((await http.ask('/files/ten.mp4', { headers: { range, 'if-none-match': tag } })).status, 304)
    equal(
      (await http.ask('/files/ten.mp4', { headers: { range: 'bytes=50-', 'if-none-match': tag } })).status,
      304
    )
    equal((await http.ask('/files/ten.mp4', { headers: { range, 'if-match': '"x"' } })).status, 412)
    equal((await http.ask('/files/ten.mp4', { headers: { range, 'if-match': tag } })).text, '01')
    equal((await http.ask('/files/ten.mp4', { headers: { range, 'if-none-match': '"abcd"' } })).text, '01')
  })

  it('do not hide that a file is not there', async () => {
    for (const condition of [{ 'if-match': '*' }, { 'if-none-match': '*' }, { 'if-modified-since': later }]) {
      equal((await http.ask('/files/none', { headers: condition })).status, 404)
    }
  })

  const ifRange: [value: string, range: string, status: number, what: string][] = [
    ['T', 'bytes=0-1', 206, 'the same tag'],
    ['W/T', 'bytes=0-1', 200, 'a weak tag'],
    ['"abcd"', 'bytes=0-1', 200, 'another tag'],
    ['"abcd"', 'bytes=50-', 200, 'another tag and a range outside'],
    ['T', 'bytes=50-', 416, 'the same tag and a range outside'],
    [stored, 'bytes=0-1', 206, 'the same date'],
    [later, 'bytes=0-1', 200, 'a later date'],
    [earlier, 'bytes=0-1', 200, 'an earlier date'],
    ['garbage', 'bytes=0-1', 200, 'garbage'],
    ['T', 'bytes=0-1,4-5', 206, 'the same tag and several ranges'],
    ['"abcd"', 'bytes=0-1,4-5', 200, 'another tag and several ranges']
  ]
  for (const [value, range, expected, what] of ifRange) {
    it(`If-Range with ${what} is ${expected}`, async () => {
      const header = value.startsWith('Fri') ? value : value.replace('T', tag)
      const { status, body } = await http.ask('/files/ten.mp4', { headers: { range, 'if-range': header } })
      equal(status, expected)
      if (status === 200) deepEqual(body, small)
    })
  }

  it('a date of this very second does not tell two versions apart', async () => {
    const { storedAtMs } = files.put(key('fresh'), small, { storedAtMs: Date.now() })
    const headers = { range: 'bytes=0-1', 'if-range': new Date(storedAtMs).toUTCString() }
    equal((await http.ask('/files/fresh', { headers })).status, 200)
  })

  it('never mix two generations when a file is replaced in between', async () => {
    const first = files.put(key('swapped'), 'aaaa')
    files.afterStat = () => {
      files.afterStat = undefined
      files.put(key('swapped'), 'bbbb')
    }
    const { status } = await http.ask('/files/swapped', { headers: { 'if-match': `"${first.generation}"` } })
    equal(status, 412)
    files.afterStat = () => {
      files.afterStat = undefined
      files.put(key('swapped'), 'cccc')
    }
    equal((await http.ask('/files/swapped', { headers: { 'if-unmodified-since': later } })).text, 'cccc')
  })

  it('cost one round trip where storage can evaluate them', async () => {
    files.calls.length = 0
    await http.ask('/files/ten.mp4')
    await http.ask('/files/ten.mp4', { headers: { 'if-none-match': tag, 'if-modified-since': stored } })
    await http.ask('/files/ten.mp4', { headers: { range: 'bytes=-4', 'if-range': tag } })
    deepEqual(files.calls, ['fetch', 'fetch', 'fetch'])
  })
})

describe('scripts of other sites', () => {
  it('may read files, which a preflight is told', async () => {
    const { status, headers } = await http.ask('/files/ten.mp4', {
      method: 'OPTIONS',
      headers: {
        origin: 'https://elsewhere.example',
        'access-control-request-method': 'GET',
        'access-control-request-headers': 'range'
      }
    })
    equal(status, 204)
    equal(headers['access-control-allow-origin'], '*')
    equal(headers['access-control-allow-methods'], 'GET, HEAD')
    match(String(headers['access-control-allow-headers']), /Range/)
    match(String(headers.allow), /PUT/)
  })
  it('see the errors of files, and no lists', async () => {
    equal((await http.ask('/files/none')).headers['access-control-allow-origin'], '*')
    equal((await http.ask('/files/media/public')).headers['access-control-allow-origin'], undefined)
    const preflight = await http.ask('/files/media/public', { method: 'OPTIONS' })
    equal(preflight.headers['access-control-allow-origin'], undefined)
  })
})
