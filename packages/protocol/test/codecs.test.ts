import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import {
  checkFileKey,
  decodeAddressesReply,
  decodeAddressList,
  decodeBeat,
  decodeDownload,
  decodeErrorBody,
  decodeFileKey,
  decodeIdKey,
  decodeInt64,
  decodeJoin,
  decodeUploadHead,
  encodeAddressesReply,
  encodeAddressList,
  encodeBeat,
  encodeDownload,
  encodeErrorReply,
  encodeFileKey,
  encodeHeader,
  encodeIdKey,
  encodeInt64,
  encodeJoin,
  encodeUploadHead,
  ERROR_TEXT_BYTES_MAX,
  HEADER_BYTES,
  formatAddress,
  parseAddress,
  plainIp,
  readBodyBytes,
  readTextField,
  resolveDownload,
  TributaryError,
  writeTextField
} from '../src/index.ts'

function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>
}

/** Text without NUL, of any script, that fits `bytesMax`. */
function text(bytesMax: number, minLength = 0): fc.Arbitrary<string> {
  return fc
    .string({ unit: 'grapheme', minLength, maxLength: bytesMax })
    .filter(value => !value.includes('\0') && Buffer.byteLength(value) <= bytesMax)
}
const name = (lengthMax: number): fc.Arbitrary<string> =>
  fc.stringMatching(/^[A-Za-z0-9]+$/).filter(value => value.length <= lengthMax && value.length > 0)
const size = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER))
const key = record({ application: name(15), user: text(255, 1), file: text(127, 1) })
const port = fc.integer({ min: 1, max: 65_535 })
const join = record({
  version: fc.stringMatching(/^[0-9.]{1,6}$/),
  group: name(16),
  hostName: text(128, 1),
  port,
  startedAtS: fc.integer({ min: 0, max: 2 ** 31 }),
  joinedAtS: fc.integer({ min: 0, max: 2 ** 31 })
})
const beat = record({ group: name(16), hostName: text(128, 1) })
const address = record({ host: fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), port })

interface Codec<V> {
  values: fc.Arbitrary<V>
  encode: (value: V) => Buffer
  decode: (bytes: Buffer) => V
  /** Every shorter body is refused: the layout is fixed. */
  fixed: boolean
}
const codec = <V>(made: Codec<V>): Codec<any> => made
const CODECS: Record<string, Codec<any>> = {
  'a file key': codec({
    values: key,
    encode: value => encodeFileKey(value),
    decode: bytes => decodeFileKey(bytes),
    fixed: true
  }),
  'a join record': codec({ values: join, encode: encodeJoin, decode: decodeJoin, fixed: true }),
  'a beat record': codec({ values: beat, encode: encodeBeat, decode: decodeBeat, fixed: true }),
  'a download request': codec({
    values: record({ key, offset: size, sizeBytes: size }),
    encode: encodeDownload,
    decode: decodeDownload,
    fixed: true
  }),
  'an id key': codec({
    values: fc
      .string({ unit: 'binary-ascii', minLength: 1, maxLength: 64 })
      .filter(value => !value.includes('\0')),
    encode: encodeIdKey,
    decode: decodeIdKey,
    fixed: false
  }),
  'an int64': codec({
    values: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    encode: encodeInt64,
    decode: decodeInt64,
    fixed: true
  }),
  'an address reply': codec({
    values: record({ group: name(16), addresses: fc.array(address, { maxLength: 3 }) }),
    encode: ({ group, addresses }) => encodeAddressesReply(group, addresses),
    decode: decodeAddressesReply,
    fixed: false
  })
}

function onlyOurErrors(act: () => unknown): void {
  try {
    act()
  } catch (error) {
    ok(error instanceof TributaryError, `${String(error)} is none of ours`)
  }
}

describe('every codec', () => {
  for (const [what, { values, encode, decode, fixed }] of Object.entries(CODECS)) {
    it(`reads what it wrote: ${what}`, () => {
      fc.assert(fc.property(values, value => deepEqual(decode(encode(value)), value)))
    })

    it(`refuses what is cut short, at every length: ${what}`, () => {
      fc.assert(
        fc.property(values, value => {
          const bytes = encode(value)
          for (let length = 0; length < bytes.byteLength; length++) {
            const cut = bytes.subarray(0, length)
            if (fixed) throws(() => decode(cut), TributaryError)
            else onlyOurErrors(() => decode(cut))
          }
        }),
        { numRuns: 10 }
      )
    })

    it(`throws nothing but errors of the table at random bytes: ${what}`, () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 600 }), bytes =>
          onlyOurErrors(() => decode(Buffer.from(bytes)))
        )
      )
      fc.assert(
        fc.property(values, fc.nat(), fc.integer({ min: 0, max: 255 }), (value, at, byte) => {
          const bytes = encode(value)
          bytes[at % bytes.byteLength] = byte
          onlyOurErrors(() => decode(bytes))
        })
      )
    })
  }
})

describe('a text field', () => {
  it('holds any text of at most one byte less than its width', () => {
    fc.assert(
      fc.property(text(15), fc.uint8Array({ minLength: 16, maxLength: 16 }), (value, garbage) => {
        const field = Buffer.from(garbage)
        writeTextField(field, 0, 16, value)
        equal(readTextField(field, 0, 16, 'field'), value)
        ok(
          field.subarray(Buffer.byteLength(value)).every(byte => byte === 0),
          'the rest is zeros'
        )
        // Existing clients leave whatever lay in their memory behind the NUL.
        field.set(garbage.subarray(Buffer.byteLength(value) + 1), Buffer.byteLength(value) + 1)
        equal(readTextField(field, 0, 16, 'field'), value)
      })
    )
  })

  it('without NUL is refused, and nothing behind it is read', () => {
    const bytes = Buffer.from('aaaaaaaaaaaaaaaa\0')
    throws(() => readTextField(bytes, 0, 16, 'field'), { code: 'BAD_FIELD' })
    equal(readTextField(bytes, 1, 16, 'field'), 'a'.repeat(15))
  })

  it('that is not UTF-8 is refused, so that no two ids become one', () => {
    for (const hex of ['ff', 'c3', 'e282', 'f09f98', 'eda080', 'c080', 'f8888080', '61ff62']) {
      throws(() => readTextField(Buffer.from(`${hex}00`, 'hex'), 0, hex.length / 2 + 1, 'field'), {
        code: 'BAD_FIELD'
      })
    }
    const replacement = Buffer.from('\ufffd\0')
    equal(readTextField(replacement, 0, 4, 'field'), '\ufffd')
  })

  it('is not normalized', () => {
    const [composed, decomposed] = ['\u00e9', 'e\u0301']
    const read = (value: string): string => {
      const field = Buffer.alloc(16)
      writeTextField(field, 0, 16, value)
      return readTextField(field, 0, 16, 'field')
    }
    equal(read(composed!), composed)
    equal(read(decomposed!), decomposed)
  })

  it('asserts that what is written fits', () => {
    const field = Buffer.alloc(16)
    for (const value of ['a'.repeat(16), 'ä'.repeat(8), 'a\0b']) {
      throws(() => writeTextField(field, 0, 16, value), { name: 'InvariantError' })
    }
    writeTextField(field, 0, 16, `${'ä'.repeat(7)}a`)
  })
})

describe('a file key', () => {
  it('may lack a file id only where that is asked for', () => {
    const empty = encodeFileKey({ application: 'media', user: 'anna', file: '' })
    throws(() => decodeFileKey(empty), { code: 'BAD_FIELD', message: 'file id is empty' })
    equal(decodeFileKey(empty, 0, true).file, '')
    throws(() => checkFileKey({ application: 'media', user: 'anna', file: '' }), { code: 'BAD_FIELD' })
    checkFileKey({ application: 'media', user: 'anna', file: '' }, true)
  })

  it('is checked for everything that would not survive its encoding', () => {
    for (const bad of [
      { application: '' },
      { application: 'a b' },
      { application: 'a'.repeat(16) },
      { user: '' },
      { user: 'ä'.repeat(128) },
      { user: 'a\0b' },
      { user: '\ud800' },
      { file: 'a'.repeat(128) },
      { file: 'x\0' }
    ]) {
      throws(() => checkFileKey({ application: 'media', user: 'anna', file: 'film', ...bad }), {
        code: 'BAD_FIELD'
      })
    }
    fc.assert(fc.property(key, value => deepEqual(decodeFileKey(encodeFileKey(checkFileKey(value))), value)))
  })

  it('is read at any offset', () => {
    const bytes = Buffer.concat([
      Buffer.alloc(7, 'x'),
      encodeFileKey({ application: 'a', user: 'b', file: 'c' })
    ])
    deepEqual(decodeFileKey(bytes, 7), { application: 'a', user: 'b', file: 'c' })
  })
})

describe('a join record', () => {
  const good = { version: '1.0', group: 'g1', hostName: 'h', port: 1, startedAtS: 1, joinedAtS: 2 }

  it('is refused with port 0, without a host name, or with a bad group name', () => {
    for (const bad of [{ port: 0 }, { hostName: '' }, { group: '' }, { group: 'g 1' }]) {
      throws(() => decodeJoin(encodeJoin({ ...good, ...bad })), { code: 'BAD_FIELD' })
    }
  })

  it('takes a time that is no time for unknown', () => {
    for (const time of [-1n, 2n ** 62n, -(2n ** 63n)]) {
      const body = encodeJoin(good)
      body.writeBigInt64BE(time, 155)
      equal(decodeJoin(body).startedAtS, 0)
    }
  })

  it('cuts the version of a program to what the field holds', () => {
    equal(decodeJoin(encodeJoin({ ...good, version: '10.20.30' })).version, '10.20.')
  })
})

describe('an upload head', () => {
  it('agrees with its frame or is refused', () => {
    fc.assert(
      fc.property(key, size, size, (value, sizeBytes, frameBytes) => {
        const head = encodeUploadHead({ key: value, sizeBytes })
        deepEqual(decodeUploadHead(head, sizeBytes), { key: value, sizeBytes })
        if (frameBytes !== sizeBytes)
          throws(() => decodeUploadHead(head, frameBytes), { code: 'SIZE_MISMATCH' })
      })
    )
    const head = encodeUploadHead({ key: { application: 'a', user: 'b', file: 'c' }, sizeBytes: 0 })
    head.writeBigInt64BE(-1n, 400)
    throws(() => decodeUploadHead(head, 0), { code: 'SIZE_MISMATCH' })
    for (let length = 0; length < 408; length++)
      throws(() => decodeUploadHead(head.subarray(0, length), 0), TributaryError)
  })
})

describe('a range', () => {
  it('is what the format says', () => {
    equal(resolveDownload(0, 0, 32), 32)
    equal(resolveDownload(10, 5, 32), 5)
    equal(resolveDownload(32, 0, 32), 0)
    equal(resolveDownload(0, 0, 0), 0)
    for (const [offset, bytes] of [
      [33, 0],
      [30, 3],
      [32, 1],
      [0, 33]
    ] as const) {
      throws(() => resolveDownload(offset, bytes, 32), { code: 'BAD_RANGE' })
    }
  })

  it('never leaves the file', () => {
    fc.assert(
      fc.property(size, size, size, (offset, sizeBytes, fileBytes) => {
        try {
          const length = resolveDownload(offset, sizeBytes, fileBytes)
          ok(length >= 0 && offset + length <= fileBytes && (sizeBytes === 0 || length === sizeBytes))
        } catch (error) {
          equal((error as TributaryError).code, 'BAD_RANGE')
          ok(offset > fileBytes || sizeBytes > fileBytes - offset)
        }
      })
    )
  })

  it('of negative or absurd numbers is refused', () => {
    const body = encodeDownload({ key: { application: 'a', user: 'b', file: 'c' }, offset: 0, sizeBytes: 0 })
    for (const at of [400, 408]) {
      for (const value of [-1n, -(2n ** 63n), 2n ** 53n, 2n ** 63n - 1n]) {
        const bad = Buffer.from(body)
        bad.writeBigInt64BE(value, at)
        throws(() => decodeDownload(bad), { code: 'BAD_RANGE' })
      }
    }
  })
})

describe('a frame header', () => {
  it('carries every length that can be', () => {
    fc.assert(
      fc.property(
        size,
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: -128, max: 127 }),
        (bytes, command, status) => {
          const header = encodeHeader(bytes, command, status)
          equal(header.byteLength, HEADER_BYTES)
          equal(readBodyBytes(header, 0), bytes)
          equal(header.readBigInt64BE(0), BigInt(bytes))
          equal(header[8], command)
          equal(header.readInt8(9), status)
        }
      )
    )
  })

  it('with a length that cannot be says so', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), length => {
        const header = Buffer.alloc(HEADER_BYTES)
        header.writeBigInt64BE(length)
        const expected =
          length < 0n ? -1 : length > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(length)
        equal(readBodyBytes(header, 0), expected)
      })
    )
  })

  it('asserts what it is given', () => {
    for (const bytes of [-1, 0.5, 2 ** 53, NaN, Infinity])
      throws(() => encodeHeader(bytes, 71), { name: 'InvariantError' })
    throws(() => encodeHeader(0, 256), { name: 'InvariantError' })
  })
})

describe('an error reply', () => {
  it('carries its text, cut between characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 2_000 }), words => {
        const frame = encodeErrorReply(102, 10, words)
        const body = frame.subarray(HEADER_BYTES)
        ok(body.byteLength <= 2 + ERROR_TEXT_BYTES_MAX + 1)
        equal(body.at(-1), 0)
        equal(body.indexOf(0, 2), body.byteLength - 1)
        const error = decodeErrorBody(body)
        equal(error.code, 'FILE_NOT_FOUND')
        const sent = words.replaceAll('\0', ' ')
        if (sent !== '') ok(sent.startsWith(error.message), 'the text is a whole beginning')
      })
    )
    const long = encodeErrorReply(102, 10, `x${'😀'.repeat(400)}`)
    equal(long.byteLength, HEADER_BYTES + 2 + 1 + 255 * 4 + 1)
  })

  it('may be of two bytes, of none, and without its NUL', () => {
    equal(decodeErrorBody(Buffer.from('000a', 'hex')).code, 'FILE_NOT_FOUND')
    equal(decodeErrorBody(Buffer.alloc(0)).code, 'PEER_ERROR')
    equal(decodeErrorBody(Buffer.from('ff', 'hex')).code, 'PEER_ERROR')
    equal(decodeErrorBody(Buffer.from('ffff616263', 'hex')).message, 'abc')
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1_100 }), bytes => {
        ok(decodeErrorBody(Buffer.from(bytes)) instanceof TributaryError)
      })
    )
  })
})

describe('an address', () => {
  it('is read as it was written', () => {
    fc.assert(fc.property(address, value => deepEqual(parseAddress(formatAddress(value)), value)))
    fc.assert(
      fc.property(fc.array(address, { maxLength: 5 }), addresses =>
        deepEqual(decodeAddressList(encodeAddressList(addresses)), addresses)
      )
    )
  })

  it('takes the default port where it names none', () => {
    deepEqual(parseAddress('tracker.local', 21_000), { host: 'tracker.local', port: 21_000 })
    deepEqual(parseAddress('[::1]', 21_000), { host: '::1', port: 21_000 })
  })

  it('is refused where it is none', () => {
    for (const bad of [
      '',
      'host',
      ':1',
      'host:',
      'host:0',
      'host:65536',
      'host:1:2',
      '::1',
      'a b:1',
      'host:-1',
      'host:1e3',
      'a,b:1',
      '[::1:1'
    ]) {
      throws(() => parseAddress(bad), { code: 'BAD_FIELD' })
    }
  })

  it('of IPv4 in IPv6 clothes is the IPv4 one', () => {
    equal(plainIp('::ffff:192.168.0.7'), '192.168.0.7')
    equal(plainIp('::FFFF:10.0.0.1'), '10.0.0.1')
    equal(plainIp('::1'), '::1')
    equal(plainIp('10.0.0.1'), '10.0.0.1')
  })
})
