/**
 * The index of a film: made once, and then enough to make every playlist at once, and every segment by reading a few
 * kilobytes of it and the segment's own bytes of the film.
 *
 *   offset  size  field
 *        0     8  magic        "TRIBFILM"
 *        8     2  version      u16
 *       10     2  reserved     0
 *       12     4  headBytes    u32  deflated JSON
 *       16     4  headCrc      u32  CRC-32 of those bytes
 *       20     4  reserved     0
 *       24     …  head
 *        …     …  blocks       of samples, one a segment: all of the first track, then of the next (sample-block.ts)
 */
import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib'
import type { ByteSource } from './byte-source.ts'
import { beyondLimits, damaged, unsupported } from './errors.ts'
import type { Film } from './film.ts'
import type { FilmFacts, TrackFacts } from './film-facts.ts'
import { initSegment } from './init-segment.ts'
import { segmentBytes, segmentHead } from './media-segment.ts'
import { isPacked, PACKED_HEAD_BYTES, packedHead } from './packed-audio.ts'
import {
  BLOCK_BYTES_MAX,
  cutSamples,
  decodeBlock,
  encodeBlock,
  silentBytes,
  type SegmentSamples
} from './sample-block.ts'
import { sampleEntry } from './sample-entry.ts'
import type { Piece } from './sample-table.ts'
import type { PackagedCodec, ScannedTrack } from './scanned-film.ts'
import {
  boundariesBehind,
  cutPicture,
  cutSound,
  soundBoundaries,
  windingFrames,
  type Cut
} from './segmentation.ts'
import { fillBeginning } from './silence.ts'
import { placeTracks, type PlacedTrack } from './timeline.ts'

const MAGIC = 'TRIBFILM'
export const INDEX_VERSION = 2
/** Changes whenever segments come out otherwise than before: it is part of their addresses. */
export const PACKAGING_VERSION = 2
const PREAMBLE_BYTES = 24
const HEAD_BYTES_MAX = 32 * 1024 * 1024
const HEAD_JSON_BYTES_MAX = 128 * 1024 * 1024
/** A segment is sent as it is read; what is beyond this has its key frames too far apart to be streamed. */
export const SEGMENT_BYTES_MAX = 512 * 1024 * 1024
const SEGMENTS_MAX = 200_000
const PACKAGED = new Set<string>(['avc', 'hevc', 'vp9', 'av1', 'aac', 'mp3', 'opus', 'flac'])

/** Pictures that a player shows while it winds, in columns. */
export interface WindingFrames {
  segments: number[]
  /** Number of the sample within its segment. */
  ordinals: number[]
  /** On the film's clock, in ticks. */
  times: number[]
  /** Of the segment that has this picture alone. */
  bytes: number[]
}

/** A track as it is packaged. Columns have a value for each of its segments; where it has no samples it has no segment. */
export interface IndexTrack {
  /** As the container numbers it; a name of the track in addresses. */
  id: number
  kind: 'video' | 'audio'
  /** RFC 6381, of the segments. */
  codec: string
  codecName: PackagedCodec
  timescale: number
  mediaStart: number
  /** Ticks on the film's clock at which each segment begins. */
  starts: number[]
  /** At which the last one ends. */
  end: number
  /** Of each segment as HLS has it, with its head. */
  bytes: number[]
  samples: number[]
  /** Byte after the last one of the film that each segment needs; only of a film that grows. */
  needs: number[] | undefined
  blockBytes: number[]
  winding: WindingFrames | undefined
  /** Base64. */
  init: string
  frameRateMax: number | null
}

export interface IndexHead {
  packaging: number
  facts: FilmFacts
  /** Bytes of the film that were there when the index was made. */
  sizeBytes: number
  /** More of the film may come. */
  growing: boolean
  /** No segment needs another one to be decoded. */
  independent: boolean
  /** Seconds at which segments begin on the film's clock; the first is 0. */
  boundaries: number[]
  durationS: number
  tracks: IndexTrack[]
}

export interface IndexOptions {
  /** Cuts a rendition where its original is cut; `boundaries` of that one's index. */
  boundaries?: readonly number[]
}

/**
 * Reads through the film and makes its index.
 *
 * @throws {UnpackageableError} it cannot be packaged; of a rendition also: its key frames are not where they should be
 */
export async function makeIndex(film: Film, options: IndexOptions = {}): Promise<Buffer> {
  const scanned = await film.scan()
  const facts = structuredClone(film.facts)
  const chosen = chooseTracks(scanned.tracks, facts, film.growing)
  const placed = placeTracks(chosen.map(({ track }) => track))
  for (const [index, track] of placed.entries()) fillBeginning(track, chosen[index]!.facts)
  const picture = placed.find(({ scanned: { kind } }) => kind === 'video')
  let boundaries: readonly number[]
  let independent = true
  const cuts = new Map<PlacedTrack, Cut[]>()
  if (picture) {
    const cut = cutPicture(picture, options.boundaries)
    if (cut === undefined) throw unsupported('its key frames are not where those of the original are')
    boundaries =
      options.boundaries ?? cut.starts.map((start, index) => (index === 0 ? 0 : start / picture.timescale))
    independent = cut.independent
    cuts.set(picture, cut.cuts)
  } else boundaries = options.boundaries ?? soundBoundaries(placed[0]!)
  if (boundaries.length > SEGMENTS_MAX) throw beyondLimits(`it would have ${boundaries.length} segments`)
  const open = film.growing && (scanned.incomplete || scanned.openEnded)
  const whole = open && scanned.openEnded ? arrivedSegments(placed, boundaries) : boundaries.length
  if (whole === 0) throw damaged('too little of it has arrived')
  const soundBounds = [...boundaries, ...boundariesBehind(placed, boundaries.at(-1)!)]
  const blocks: Buffer[] = []
  const tracks = placed.map((track, index) => {
    const { facts: trackFacts, codec } = chosen[index]!
    const trackCuts = cuts.get(track) ?? cutSound(track, soundBounds)
    const arrived = whole < boundaries.length ? trackCuts.slice(0, whole) : trackCuts
    const described = describe(track, arrived, trackFacts, codec, film.growing, blocks)
    // The segment that is still arriving begins where the last one of these ends.
    const next = trackCuts[arrived.length]
    if (next) described.end = track.samples.pts(next.first) - track.mediaStart
    return described
  })
  const durationS = Math.max(...tracks.map(({ end, timescale }) => end / timescale))
  facts.durationS = durationS
  facts.bitRate = Math.round((film.sizeBytes * 8) / Math.max(durationS, 0.001))
  const head: IndexHead = {
    packaging: PACKAGING_VERSION,
    facts,
    sizeBytes: film.sizeBytes,
    growing: open,
    independent,
    boundaries: boundaries.slice(0, whole),
    durationS,
    tracks
  }
  return encode(head, blocks)
}

/** Segments of which every track has all. */
function arrivedSegments(tracks: readonly PlacedTrack[], boundaries: readonly number[]): number {
  const reached = Math.min(
    ...tracks.map(
      ({ samples, mediaStart, timescale }) => (samples.pts(samples.count - 1) - mediaStart) / timescale
    )
  )
  let count = 0
  while (count + 1 < boundaries.length && boundaries[count + 1]! <= reached) count++
  return count
}

interface Chosen {
  track: ScannedTrack
  facts: TrackFacts
  codec: PackagedCodec
}

/** One picture and all its sound; who is left out is told why, and without a picture or a sound of its own nothing is packaged. */
function chooseTracks(tracks: readonly ScannedTrack[], facts: FilmFacts, growing: boolean): Chosen[] {
  const chosen: Chosen[] = []
  const unknown = new Set(tracks)
  /** By kind, why the first one was refused that is missed. */
  const missed = new Map<string, string>()
  const refuse = (kind: string, reason: string): void => {
    if (!missed.has(kind)) missed.set(kind, reason)
  }
  for (const trackFacts of facts.tracks) {
    const byId = tracks.find(({ id, kind }) => id === trackFacts.id && kind === trackFacts.kind)
    const track = byId ?? (tracks.length === 1 && facts.tracks.length === 1 ? tracks[0] : undefined)
    if (trackFacts.kind === 'subtitle') continue
    if (track) unknown.delete(track)
    if (track?.sampleEntryType === '.mp3') nameMp3(trackFacts, track)
    const { codecName, codec } = trackFacts
    if (track === undefined) trackFacts.refusal = 'it is not described as it should be'
    else if (track.refusal !== undefined) trackFacts.refusal = track.refusal
    else if (codecName === null || codec === null || !PACKAGED.has(codecName)) {
      trackFacts.refusal = `the codec ${codecName ?? 'of it'} is none that is packaged`
    } else if (track.samples.count === 0) {
      trackFacts.refusal = 'it is empty'
      // Recorders make a track for a microphone that nobody had: nothing is missing without it, once all has come.
      if (!growing) continue
    } else chosen.push({ track, facts: trackFacts, codec: codecName as PackagedCodec })
    // Stills of chapters, beside the sound of a podcast: players do not show them by themselves.
    const isBeside = STILLS.has(track?.sampleEntryType ?? '') && !trackFacts.default
    if (trackFacts.refusal !== null && !isBeside) refuse(trackFacts.kind, trackFacts.refusal)
  }
  for (const { kind, refusal } of unknown) if (refusal !== undefined) refuse(kind, refusal)
  const pictures = chosen.filter(({ track }) => track.kind === 'video')
  const picture = pictures.find(({ facts: { default: first } }) => first) ?? pictures[0]
  for (const other of pictures) if (other !== picture) other.facts.refusal = 'a film has one picture'
  const sound = chosen.filter(({ track }) => track.kind === 'audio')
  const [noPicture, noSound] = [missed.get('video'), missed.get('audio')]
  if (!picture && noPicture) throw unsupported(`its picture cannot be packaged: ${noPicture}`)
  if (sound.length === 0 && noSound) throw unsupported(`its sound cannot be packaged: ${noSound}`)
  if (!picture && sound.length === 0) throw unsupported('there is neither picture nor sound in it')
  return picture ? [picture, ...sound] : sound
}

/** Sample entries of pictures that stand still. */
const STILLS = new Set(['jpeg', 'png '])

/** QuickTime's own name of MP3, which the reader of facts has not heard of. */
function nameMp3(facts: TrackFacts, { timescale }: ScannedTrack): void {
  facts.codecName = 'mp3'
  facts.codec = 'mp3'
  facts.sampleRate ??= timescale
}

function describe(
  track: PlacedTrack,
  cuts: readonly Cut[],
  facts: TrackFacts,
  codecName: PackagedCodec,
  growing: boolean,
  blocks: Buffer[]
): IndexTrack {
  const { samples, timescale, mediaStart, scanned } = track
  if (codecName === 'vp9' && scanned.configuration === undefined) facts.codec = vpCodec(facts)
  const entry = sampleEntry(scanned, codecName, facts)
  const starts: number[] = []
  const bytes: number[] = []
  const counts: number[] = []
  const needs: number[] = []
  const blockBytes: number[] = []
  let end = 0
  for (const cut of cuts) {
    if (cut.end <= cut.first) continue
    const run = cutSamples(samples, cut)
    const size = segmentBytes(run)
    if (size > SEGMENT_BYTES_MAX)
      throw beyondLimits(`its key frames are so far apart that a segment has ${size} bytes`)
    let start = Number.POSITIVE_INFINITY
    for (let index = cut.first; index < cut.end; index++) {
      start = Math.min(start, samples.pts(index) - mediaStart)
      end = Math.max(end, samples.pts(index) - mediaStart + samples.durations[index]!)
    }
    const block = encodeBlock(run)
    if (block.byteLength > BLOCK_BYTES_MAX) throw beyondLimits('a segment of it has too many samples')
    starts.push(start)
    bytes.push(isPacked({ codecName }) ? size - headBytesOf(run) + PACKED_HEAD_BYTES : size)
    counts.push(cut.end - cut.first)
    needs.push(run.pieces.reduce((most, piece) => Math.max(most, piece.start + piece.lengthBytes), 0))
    blockBytes.push(block.byteLength)
    blocks.push(block)
  }
  const type = Buffer.from(entry.buffer, entry.byteOffset, entry.byteLength).toString('latin1', 4, 8)
  const codec = codecString(facts.codec!, codecName, type)
  const durationS = end / timescale
  const totalBytes = sum(samples.sizes.subarray(0, samples.count))
  facts.durationS = durationS
  facts.bitRate = Math.round((totalBytes * 8) / Math.max(durationS, 0.001))
  let frameRateMax: number | null = null
  if (scanned.kind === 'video') {
    facts.frameRate = rounded(
      (samples.count - track.unseen) / Math.max(durationS - Math.max(0, starts[0]!) / timescale, 0.001)
    )
    frameRateMax = fastest(track, cuts, starts, end)
  }
  const turned = facts.rotation === 90 || facts.rotation === 270
  const init = initSegment({
    kind: scanned.kind,
    timescale,
    mediaStart,
    sampleEntry: entry,
    matrix: scanned.kind === 'video' ? scanned.matrix : undefined,
    width: (turned ? facts.height : facts.width) ?? 0,
    height: (turned ? facts.width : facts.height) ?? 0,
    language: facts.language
  })
  return {
    id: facts.id,
    kind: scanned.kind,
    codec,
    codecName,
    timescale,
    mediaStart,
    starts,
    end,
    bytes,
    samples: counts,
    needs: growing ? needs : undefined,
    blockBytes,
    winding: scanned.kind === 'video' ? winding(track, cuts) : undefined,
    init: Buffer.from(init).toString('base64'),
    frameRateMax
  }
}

/** RFC 6381's string must name the sample entry that we wrote. */
function codecString(codec: string, name: PackagedCodec, entryType: string): string {
  if (name === 'avc' || name === 'hevc') return codec.replace(/^[^.]*/, entryType)
  return name === 'mp3' ? 'mp4a.40.34' : codec
}

/** What the container says of the colours is more than VP9 itself can say: it has no word for a high dynamic range. */
function vpCodec({ codec, color }: TrackFacts): string {
  const parts = codec!.split('.')
  if (color === undefined || parts.length < 9) return codec!
  const said = [color.primaries, color.transfer, color.matrix]
  for (const [index, value] of said.entries()) {
    if (value !== 2) parts[5 + index] = String(value).padStart(2, '0')
  }
  return parts.join('.')
}

/** Pictures per second: the usual number where all last as long, else that of the liveliest segment. */
function fastest(
  { samples, timescale, unseen }: PlacedTrack,
  cuts: readonly Cut[],
  starts: readonly number[],
  end: number
): number {
  let first = unseen
  // Seen, but decoded before one that is not.
  if (unseen > 0) while (first + 1 < samples.count && samples.durations[first] === 1) first++
  const durations = samples.durations.subarray(first, samples.count)
  const usual = sum(durations) / durations.length
  let even = true
  for (let index = 0; index < durations.length - 1; index++) {
    if (Math.abs(durations[index]! - usual) > Math.max(1, usual * 0.02)) even = false
  }
  if (even) return rounded(timescale / usual)
  let most = 0
  for (const [index, cut] of cuts.entries()) {
    const ticks = (starts[index + 1] ?? end) - starts[index]!
    if (ticks > 0) most = Math.max(most, ((cut.end - Math.max(cut.first, unseen)) * timescale) / ticks)
  }
  return rounded(most)
}

function winding(track: PlacedTrack, cuts: readonly Cut[]): WindingFrames {
  const { samples, mediaStart } = track
  const columns: WindingFrames = { segments: [], ordinals: [], times: [], bytes: [] }
  let segment = 0
  for (const index of windingFrames(track, cuts)) {
    while (index >= cuts[segment]!.end) segment++
    columns.segments.push(segment)
    columns.ordinals.push(index - cuts[segment]!.first)
    columns.times.push(samples.pts(index) - mediaStart)
    columns.bytes.push(segmentBytes(cutSamples(samples, { first: index, end: index + 1 })))
  }
  return columns
}

function encode(head: IndexHead, blocks: readonly Buffer[]): Buffer {
  const deflated = deflateRawSync(JSON.stringify(head))
  if (deflated.byteLength > HEAD_BYTES_MAX) throw beyondLimits('its index would be too large')
  const preamble = Buffer.alloc(PREAMBLE_BYTES)
  preamble.write(MAGIC, 0, 'latin1')
  preamble.writeUInt16BE(INDEX_VERSION, 8)
  preamble.writeUInt32BE(deflated.byteLength, 12)
  preamble.writeUInt32BE(crc32(deflated), 16)
  return Buffer.concat([preamble, deflated, ...blocks])
}

/** What is to be sent for a segment: its head, and then pieces of the film. */
export interface SegmentPlan {
  head: Uint8Array
  pieces: Piece[]
  totalBytes: number
}

/** An index that is being used: its head in memory, its blocks read when they are needed. */
export class FilmIndex {
  readonly head: IndexHead
  readonly #source: ByteSource
  /** For each track, where the block of each segment begins. */
  readonly #places: number[][]

  private constructor(head: IndexHead, source: ByteSource, blocksStart: number) {
    this.head = head
    this.#source = source
    let at = blocksStart
    this.#places = head.tracks.map(({ blockBytes }) =>
      blockBytes.map(size => {
        const place = at
        at += size
        return place
      })
    )
    if (at !== source.sizeBytes) throw damaged('its index is not as long as it should be')
  }

  /**
   * @param source  the bytes that `makeIndex` made
   * @throws {UnpackageableError} damaged: they are no index, or of another version
   */
  static async open(source: ByteSource): Promise<FilmIndex> {
    if (source.sizeBytes < PREAMBLE_BYTES) throw damaged('its index is cut off')
    const preamble = Buffer.from(await source.read(0, PREAMBLE_BYTES))
    if (preamble.toString('latin1', 0, 8) !== MAGIC) throw damaged('its index is none')
    const version = preamble.readUInt16BE(8)
    if (version !== INDEX_VERSION)
      throw damaged(`its index has version ${version}, and ${INDEX_VERSION} is read here`)
    const headBytes = preamble.readUInt32BE(12)
    const end = PREAMBLE_BYTES + headBytes
    if (headBytes > HEAD_BYTES_MAX || end > source.sizeBytes) throw damaged('its index is cut off')
    const deflated = await source.read(PREAMBLE_BYTES, end)
    if (crc32(deflated) !== preamble.readUInt32BE(16)) throw damaged('its index is not as it was written')
    const json = inflateRawSync(deflated, { maxOutputLength: HEAD_JSON_BYTES_MAX }).toString()
    const head = JSON.parse(json) as IndexHead
    if (head.packaging !== PACKAGING_VERSION)
      throw damaged('its index was made by another version of the packager')
    return new FilmIndex(head, source, end)
  }

  track(id: number): IndexTrack | undefined {
    return this.head.tracks.find(track => track.id === id)
  }

  initSegment(track: IndexTrack): Buffer {
    return Buffer.from(track.init, 'base64')
  }

  /** @returns undefined: the track has no such segment. */
  async segment(track: IndexTrack, number: number): Promise<SegmentPlan | undefined> {
    if (!Object.hasOwn(track.bytes, number)) return undefined
    const run = await this.#block(track, number)
    return planOf(run, number + 1)
  }

  /** The same as HLS has it, where a track goes without a container. */
  async packedSegment(track: IndexTrack, number: number): Promise<SegmentPlan | undefined> {
    if (!isPacked(track) || !Object.hasOwn(track.bytes, number)) return undefined
    const { pieces } = await this.#block(track, number)
    const head = packedHead(track.starts[number]! / track.timescale)
    return { head, pieces, totalBytes: sizeOf(head, pieces) }
  }

  /** The `number`-th picture of the I-frame playlist as a segment of its own. */
  async windingFrame(track: IndexTrack, number: number): Promise<SegmentPlan | undefined> {
    const { winding: frames } = track
    const segment = frames?.segments[number]
    if (frames === undefined || segment === undefined) return undefined
    const run = await this.#block(track, segment)
    return planOf(oneOf(run, frames.ordinals[number]!), number + 1)
  }

  async #block(track: IndexTrack, number: number): Promise<SegmentSamples> {
    const at = this.head.tracks.findIndex(({ id, kind }) => id === track.id && kind === track.kind)
    const start = this.#places[at]![number]!
    return decodeBlock(await this.#source.read(start, start + this.head.tracks[at]!.blockBytes[number]!))
  }
}

function planOf(run: SegmentSamples, sequence: number): SegmentPlan {
  const { pieces, silence } = run
  const begin = segmentHead(run, sequence)
  const head = silence ? Buffer.concat([begin, silentBytes(silence)]) : begin
  return { head, pieces, totalBytes: sizeOf(head, pieces) }
}

function sizeOf(head: Uint8Array, pieces: readonly Piece[]): number {
  return pieces.reduce((total, { lengthBytes }) => total + lengthBytes, head.byteLength)
}

function headBytesOf(run: SegmentSamples): number {
  return segmentBytes(run) - sum(run.sizes)
}

function oneOf(run: SegmentSamples, ordinal: number): SegmentSamples {
  let dts = run.dts
  let skipBytes = 0
  for (let index = 0; index < ordinal; index++) {
    dts += run.durations[index]!
    skipBytes += run.sizes[index]!
  }
  const pieces: Piece[] = []
  let left = run.sizes[ordinal]!
  for (const { start, lengthBytes } of run.pieces) {
    const skipped = Math.min(skipBytes, lengthBytes)
    skipBytes -= skipped
    const taken = Math.min(left, lengthBytes - skipped)
    left -= taken
    if (taken > 0) pieces.push({ start: start + skipped, lengthBytes: taken })
  }
  const pick = (values: ArrayLike<number>): number[] => [values[ordinal]!]
  return {
    dts,
    sizes: pick(run.sizes),
    durations: pick(run.durations),
    shifts: pick(run.shifts),
    keys: pick(run.keys),
    silence: undefined,
    pieces
  }
}

/** Whole bytes as a source. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    sizeBytes: bytes.byteLength,
    read: (start, end) => Promise.resolve(bytes.subarray(start, end))
  }
}

/** An index that is in memory as a whole. */
export function readIndex(bytes: Uint8Array): Promise<FilmIndex> {
  return FilmIndex.open(bytesSource(bytes))
}

/** A segment as one piece of memory. */
export async function cutSegment(plan: SegmentPlan, film: ByteSource): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(plan.totalBytes)
  bytes.set(plan.head)
  let at = plan.head.byteLength
  for (const { start, lengthBytes } of plan.pieces) {
    bytes.set(await film.read(start, start + lengthBytes), at)
    at += lengthBytes
  }
  return bytes
}

function sum(values: ArrayLike<number>): number {
  let total = 0
  for (let index = 0; index < values.length; index++) total += values[index]!
  return total
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000
}
