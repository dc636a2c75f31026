/** MKV and WebM: every block of the file, as nothing in it says where they all are. RFC 9559. */
import { aacConfiguration, FRAME_HEAD_BYTES, frameTicks } from './audio-frames.ts'
import type { BudgetedSource } from './byte-source.ts'
import { orderByPresentation } from './decoding-order.ts'
import { beyondLimits, damaged } from './errors.ts'
import {
  bodyOf,
  childElements,
  ELEMENT_HEADER_BYTES_MAX,
  float,
  latin1,
  readId,
  readSize,
  unsigned,
  type Element
} from './ebml.ts'
import { viewOf } from './isobmff-boxes.ts'
import { concatenated } from './isobmff-scan.ts'
import { lightBoxes } from './matroska-light.ts'
import { SampleTable } from './sample-table.ts'
import type { PackagedCodec, ScannedFilm, ScannedTrack, ScanOptions } from './scanned-film.ts'

const ID = {
  ebml: 0x1a45_dfa3,
  segment: 0x1853_8067,
  info: 0x1549_a966,
  timestampScale: 0x2a_d7b1,
  tracks: 0x1654_ae6b,
  trackEntry: 0xae,
  trackNumber: 0xd7,
  trackType: 0x83,
  codecId: 0x86,
  codecPrivate: 0x63a2,
  codecDelay: 0x56aa,
  defaultDuration: 0x23_e383,
  contentEncodings: 0x6d80,
  contentEncoding: 0x6240,
  contentEncodingScope: 0x5032,
  contentEncodingType: 0x5033,
  contentCompression: 0x5034,
  contentCompAlgorithm: 0x4254,
  contentCompSettings: 0x4255,
  video: 0xe0,
  audio: 0xe1,
  samplingFrequency: 0xb5,
  cluster: 0x1f43_b675,
  timestamp: 0xe7,
  simpleBlock: 0xa3,
  blockGroup: 0xa0,
  block: 0xa1,
  blockDuration: 0x9b,
  referenceBlock: 0xfb
} as const

/** Elements that stand in a segment: where one of them begins, a cluster of unknown size has ended. */
const LEVEL_1 = new Set<number>([
  ID.info,
  ID.tracks,
  ID.cluster,
  0x114d_9b74, // SeekHead
  0x1c53_bb6b, // Cues
  0x1941_a469, // Attachments
  0x1043_a770, // Chapters
  0x1254_c367 // Tags
])

const TRACKS_BYTES_MAX = 16 * 1024 * 1024
const INFO_BYTES_MAX = 1024 * 1024
const TRACKS_MAX = 64
const ELEMENTS_MAX = 20_000_000
const BLOCK_HEADER_BYTES_MAX = 4 + 8 + 1 + 256 * 8
/** Times in the file are rounded to its clock: frames follow each other exactly until they are further off than this. */
const AUDIO_JITTER_MS = 20

const CODECS: Record<string, { kind: 'video' | 'audio'; codec: PackagedCodec }> = {
  'V_MPEG4/ISO/AVC': { kind: 'video', codec: 'avc' },
  'V_MPEGH/ISO/HEVC': { kind: 'video', codec: 'hevc' },
  V_VP9: { kind: 'video', codec: 'vp9' },
  V_AV1: { kind: 'video', codec: 'av1' },
  A_OPUS: { kind: 'audio', codec: 'opus' },
  A_FLAC: { kind: 'audio', codec: 'flac' },
  'A_MPEG/L3': { kind: 'audio', codec: 'mp3' }
}

interface MatroskaTrack extends ScannedTrack {
  codec: PackagedCodec | undefined
  defaultDurationNs: number
  codecDelayNs: number
  /** What every frame begins with, and the file has once. */
  front: Uint8Array
  /** Of sound: where the next frame is expected, in ticks; NaN before the first. */
  expected: number
}

export async function scanMatroska(source: BudgetedSource, { growing }: ScanOptions): Promise<ScannedFilm> {
  const scan = new MatroskaScan(source, growing)
  return scan.run()
}

class MatroskaScan {
  readonly #source: BudgetedSource
  readonly #growing: boolean
  readonly #tracks = new Map<number, MatroskaTrack>()
  #timestampScaleNs = 1_000_000
  #elements = 0
  #incomplete = false

  constructor(source: BudgetedSource, growing: boolean) {
    this.#source = source
    this.#growing = growing
  }

  async run(): Promise<ScannedFilm> {
    const { sizeBytes } = this.#source
    let at = 0
    while (at < sizeBytes) {
      const element = await this.#element(at, sizeBytes)
      if (element === undefined) break
      const end = element.end ?? sizeBytes
      if (element.id === ID.segment) {
        if (end > sizeBytes) this.#cutOff(end)
        await this.#segment(element.start, Math.min(end, sizeBytes))
        break // what follows the first segment is another film
      }
      at = end
    }
    if (this.#tracks.size === 0) throw damaged('it has no tracks')
    for (const track of this.#tracks.values()) this.#finish(track)
    return { tracks: [...this.#tracks.values()], incomplete: this.#incomplete, openEnded: true }
  }

  #cutOff(end: number): void {
    if (!this.#growing) {
      throw damaged(
        `it is cut off: it has ${this.#source.sizeBytes} bytes, and says that it has at least ${end}`
      )
    }
    this.#incomplete = true
  }

  /** A header of an element; undefined where there is room for none. */
  async #element(
    at: number,
    limit: number
  ): Promise<{ id: number; start: number; end: number | undefined } | undefined> {
    if (++this.#elements > ELEMENTS_MAX) throw beyondLimits(`it has more than ${ELEMENTS_MAX} elements`)
    let head = this.#source.view(at, Math.min(at + ELEMENT_HEADER_BYTES_MAX, limit))
    if (!(head instanceof Uint8Array)) head = await head
    const id = readId(head)
    if (id === undefined) {
      if (head.byteLength < 4 && this.#growing) return undefined
      throw damaged(`there is no element at byte ${at}`)
    }
    const size = readSize(head, id.bytes)
    if (size === undefined) {
      if (head.byteLength < ELEMENT_HEADER_BYTES_MAX && this.#growing) return undefined
      throw damaged(`the element at byte ${at} has no size`)
    }
    const start = at + id.bytes + size.bytes
    return { id: id.value, start, end: size.value === undefined ? undefined : start + size.value }
  }

  async #segment(start: number, limit: number): Promise<void> {
    for (let at = start; at < limit;) {
      const element = await this.#element(at, limit)
      if (element === undefined) {
        this.#incomplete = true
        return
      }
      const { id, end } = element
      if (id === ID.cluster) {
        if (this.#tracks.size === 0) throw damaged('its content comes before its tracks')
        at = await this.#cluster(element.start, end, limit)
        continue
      }
      if (end === undefined) throw damaged('an element has no end')
      if (end > limit) {
        this.#cutOff(end)
        return
      }
      if (id === ID.info) {
        const info = childElements(await this.#read(element.start, end, INFO_BYTES_MAX))
        const scale = info.find(child => child.id === ID.timestampScale)
        if (scale) this.#timestampScaleNs = unsigned(scale.body)
        if (this.#timestampScaleNs === 0 || this.#timestampScaleNs > 1e9)
          throw damaged('its clock makes no sense')
      } else if (id === ID.tracks) {
        const entries = await this.#read(element.start, end, TRACKS_BYTES_MAX)
        for (const { id: kind, body, start: place } of childElements(entries, element.start)) {
          if (kind === ID.trackEntry) this.#addTrack(childElements(body, place))
        }
      }
      at = end
    }
  }

  async #read(start: number, end: number, bytesMax: number): Promise<Uint8Array> {
    if (end - start > bytesMax) throw beyondLimits(`a table of it has ${end - start} bytes`)
    return this.#source.view(start, end)
  }

  #addTrack(fields: readonly Element[]): void {
    const field = (id: number): Uint8Array | undefined => bodyOf(fields, id)
    const type = unsigned(field(ID.trackType) ?? NOTHING)
    if (type !== 1 && type !== 2) return
    if (this.#tracks.size === TRACKS_MAX) throw beyondLimits(`it has more than ${TRACKS_MAX} tracks`)
    const number = unsigned(field(ID.trackNumber) ?? NOTHING)
    const codecId = latin1(field(ID.codecId) ?? NOTHING)
    const codec = codecId.startsWith('A_AAC') ? AAC : CODECS[codecId]
    const kind = type === 1 ? 'video' : 'audio'
    const track: MatroskaTrack = {
      id: number,
      kind,
      codec: codec?.codec,
      timescale: 0,
      samples: new SampleTable(),
      origin: 0,
      configuration: undefined,
      codecPrivate: field(ID.codecPrivate)?.slice(),
      sampleEntryType: undefined,
      matrix: undefined,
      light: kind === 'video' ? lightBoxes(field(ID.video) ?? NOTHING) : undefined,
      refusal:
        codec?.kind === kind ? undefined : `the codec ${codecId.slice(0, 40)} is none that is packaged`,
      defaultDurationNs: unsigned(field(ID.defaultDuration) ?? NOTHING),
      codecDelayNs: unsigned(field(ID.codecDelay) ?? NOTHING),
      front: NOTHING,
      expected: Number.NaN
    }
    const encodings = fields.find(({ id }) => id === ID.contentEncodings)
    if (encodings) takeEncodings(track, childElements(encodings.body, encodings.start))
    const audio = childElements(field(ID.audio) ?? NOTHING)
    track.timescale =
      kind === 'video' ? this.#pictureTimescale() : audioTimescale(track, audio) || this.#pictureTimescale()
    this.#tracks.set(number, track)
  }

  /** The file's own clock, where it has a whole number of ticks a second. */
  #pictureTimescale(): number {
    const ticks = 1e9 / this.#timestampScaleNs
    return Number.isInteger(ticks) && ticks <= 1_000_000 ? ticks : 90_000
  }

  /** @returns where the next element of the segment begins. */
  async #cluster(start: number, end: number | undefined, limit: number): Promise<number> {
    let clusterTime = 0
    const stop = Math.min(end ?? limit, limit)
    let at = start
    while (at < stop) {
      const element = await this.#element(at, stop)
      if (element === undefined) {
        this.#incomplete = true
        return limit
      }
      if (end === undefined && LEVEL_1.has(element.id)) return at
      const elementEnd = element.end
      if (elementEnd === undefined) throw damaged('an element of a cluster has no end')
      if (elementEnd > stop) {
        if (stop < limit) throw damaged('an element reaches beyond its cluster')
        this.#cutOff(elementEnd)
        return limit
      }
      if (element.id === ID.timestamp) {
        clusterTime = unsigned(await this.#read(element.start, elementEnd, 16))
      } else if (element.id === ID.simpleBlock) {
        await this.#block(element.start, elementEnd, clusterTime, undefined, undefined)
      } else if (element.id === ID.blockGroup) {
        await this.#blockGroup(element.start, elementEnd, clusterTime)
      }
      at = elementEnd
    }
    if (end !== undefined && end > limit) this.#cutOff(end)
    return at
  }

  async #blockGroup(start: number, end: number, clusterTime: number): Promise<void> {
    let block: { start: number; end: number } | undefined
    let key = true
    let duration: number | undefined
    for (let at = start; at < end;) {
      const element = await this.#element(at, end)
      if (element?.end === undefined || element.end > end)
        throw damaged('an element reaches beyond its block group')
      if (element.id === ID.block) block = { start: element.start, end: element.end }
      else if (element.id === ID.referenceBlock) key = false
      else if (element.id === ID.blockDuration)
        duration = unsigned(await this.#read(element.start, element.end, 16))
      at = element.end
    }
    if (block) await this.#block(block.start, block.end, clusterTime, key, duration)
  }

  async #block(
    start: number,
    end: number,
    clusterTime: number,
    key: boolean | undefined,
    duration: number | undefined
  ): Promise<void> {
    let head = this.#source.view(start, Math.min(start + FIRST_LOOK_BYTES, end))
    if (!(head instanceof Uint8Array)) head = await head
    const number = readSize(head, 0)
    if (number?.value === undefined || head.byteLength < number.bytes + 3)
      throw damaged('a block has no header')
    const track = this.#tracks.get(number.value)
    if (track === undefined || track.refusal !== undefined) return
    const view = viewOf(head)
    const time = clusterTime + view.getInt16(number.bytes)
    const flags = head[number.bytes + 2]!
    const isKey = track.kind === 'audio' || (key ?? (flags & 0x80) !== 0)
    const lacing = (flags >> 1) & 3
    let at = start + number.bytes + 3
    if (lacing === 0) {
      await this.#frame(track, at, end - at, time, isKey, duration, head.subarray(number.bytes + 3))
      return
    }
    const laced = await this.#source.view(at, Math.min(at + BLOCK_HEADER_BYTES_MAX, end))
    const { sizes, headerBytes } = readLaces(laced, lacing, end - at)
    at += headerBytes
    const each = duration === undefined ? undefined : duration / sizes.length
    for (const [index, size] of sizes.entries()) {
      await this.#frame(track, at, size, index === 0 ? time : Number.NaN, isKey, each, undefined)
      at += size
    }
  }

  /** @param time  on the file's clock; NaN: right after the one before */
  async #frame(
    track: MatroskaTrack,
    offset: number,
    size: number,
    time: number,
    key: boolean,
    duration: number | undefined,
    seen: Uint8Array | undefined
  ): Promise<void> {
    const { samples, timescale, front } = track
    const ticks = this.#ticks(time, timescale)
    const spanTicks = duration === undefined ? 0 : this.#ticks(duration, timescale)
    if (track.kind === 'video') {
      // Decoding times come later, when all are known.
      samples.push(
        offset,
        front.byteLength + size,
        Number.isNaN(ticks) ? track.expected : ticks,
        0,
        spanTicks,
        key
      )
      track.expected = ticks
      return
    }
    const headBytes = Math.min(FRAME_HEAD_BYTES, size)
    const head =
      seen && seen.byteLength >= headBytes ? seen : await this.#source.view(offset, offset + headBytes)
    const begin = front.byteLength === 0 ? head : concatenated([front, head])
    const exact = frameTicks(track.codec!, begin, track.codecPrivate)
    const nominal = exact || spanTicks || Math.round((track.defaultDurationNs * timescale) / 1e9)
    const begins = this.#begin(track, ticks)
    samples.push(offset, front.byteLength + size, begins, 0, nominal, true)
    track.expected = begins + nominal
  }

  /** Where a frame of sound begins: exactly after the one before it, unless the file clearly says otherwise. */
  #begin({ samples, expected, timescale }: MatroskaTrack, ticks: number): number {
    if (Number.isNaN(expected)) return Number.isNaN(ticks) ? 0 : ticks
    if (Number.isNaN(ticks) || Math.abs(ticks - expected) * 1000 <= AUDIO_JITTER_MS * timescale)
      return expected
    const last = samples.count - 1
    const begins = Math.max(ticks, samples.dts[last]! + 1)
    samples.durations[last] = Math.min(begins - samples.dts[last]!, 0xffff_ffff)
    return begins
  }

  #ticks(time: number, timescale: number): number {
    return Math.round((time * this.#timestampScaleNs * timescale) / 1e9)
  }

  #finish(track: MatroskaTrack): void {
    const { samples, timescale } = track
    track.origin = Math.round((track.codecDelayNs * timescale) / 1e9)
    if (samples.count === 0) return
    if (track.kind === 'video') {
      // Of the last group of pictures some are missing, and without them the order of the others misleads.
      if (this.#incomplete) samples.count = 1 + samples.keys.subarray(0, samples.count).lastIndexOf(1)
      if (samples.count === 0) return
      orderByPresentation(samples, Math.round((track.defaultDurationNs * timescale) / 1e9))
      return
    }
    for (let index = 0; index < samples.count; index++) {
      if (samples.durations[index] !== 0) continue
      samples.durations[index] =
        index + 1 < samples.count
          ? Math.max(1, samples.dts[index + 1]! - samples.dts[index]!)
          : (samples.durations[index - 1] ?? 1)
    }
  }
}

const NOTHING = new Uint8Array(0)
const AAC = { kind: 'audio', codec: 'aac' } as const
/** Header of a block, and enough of its first frame to know how long that is. */
const FIRST_LOOK_BYTES = 12 + FRAME_HEAD_BYTES

const FRAME_SCOPE = 1
const HEADER_STRIPPING = 3

/** Old programs take away what all frames of a track begin with: it stands in the file once, and is put back from there. */
function takeEncodings(track: MatroskaTrack, encodings: readonly Element[]): void {
  const [encoding, other] = encodings.filter(({ id }) => id === ID.contentEncoding)
  const fields = encoding ? childElements(encoding.body, encoding.start) : []
  const numberOf = (list: readonly Element[], id: number, otherwise: number): number => {
    const body = bodyOf(list, id)
    return body ? unsigned(body) : otherwise
  }
  const compression = fields.find(({ id }) => id === ID.contentCompression)
  const settings = compression ? childElements(compression.body, compression.start) : []
  const front = settings.find(({ id }) => id === ID.contentCompSettings)
  const isStripped =
    other === undefined &&
    front !== undefined &&
    numberOf(fields, ID.contentEncodingType, 0) === 0 &&
    numberOf(fields, ID.contentEncodingScope, FRAME_SCOPE) === FRAME_SCOPE &&
    numberOf(settings, ID.contentCompAlgorithm, 0) === HEADER_STRIPPING
  if (!isStripped) {
    track.refusal ??= 'its content is compressed or encrypted by the container'
    return
  }
  track.front = front.body.slice()
  track.samples.front = { start: front.start, lengthBytes: front.body.byteLength }
}

/** Frames of sound count samples, so its clock is the sample rate. */
function audioTimescale({ codec, codecPrivate }: MatroskaTrack, audio: readonly Element[]): number {
  if (codec === 'opus') return 48_000
  if (codec === 'aac' && codecPrivate) {
    const configuration = aacConfiguration(codecPrivate)
    if (configuration) return configuration.sampleRate
  }
  const frequency = audio.find(({ id }) => id === ID.samplingFrequency)?.body
  const rate = frequency ? Math.round(float(frequency)) : 8_000
  return rate > 0 && rate <= 768_000 ? rate : 0
}

/** Sizes of the frames that a block has together. */
function readLaces(
  bytes: Uint8Array,
  lacing: number,
  totalBytes: number
): { sizes: number[]; headerBytes: number } {
  const count = (bytes[0] ?? 0) + 1
  const sizes: number[] = []
  let at = 1
  let sum = 0
  const add = (size: number): void => {
    sum += size
    if (size < 0 || sum > totalBytes) throw damaged('the frames of a block are larger than it')
    sizes.push(size)
  }
  if (lacing === 2) {
    const each = (totalBytes - 1) / count
    if (!Number.isInteger(each)) throw damaged('the frames of a block do not fill it')
    for (let index = 0; index < count; index++) add(each)
    return { sizes, headerBytes: 1 }
  }
  for (let index = 0; index < count - 1; index++) {
    if (lacing === 1) {
      let size = 0
      let byte: number
      do {
        byte = bytes[at++] ?? 0
        size += byte
      } while (byte === 255)
      add(size)
    } else {
      const field = readSize(bytes, at)
      if (field?.value === undefined) throw damaged('the frames of a block have no sizes')
      at += field.bytes
      add(index === 0 ? field.value : sizes[index - 1]! + field.value - (2 ** (7 * field.bytes - 1) - 1))
    }
  }
  add(totalBytes - at - sum)
  return { sizes, headerBytes: at }
}
