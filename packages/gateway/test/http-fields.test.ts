import { describe, it } from 'node:test'
import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import fc from 'fast-check'
import {
  cleanName,
  contentDisposition,
  fileNameOf,
  NAME_BYTES_MAX,
  plainFileName
} from '../src/content-disposition.ts'
import { parseEntityTags } from '../src/conditions.ts'
import { parseTarget, pathOf } from '../src/file-target.ts'
import { formatHttpDate, parseHttpDate } from '../src/http-date.ts'
import { contentTypeOf, isActive } from '../src/media-type.ts'

const now = Date.UTC(2026, 10, 22)

describe('HTTP dates', () => {
  const moment = Date.UTC(1994, 10, 6, 8, 49, 37)
  for (const text of [
    'Sun, 06 Nov 1994 08:49:37 GMT',
    'Sunday, 06-Nov-94 08:49:37 GMT',
    'Sun Nov  6 08:49:37 1994'
  ]) {
    it(`reads '${text}'`, () => equal(parseHttpDate(text, now), moment))
  }
  for (const text of [
    '',
    'yesterday',
    '2026-01-02T03:04:05Z',
    'Sun, 06 Nov 1994 08:49:37',
    'Sun, 06 Nov 1994 08:49:37 CET',
    'Sun, 6 Nov 1994 08:49:37 GMT',
    'Sun, 31 Feb 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 25:49:37 GMT',
    'sun, 06 nov 1994 08:49:37 gmt'
  ]) {
    it(`ignores '${text}'`, () => equal(parseHttpDate(text, now), undefined))
  }
  it('takes a year of two digits that would lie far ahead for the last century', () => {
    equal(parseHttpDate('Tuesday, 01-Jan-80 00:00:00 GMT', now), Date.UTC(1980, 0, 1))
    equal(parseHttpDate('Wednesday, 01-Jan-30 00:00:00 GMT', now), Date.UTC(2030, 0, 1))
  })
  it('reads what it writes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4e12 }), ms => {
        equal(parseHttpDate(formatHttpDate(ms), now), ms - (ms % 1000))
      })
    )
  })
})

describe('entity tags', () => {
  it('are read as a list, as far as it can be read', () => {
    deepEqual(parseEntityTags('"a", W/"b" ,, "c,d"'), [
      { weak: false, opaque: 'a' },
      { weak: true, opaque: 'b' },
      { weak: false, opaque: 'c,d' }
    ])
    deepEqual(parseEntityTags('"a" b'), [])
    deepEqual(parseEntityTags('"a", b, "c"'), [{ weak: false, opaque: 'a' }])
    deepEqual(parseEntityTags('unquoted'), [])
    deepEqual(parseEntityTags('w/"a"'), [])
    equal(parseEntityTags(' * '), '*')
  })
})

describe('file names in headers', () => {
  for (const [name, expected] of [
    ['film.mp4', 'inline; filename="film.mp4"'],
    ['my film.mp4', 'inline; filename="my film.mp4"'],
    ['100%.mp4', `inline; filename="100_.mp4"; filename*=UTF-8''100%25.mp4`],
    ['a"b.mp4', `inline; filename="a_b.mp4"; filename*=UTF-8''a%22b.mp4`],
    ['电影.mp4', `inline; filename="__.mp4"; filename*=UTF-8''%E7%94%B5%E5%BD%B1.mp4`],
    ["it's (1)*.mp4", `inline; filename="it's (1)*.mp4"`],
    ['../../etc/passwd', 'inline; filename=".._.._etc_passwd"'],
    ['a\r\nSet-Cookie: x', 'inline; filename="aSet-Cookie: x"'],
    ['', 'inline']
  ] as const) {
    it(`writes ${JSON.stringify(name)}`, () => equal(contentDisposition('inline', name), expected))
  }
  it('never leave what a header may not hold', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), name =>
        ok(/^[\x20-\x7e]*$/.test(contentDisposition('attachment', name)))
      )
    )
  })
  it('come back as they went', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), text => {
        const name = cleanName(text).replace(/[/\\]/g, '_')
        equal(fileNameOf(contentDisposition('attachment', name)) ?? '', name)
      })
    )
  })
  it('are read from what programs send', () => {
    equal(fileNameOf('attachment; filename=film.mp4'), 'film.mp4')
    equal(fileNameOf('attachment; filename="a \\"b\\".mp4"'), 'a "b".mp4')
    equal(fileNameOf(`attachment; filename="x"; filename*=utf-8''%e7%94%b5.mp4`), '电.mp4')
    equal(fileNameOf(`attachment; filename="x.mp4"; filename*=UTF-8''%ff`), 'x.mp4')
    equal(fileNameOf('inline'), undefined)
    equal(plainFileName('%E7%94%B5.mp4'), '电.mp4')
    equal(plainFileName(Buffer.from('电.mp4').toString('latin1')), '电.mp4')
    equal(plainFileName('C:\\films\\a.mp4'), 'a.mp4')
  })
  it('are cut to their bound between characters', () => {
    const cut = cleanName('电'.repeat(200))
    ok(Buffer.byteLength(cut) <= NAME_BYTES_MAX)
    equal(cut, '电'.repeat(85))
  })
})

describe('media types', () => {
  for (const [type, active] of [
    ['video/mp4', false],
    ['audio/flac', false],
    ['image/png', false],
    ['text/plain; charset=utf-8', false],
    ['application/octet-stream', false],
    ['application/pdf', false],
    ['text/html', true],
    ['TEXT/HTML; charset=utf-8', true],
    ['image/svg+xml', true],
    ['application/xhtml+xml', true],
    ['text/xml', true],
    ['application/dash+xml', true],
    ['video/x+xml', true],
    ['text/javascript', true],
    ['text/css', true],
    ['message/rfc822', true],
    ['multipart/related', true],
    ['application/x-shockwave-flash', true],
    ['application/wasm', true],
    ['chemical/x-pdb', true]
  ] as const) {
    it(`${active ? 'sandboxes' : 'shows'} ${type}`, () => equal(isActive(type), active))
  }
  it('are guessed by extension where storage does not know', () => {
    equal(contentTypeOf('', '', 'a.mp4'), 'video/mp4')
    equal(contentTypeOf('application/octet-stream', 'a.txt'), 'text/plain; charset=utf-8')
    equal(contentTypeOf('', '', 'mp4'), 'application/octet-stream')
    equal(contentTypeOf('audio/mpeg', 'a.mp4'), 'audio/mpeg')
    equal(contentTypeOf('text/plain; charset=latin1'), 'text/plain; charset=latin1')
  })
  it('that could break a header are not repeated', () => {
    equal(contentTypeOf('a/b\r\nx: y'), 'application/octet-stream')
    equal(contentTypeOf('no type'), 'application/octet-stream')
  })
})

describe('URLs of files', () => {
  const owner = { application: 'media', user: 'public' }
  const read = (url: string): unknown => {
    const { application, user, file } = parseTarget(url, owner)
    return [application, user, file]
  }
  it('name application, user and file', () => {
    deepEqual(read('/files/film.mp4'), ['media', 'public', 'film.mp4'])
    deepEqual(read('/files/app/u/f'), ['app', 'u', 'f'])
    deepEqual(read('/files/app/u'), ['app', 'u', undefined])
    deepEqual(read('/files/app/a%2Fb/c%2Fd?x=1'), ['app', 'a/b', 'c/d'])
    deepEqual(read('/files/app/u/%E7%94%B5+%20'), ['app', 'u', '电+ '])
    deepEqual(read('http://host:1/files/app/u/f'), ['app', 'u', 'f'])
    equal(parseTarget('/files/a?b=/c', owner).query, 'b=/c')
  })
  it('are written so that they are read again', () => {
    const id = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter(text => {
      return text !== '.' && text !== '..' && !text.includes('\0') && Buffer.byteLength(text) < 128
    })
    fc.assert(
      fc.property(id, id, (user, file) =>
        deepEqual(read(pathOf({ application: 'app', user, file })), ['app', user, file])
      )
    )
  })
  for (const [url, code] of [
    ['/files/%zz', 'BAD_REQUEST'],
    ['/files/%C3%28', 'BAD_REQUEST'],
    ['/files/%ED%A0%80', 'BAD_REQUEST'],
    ['/files/%C0%AF', 'BAD_REQUEST'],
    ['/files/a%00b', 'BAD_FIELD'],
    ['/files/', 'BAD_FIELD'],
    ['/files/app/u/', 'BAD_FIELD'],
    ['/files/app//f', 'BAD_FIELD'],
    ['/files/bad-app/u/f', 'BAD_FIELD'],
    ['/files/sixteencharacter/u/f', 'BAD_FIELD'],
    [`/files/${'x'.repeat(128)}`, 'BAD_FIELD'],
    [`/files/app/${'x'.repeat(256)}/f`, 'BAD_FIELD'],
    ['/files/.', 'NOT_FOUND'],
    ['/files/%2e%2E', 'NOT_FOUND'],
    ['/files/app/../f', 'NOT_FOUND'],
    ['/files/a/b/c/d', 'NOT_FOUND']
  ] as const) {
    it(`refuse ${url.slice(0, 40)} as ${code}`, () => throws(() => parseTarget(url, owner), { code }))
  }
})
