/** The samples of one segment, as the index keeps them: sizes, times, and where in the film their bytes are. */
import { crc32 } from 'node:zlib'
import { damaged } from './errors.ts'
import type { SampleRun } from './media-segment.ts'
import { SAMPLE_BYTES_MAX, type Piece, type SampleTable, type Silence } from './sample-table.ts'
import type { Cut } from './segmentation.ts'
import { VarintReader, VarintWriter } from './varint.ts'

const CRC_BYTES = 4
const NO_SILENCE: Silence = { frame: new Uint8Array(0), count: 0 }
export const BLOCK_BYTES_MAX = 64 * 1024 * 1024
/** One key frame a sample, or a picture in its own segment: nobody needs more in one. */
const RUN_SAMPLES_MAX = 1_000_000

export interface SegmentSamples extends SampleRun {
  /** The first samples, which are not in the film. */
  silence: Silence | undefined
  /** Bytes of the film that follow, in this order. */
  pieces: Piece[]
}

export function cutSamples(samples: SampleTable, { first, end }: Cut): SegmentSamples {
  const { silence } = samples
  const silent = silence ? Math.max(0, Math.min(end, silence.count) - first) : 0
  return {
    dts: samples.dts[first] ?? 0,
    sizes: samples.sizes.subarray(first, end),
    durations: samples.durations.subarray(first, end),
    shifts: samples.shifts.subarray(first, end),
    keys: samples.keys.subarray(first, end),
    silence: silence && silent > 0 ? { frame: silence.frame, count: silent } : undefined,
    pieces: piecesOf(samples, first + silent, end)
  }
}

function piecesOf(samples: SampleTable, first: number, end: number): Piece[] {
  const { front } = samples
  const pieces: Piece[] = []
  const add = (start: number, lengthBytes: number): void => {
    if (lengthBytes === 0) return
    const last = pieces.at(-1)
    if (last && last.start + last.lengthBytes === start) last.lengthBytes += lengthBytes
    else pieces.push({ start, lengthBytes })
  }
  for (let index = first; index < end; index++) {
    const several = samples.pieces.get(index)
    if (several) for (const { start, lengthBytes } of several) add(start, lengthBytes)
    else {
      if (front) add(front.start, front.lengthBytes)
      add(samples.offsets[index]!, samples.sizes[index]! - (front?.lengthBytes ?? 0))
    }
  }
  return pieces
}

/**
 * Varints: count, time of the first; sizes; durations as (how many, how long); shifts, if there are any; key frames, if not
 * all are one; how many are silence, and of what bytes; pieces as (distance from the end of the one before, length). Then a
 * CRC-32.
 */
export function encodeBlock(run: SegmentSamples): Buffer {
  const writer = new VarintWriter()
  const { sizes, durations, shifts, keys, pieces } = run
  const count = sizes.length
  writer.unsigned(count)
  writer.unsigned(run.dts)
  for (let index = 0; index < count; index++) writer.unsigned(sizes[index]!)
  for (let index = 0; index < count;) {
    const duration = durations[index]!
    let same = 1
    while (index + same < count && durations[index + same] === duration) same++
    writer.unsigned(same)
    writer.unsigned(duration)
    index += same
  }
  writer.unsigned(some(shifts, 0) ? 1 : 0)
  if (some(shifts, 0)) for (let index = 0; index < count; index++) writer.signed(shifts[index]!)
  const others = indexesOf(keys)
  const allKeys = others.length === count
  writer.unsigned(allKeys ? 0 : others.length)
  let before = 0
  for (const index of allKeys ? [] : others) {
    writer.unsigned(index - before)
    before = index
  }
  const { frame, count: silent } = run.silence ?? NO_SILENCE
  writer.unsigned(silent)
  if (silent > 0) for (const value of [frame.byteLength, ...frame]) writer.unsigned(value)
  writer.unsigned(pieces.length)
  let end = 0
  for (const { start, lengthBytes } of pieces) {
    writer.signed(start - end)
    writer.unsigned(lengthBytes)
    end = start + lengthBytes
  }
  const bytes = writer.take()
  const check = Buffer.alloc(CRC_BYTES)
  check.writeUInt32BE(crc32(bytes))
  return Buffer.concat([bytes, check])
}

/** @throws {UnpackageableError} damaged: these bytes are no block. */
export function decodeBlock(bytes: Uint8Array): SegmentSamples {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const content = bytes.subarray(0, Math.max(0, bytes.byteLength - CRC_BYTES))
  if (bytes.byteLength < CRC_BYTES || view.getUint32(content.byteLength) !== crc32(content)) {
    throw damaged('its index is not as it was written')
  }
  const reader = new VarintReader(content)
  const count = reader.count()
  if (count > RUN_SAMPLES_MAX) throw damaged('a segment of its index has too many samples')
  const dts = reader.unsigned()
  const sizes = new Uint32Array(count)
  const durations = new Uint32Array(count)
  const shifts = new Int32Array(count)
  const keys = new Uint8Array(count)
  let dataBytes = 0
  for (let index = 0; index < count; index++) {
    sizes[index] = reader.unsigned()
    if (sizes[index]! > SAMPLE_BYTES_MAX) throw damaged('a sample of its index is too large')
    dataBytes += sizes[index]!
  }
  for (let index = 0; index < count;) {
    const same = reader.unsigned()
    const duration = reader.unsigned()
    if (same === 0 || index + same > count) throw damaged('durations of its index do not fit')
    durations.fill(duration, index, index + same)
    index += same
  }
  if (reader.unsigned() === 1) for (let index = 0; index < count; index++) shifts[index] = reader.signed()
  let key = 0
  const others = reader.unsigned()
  if (others === 0) keys.fill(1)
  for (let left = others; left > 0; left--) {
    key += reader.unsigned()
    if (key >= count) throw damaged('key frames of its index do not fit')
    keys[key] = 1
  }
  const silent = reader.unsigned()
  const frame = new Uint8Array(silent > 0 ? reader.count() : 0)
  for (let index = 0; index < frame.byteLength; index++) frame[index] = reader.unsigned()
  if (silent > count) throw damaged('silence of its index does not fit')
  dataBytes -= silent * frame.byteLength
  const pieces: Piece[] = []
  let end = 0
  for (let left = reader.count(); left > 0; left--) {
    const start = end + reader.signed()
    const lengthBytes = reader.unsigned()
    end = start + lengthBytes
    if (start < 0 || !Number.isSafeInteger(end)) throw damaged('places of its index make no sense')
    dataBytes -= lengthBytes
    pieces.push({ start, lengthBytes })
  }
  if (dataBytes !== 0) throw damaged('places and sizes of its index contradict each other')
  const silence = silent > 0 ? { frame, count: silent } : undefined
  return { dts, sizes, durations, shifts, keys, silence, pieces }
}

/** What goes before the bytes of the film. */
export function silentBytes({ frame, count }: Silence): Uint8Array {
  const bytes = new Uint8Array(frame.byteLength * count)
  for (let index = 0; index < count; index++) bytes.set(frame, index * frame.byteLength)
  return bytes
}

function some(values: ArrayLike<number>, unless: number): boolean {
  for (let index = 0; index < values.length; index++) if (values[index] !== unless) return true
  return false
}

function indexesOf(keys: ArrayLike<number>): number[] {
  const indexes: number[] = []
  for (let index = 0; index < keys.length; index++) if (keys[index] !== 0) indexes.push(index)
  return indexes
}
