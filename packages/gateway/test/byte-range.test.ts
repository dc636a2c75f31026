import { describe, it } from 'node:test'
import { deepEqual, equal, ok } from 'node:assert/strict'
import fc from 'fast-check'
import { type RangeSpec, parseRange, resolveRange, resolveRanges } from '../src/byte-range.ts'

describe('reading a Range header', () => {
  const cases: [string, ReturnType<typeof parseRange>][] = [
    ['bytes=0-0', [{ start: 0, end: 0 }]],
    ['bytes=5-', [{ start: 5, end: undefined }]],
    ['bytes=-7', [{ suffix: 7 }]],
    ['BYTES=1-2', [{ start: 1, end: 2 }]],
    ['bytes=0-1, 4-5 ,\t-3', [{ start: 0, end: 1 }, { start: 4, end: 5 }, { suffix: 3 }]],
    ['bytes=,,0-1,', [{ start: 0, end: 1 }]],
    ['bytes=000-007', [{ start: 0, end: 7 }]],
    ['bytes=0-99999999999999999999', [{ start: 0, end: Number.MAX_SAFE_INTEGER }]],
    ['bytes=-99999999999999999999', [{ suffix: Number.MAX_SAFE_INTEGER }]],
    ['bytes=5-4', undefined],
    ['bytes=0-1,5-4', undefined],
    ['bytes=', undefined],
    ['bytes=,', undefined],
    ['bytes=-', undefined],
    ['bytes=a-b', undefined],
    ['bytes=1 - 2', undefined],
    ['bytes = 1-2', undefined],
    ['bytes=1-2;3-4', undefined],
    ['bytes=+1-2', undefined],
    ['bytes=0x1-2', undefined],
    ['bytes 0-1', undefined],
    ['items=0-1', undefined],
    ['0-1', undefined],
    ['', undefined]
  ]
  for (const [header, expected] of cases) {
    it(`${expected ? 'takes' : 'ignores'} '${header}'`, () => deepEqual(parseRange(header), expected))
  }
})

describe('resolving ranges', () => {
  const specOf = fc.oneof(
    fc.record({ suffix: fc.nat(60) }),
    fc.tuple(fc.nat(60), fc.option(fc.nat(60), { nil: undefined })).map(([start, length]) => ({
      start,
      end: length === undefined ? undefined : start + length
    }))
  )
  /** The bytes that a spec selects, one by one. */
  const selects = (spec: RangeSpec, sizeBytes: number, at: number): boolean =>
    'suffix' in spec ? at >= sizeBytes - spec.suffix : at >= spec.start && at <= (spec.end ?? Infinity)

  it('selects exactly the bytes that each spec names', () => {
    fc.assert(
      fc.property(specOf, fc.nat(50), (spec, sizeBytes) => {
        const range = resolveRange(spec, sizeBytes)
        for (let at = 0; at < sizeBytes; at++) {
          equal(range !== undefined && at >= range.start && at <= range.end, selects(spec, sizeBytes, at))
        }
        if (range) ok(range.start <= range.end && range.end < sizeBytes)
      })
    )
  })

  it('sends every wanted byte once, no other one, and keeps the order of first mention', () => {
    fc.assert(
      fc.property(fc.array(specOf, { maxLength: 12 }), fc.nat(50), (specs, sizeBytes) => {
        const ranges = resolveRanges(specs, sizeBytes)
        for (let at = 0; at < sizeBytes; at++) {
          const wanted = specs.some(spec => selects(spec, sizeBytes, at))
          equal(ranges.filter(({ start, end }) => at >= start && at <= end).length, wanted ? 1 : 0)
        }
        const mentions = ranges.map(({ start, end }) =>
          specs.findIndex(spec => {
            const own = resolveRange(spec, sizeBytes)
            return own !== undefined && own.start >= start && own.end <= end
          })
        )
        deepEqual(
          mentions,
          mentions.toSorted((one, other) => one - other)
        )
      })
    )
  })

  it('makes one of ranges that touch', () => {
    deepEqual(
      resolveRanges(
        [
          { start: 0, end: 4 },
          { start: 5, end: 9 }
        ],
        20
      ),
      [{ start: 0, end: 9 }]
    )
    deepEqual(
      resolveRanges(
        [
          { start: 0, end: 1 },
          { start: 8, end: 9 },
          { start: 2, end: 7 }
        ],
        20
      ),
      [{ start: 0, end: 9 }]
    )
  })
})
