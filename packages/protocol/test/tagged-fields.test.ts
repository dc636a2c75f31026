import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { encodeFieldBlock, extension, fieldsCodec, splitFieldBlock, TributaryError } from '../src/index.ts'

const inner = { name: { tag: 1, type: 'text' }, size: { tag: 2, type: 'u64', optional: true } } as const
const table = {
  u64: { tag: 1, type: 'u64' },
  u32: { tag: 2, type: 'u32', optional: true },
  flag: { tag: 3, type: 'flag', optional: true },
  text: { tag: 500, type: 'text', optional: true },
  hex: { tag: 65_535, type: 'hex', optional: true },
  list: { tag: 7, type: inner, optional: true }
} as const
const codec = fieldsCodec(table)
const text = fc.string({ unit: 'grapheme', maxLength: 40 }).filter(value => !value.includes('\0'))
const safe = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER))
const hex = fc.uint8Array({ maxLength: 20 }).map(bytes => Buffer.from(bytes).toString('hex'))
const values = fc.record(
  {
    u64: safe,
    u32: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    flag: fc.boolean(),
    text,
    hex,
    list: fc.array(fc.record({ name: text, size: safe }, { requiredKeys: ['name'], noNullPrototype: true }), {
      maxLength: 5
    })
  },
  { requiredKeys: ['u64'], noNullPrototype: true }
)

function field(tag: number, value: string | Buffer, claimedBytes?: number): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'hex') : value
  const head = Buffer.alloc(6)
  head.writeUInt16BE(tag, 0)
  head.writeUInt32BE(claimedBytes ?? bytes.byteLength, 2)
  return Buffer.concat([head, bytes])
}
const U64 = field(1, '0000000000000007')

const CODECS: Record<string, unknown> = { ...extension }

function onlyOurErrors(act: () => unknown): void {
  try {
    act()
  } catch (error) {
    ok(error instanceof TributaryError, `${String(error)} is none of ours`)
  }
}

describe('tagged fields', () => {
  it('are read as they were written', () => {
    fc.assert(fc.property(values, value => deepEqual(codec.decode(codec.encode(value)), value)))
  })

  it('look like this', () => {
    const bytes = codec.encode({
      u64: 2 ** 32,
      u32: 1,
      flag: true,
      text: 'é',
      hex: 'ab',
      list: [{ name: 'x' }]
    })
    equal(
      bytes.toString('hex'),
      '0001' +
        '00000008' +
        '0000000100000000' +
        '0002' +
        '00000004' +
        '00000001' +
        '0003' +
        '00000001' +
        '01' +
        '01f4' +
        '00000002' +
        'c3a9' +
        'ffff' +
        '00000001' +
        'ab' +
        '0007' +
        '0000000b' +
        '00000007' +
        '0001' +
        '00000001' +
        '78'
    )
  })

  it('of newer versions are skipped, wherever they stand', () => {
    fc.assert(
      fc.property(
        values,
        fc.uint8Array({ maxLength: 50 }),
        fc.integer({ min: 1_000, max: 60_000 }),
        (value, bytes, tag) => {
          const unknown = field(tag, Buffer.from(bytes))
          const known = codec.encode(value)
          deepEqual(codec.decode(Buffer.concat([unknown, known])), value)
          deepEqual(codec.decode(Buffer.concat([known, unknown])), value)
        }
      )
    )
  })

  it('come in any order', () => {
    deepEqual(codec.decode(Buffer.concat([field(2, '00000005'), U64])), { u64: 7, u32: 5 })
  })

  it('that are missing are named', () => {
    throws(() => codec.decode(Buffer.alloc(0)), { code: 'BAD_FIELD', message: "field 'u64' is missing" })
    throws(() => codec.encode({} as never), { name: 'InvariantError' })
    throws(() => codec.decode(Buffer.concat([U64, field(7, Buffer.concat([Buffer.alloc(4)]))])), {
      code: 'BAD_FIELD'
    })
  })

  it('of the wrong width are refused', () => {
    for (const bad of [
      field(1, '07'),
      field(2, ''),
      field(2, '0000000000000001'),
      field(3, '0001'),
      field(3, '')
    ]) {
      throws(() => codec.decode(Buffer.concat([U64, bad])), { code: 'BAD_FIELD' })
    }
  })

  it('that cannot be represented are refused', () => {
    for (const bad of ['0020000000000000', 'ffffffffffffffff']) {
      throws(() => codec.decode(field(1, bad)), { code: 'BAD_FIELD' })
    }
    equal(codec.decode(field(1, '001fffffffffffff')).u64, Number.MAX_SAFE_INTEGER)
    for (const u64 of [-1, 0.5, 2 ** 53]) throws(() => codec.encode({ u64 }), { name: 'InvariantError' })
    for (const wrong of ['abc', 'zz'])
      throws(() => codec.encode({ u64: 1, hex: wrong }), { name: 'InvariantError' })
  })

  it('of text are UTF-8 without NUL, so that no two ids become one', () => {
    for (const bad of ['ff', 'c3', 'eda080', '6100', '00']) {
      throws(() => codec.decode(Buffer.concat([U64, field(500, bad)])), { code: 'BAD_FIELD' })
    }
    equal(codec.decode(Buffer.concat([U64, field(500, Buffer.from('\ufffd'))])).text, '\ufffd')
  })

  it('that are cut short are refused, or are fewer whole ones', () => {
    fc.assert(
      fc.property(values, value => {
        const bytes = codec.encode(value)
        for (let length = 0; length < bytes.byteLength; length++)
          onlyOurErrors(() => codec.decode(bytes.subarray(0, length)))
      }),
      { numRuns: 30 }
    )
    for (const length of [1, 5, 6, 13])
      throws(() => codec.decode(U64.subarray(0, length)), { code: 'BAD_FIELD' })
  })

  it('never read or reserve by a length that is only claimed', () => {
    throws(() => codec.decode(Buffer.concat([U64, field(500, '', 0xffff_ffff)])), { code: 'BAD_FIELD' })
    throws(() => codec.decode(Buffer.concat([U64, field(7, 'ffffffff')])), { code: 'BAD_FIELD' })
    throws(() => codec.decode(Buffer.concat([U64, field(7, '000000')])), { code: 'BAD_FIELD' })
  })

  it('in a list that is too long are refused', () => {
    const entry = encodeFieldBlock(field(1, ''))
    const entries = Buffer.concat(Array.from({ length: 20_001 }, () => entry))
    throws(() => codec.decode(Buffer.concat([U64, field(7, entries)])), {
      code: 'BAD_FIELD',
      message: /too long/
    })
  })

  it('throw nothing but errors of the table at random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), bytes =>
        onlyOurErrors(() => codec.decode(Buffer.from(bytes)))
      )
    )
    fc.assert(
      fc.property(values, fc.nat(), fc.integer({ min: 0, max: 255 }), (value, at, byte) => {
        const bytes = codec.encode(value)
        bytes[at % bytes.byteLength] = byte
        onlyOurErrors(() => codec.decode(bytes))
      })
    )
  })

  it('may have content behind them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 30 }), fc.uint8Array({ maxLength: 30 }), (fields, content) => {
        const split = splitFieldBlock(Buffer.concat([encodeFieldBlock(Buffer.from(fields)), content]))
        deepEqual(split, { fields: Buffer.from(fields), content: Buffer.from(content) })
      })
    )
    for (const bad of ['', '000000', '00000001', 'ffffffff00']) {
      throws(() => splitFieldBlock(Buffer.from(bad, 'hex')), { code: 'BAD_FIELD' })
    }
  })
})

describe('every extension body', () => {
  const key = { application: 'media', user: 'anna', file: 'film' }
  const facts = {
    generation: 'aa',
    sizeBytes: 5,
    crc32: 1,
    storedAtMs: 2,
    mediaType: 'video/mp4',
    name: 'Film.mp4'
  }
  const at = { host: '10.0.0.1', port: 23_000, family: 4 }
  const examples: {
    [K in keyof typeof extension]?: (typeof extension)[K] extends { encode(value: infer V): Buffer }
      ? V[]
      : never
  } = {
    hello: [
      { protocolMin: 1, protocolMax: 1, role: 'client', features: 0, timeMs: 3, nonce: '00ff', version: '1' }
    ],
    presence: [
      {
        version: '1',
        group: 'g1',
        hostName: 'h',
        port: 1,
        startedAtS: 1,
        joinedAtS: 2,
        serving: true,
        taking: false,
        reason: 'full',
        advertised: [at, { ...at, tls: true, region: 'eu' }],
        freeBytes: 1,
        totalBytes: 2,
        connections: 3,
        requestsPerS: 4,
        bytesPerS: 5,
        busyPermille: 6
      }
    ],
    leave: [{ group: 'g1', hostName: 'h', port: 1 }],
    locate: [key, { ...key, file: '' }, { ...key, forUpload: true }],
    locateReply: [
      { group: 'g1', exists: true, addresses: [at] },
      { group: 'g1', exists: false, addresses: [] }
    ],
    list: [{ application: 'media', user: 'anna', after: '', limit: 10 }],
    listReply: [{ files: [{ ...facts, file: 'film', group: 'g1' }], more: true }],
    idBlock: [{ key: 'k', count: 100 }],
    idBlockReply: [{ first: 0, count: 100 }],
    idRaise: [{ key: 'k', atLeast: 7 }],
    fetch: [key, { ...key, generation: 'aa', start: 0, end: 5, contentBytesMax: 10 }, { ...key, suffix: 5 }],
    fetchReply: [facts, { ...facts, offset: 1, lengthBytes: 2 }, { ...facts, notModified: true }],
    store: [
      { ...key, nonce: 'aa' },
      { ...key, nonce: 'aa', sizeBytes: 0, name: 'x', mediaType: 'y', inline: true }
    ],
    storeReply: [{ send: true }, facts, {}],
    stat: [key],
    statReply: [{ ...facts, nonce: 'aa', group: 'g1' }],
    fileFacts: [facts]
  }
  for (const [what, list] of Object.entries(examples)) {
    it(`is read as it was written: ${what}`, () => {
      const { encode, decode } = CODECS[what] as {
        encode(value: unknown): Buffer
        decode(bytes: Buffer): unknown
      }
      for (const value of list as unknown[]) deepEqual(decode(encode(value)), value)
    })
  }
})
