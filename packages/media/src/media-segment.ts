/**
 * Media segments: a fragment of one track. The samples themselves are not looked at: they are copied from the film,
 * piece by piece, behind the head that is made here.
 */
import { KEY_FLAGS, OTHER_FLAGS } from './init-segment.ts'

/** Samples of one track that follow each other. */
export interface SampleRun {
  /** Decoding time of the first, in ticks of the segment's track. */
  dts: number
  sizes: ArrayLike<number>
  durations: ArrayLike<number>
  shifts: ArrayLike<number>
  keys: ArrayLike<number>
}

const STYP_BYTES = 24
const MFHD_BYTES = 16
const TFHD_BYTES = 24
const TFDT_BYTES = 20
const TRUN_FIXED_BYTES = 20

interface Layout {
  commonDuration: number | undefined
  shifted: boolean
  /** Only the first sample is a key frame, or all are. */
  commonFlags: boolean
  allKeys: boolean
  dataBytes: number
  headBytes: number
}

function layoutOf({ sizes, durations, shifts, keys }: SampleRun): Layout {
  const count = sizes.length
  let dataBytes = 0
  let sameDuration = true
  let shifted = false
  let keysAfterFirst = 0
  for (let index = 0; index < count; index++) {
    dataBytes += sizes[index]!
    // The last sample may be shorter than the others: then each says its own.
    if (durations[index] !== durations[0]) sameDuration = false
    if (shifts[index] !== 0) shifted = true
    if (index > 0 && keys[index] !== 0) keysAfterFirst++
  }
  const firstIsKey = keys[0] !== 0
  const allKeys = firstIsKey && keysAfterFirst === count - 1
  const commonFlags = allKeys || (firstIsKey && keysAfterFirst === 0)
  const fields = 1 + (sameDuration ? 0 : 1) + (shifted ? 1 : 0) + (commonFlags ? 0 : 1)
  const trunBytes = TRUN_FIXED_BYTES + (commonFlags ? 4 : 0) + count * fields * 4
  const headBytes = STYP_BYTES + 8 + MFHD_BYTES + 8 + TFHD_BYTES + TFDT_BYTES + trunBytes + 8
  return {
    commonDuration: sameDuration ? durations[0] : undefined,
    shifted,
    commonFlags,
    allKeys,
    dataBytes,
    headBytes
  }
}

/** Size of the segment that `segmentHead` begins, its samples included. */
export function segmentBytes(run: SampleRun): number {
  const { headBytes, dataBytes } = layoutOf(run)
  return headBytes + dataBytes
}

/**
 * All of a segment that stands before its samples.
 *
 * @param sequence  number of the segment, from 1 on
 */
export function segmentHead(run: SampleRun, sequence: number): Uint8Array {
  const { commonDuration, shifted, commonFlags, allKeys, dataBytes, headBytes } = layoutOf(run)
  const count = run.sizes.length
  const bytes = Buffer.alloc(headBytes)
  let at = 0
  const number = (value: number): void => {
    at = bytes.writeUInt32BE(value, at)
  }
  const header = (sizeBytes: number, type: string): void => {
    number(sizeBytes)
    at += bytes.write(type, at, 'latin1')
  }
  header(STYP_BYTES, 'styp')
  at += bytes.write('msdh', at, 'latin1')
  number(0)
  at += bytes.write('msdhcmfs', at, 'latin1')
  const moofBytes = headBytes - STYP_BYTES - 8
  header(moofBytes, 'moof')
  header(MFHD_BYTES, 'mfhd')
  number(0)
  number(sequence)
  header(moofBytes - 8 - MFHD_BYTES, 'traf')
  header(TFHD_BYTES, 'tfhd')
  // Places count from this fragment; a duration and flags for all samples, of which the table may say otherwise.
  number(0x02_0000 | 0x8 | 0x20)
  number(1)
  number(commonDuration ?? 0)
  number(allKeys ? KEY_FLAGS : OTHER_FLAGS)
  header(TFDT_BYTES, 'tfdt')
  number(0x0100_0000)
  number(Math.floor(run.dts / 2 ** 32))
  number(run.dts % 2 ** 32)
  header(headBytes - 8 - at, 'trun')
  let flags = 0x1 | 0x200
  if (commonFlags) flags |= 0x4
  if (commonDuration === undefined) flags |= 0x100
  if (!commonFlags) flags |= 0x400
  if (shifted) flags |= 0x800
  number(0x0100_0000 | flags)
  number(count)
  number(moofBytes + 8)
  if (commonFlags) number(KEY_FLAGS)
  for (let index = 0; index < count; index++) {
    if (commonDuration === undefined) number(run.durations[index]!)
    number(run.sizes[index]!)
    if (!commonFlags) number(run.keys[index] === 0 ? OTHER_FLAGS : KEY_FLAGS)
    if (shifted) at = bytes.writeInt32BE(run.shifts[index]!, at)
  }
  header(8 + dataBytes, 'mdat')
  return bytes
}
