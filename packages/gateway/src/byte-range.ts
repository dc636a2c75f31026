/** The Range header: RFC 9110 §14.1 and §14.2. */

/** Both ends included; `end` undefined: to the end of the file. */
export interface IntervalSpec {
  start: number
  end: number | undefined
}
/** The last so many bytes. */
export interface SuffixSpec {
  suffix: number
}
export type RangeSpec = IntervalSpec | SuffixSpec

/** A range that the file has; both ends included. */
export interface ByteRange {
  start: number
  end: number
}

/** More ranges in one request are refused: no player needs them, and each costs a read of its own. */
export const RANGES_MAX = 32

const UNIT = /^bytes=/i
const SPEC = /^(\d*)-(\d*)$/

/**
 * Reads the header's value.
 *
 * @returns undefined where it is not a byte range that can be read: the header is then ignored.
 */
export function parseRange(header: string): RangeSpec[] | undefined {
  if (!UNIT.test(header)) return undefined
  const specs: RangeSpec[] = []
  for (const part of header.slice('bytes='.length).split(',')) {
    const text = trimBlanks(part)
    if (text === '') continue // empty list elements are to be tolerated
    const [, first, last] = SPEC.exec(text) ?? []
    if (first === undefined || last === undefined) return undefined
    if (first === '') {
      if (last === '') return undefined
      specs.push({ suffix: readNumber(last) })
    } else {
      const start = readNumber(first)
      const end = last === '' ? undefined : readNumber(last)
      if (end !== undefined && end < start) return undefined
      specs.push({ start, end })
    }
  }
  return specs.length > 0 ? specs : undefined
}

/** The range that a spec is of a file of `sizeBytes`, or undefined where it lies outside. */
export function resolveRange(spec: RangeSpec, sizeBytes: number): ByteRange | undefined {
  if ('suffix' in spec) {
    if (spec.suffix === 0 || sizeBytes === 0) return undefined
    return { start: Math.max(0, sizeBytes - spec.suffix), end: sizeBytes - 1 }
  }
  if (spec.start >= sizeBytes) return undefined
  return { start: spec.start, end: Math.min(spec.end ?? sizeBytes - 1, sizeBytes - 1) }
}

/**
 * The ranges to send, in the order asked for. What overlaps or touches becomes one, at the place of the first of
 * them, so that nothing is sent twice.
 */
export function resolveRanges(specs: readonly RangeSpec[], sizeBytes: number): ByteRange[] {
  const kept: ByteRange[] = []
  for (const spec of specs) {
    let range = resolveRange(spec, sizeBytes)
    if (!range) continue
    let place = kept.length
    // A range may join two that stood apart, so the merged one is compared with all of them again.
    for (let index = 0; index < kept.length; index++) {
      const other: ByteRange = kept[index]!
      if (range.start > other.end + 1) continue
      if (other.start > range.end + 1) continue
      range = { start: Math.min(range.start, other.start), end: Math.max(range.end, other.end) }
      kept.splice(index, 1)
      place = Math.min(place, index)
      index = -1
    }
    kept.splice(place, 0, range)
  }
  return kept
}

/** Beyond 2^53 exact numbers matter to nobody: no file is that long. */
function readNumber(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER)
}

function trimBlanks(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, '')
}
