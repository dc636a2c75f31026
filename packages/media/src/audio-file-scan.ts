/** Files of sound alone: MP3, ADTS, FLAC, and Opus in Ogg. Frames are found by walking through all of them. */
import { FRAME_HEAD_BYTES, flacHeader, mpegAudioHeader, opusTicks } from './audio-frames.ts'
import type { BudgetedSource } from './byte-source.ts'
import { beyondLimits, damaged } from './errors.ts'
import { fourCharacters, viewOf } from './isobmff-boxes.ts'
import { SampleTable, type Piece } from './sample-table.ts'
import type { ScannedFilm, ScannedTrack } from './scanned-film.ts'

/** Bytes without a frame that are passed over: tags of unknown kinds, and damage. */
const JUNK_BYTES_MAX = 4 * 1024 * 1024
const FLAC_METADATA_BYTES_MAX = 64 * 1024 * 1024
const FLAC_FRAME_BYTES_MAX = 16 * 1024 * 1024
const OGG_PACKET_BYTES_MAX = 1024 * 1024
const SCAN_BYTES = 64 * 1024

function soundTrack(timescale: number): ScannedTrack {
  return {
    id: 1,
    kind: 'audio',
    timescale,
    samples: new SampleTable(),
    origin: 0,
    configuration: undefined,
    codecPrivate: undefined,
    sampleEntryType: undefined,
    matrix: undefined,
    light: undefined,
    refusal: undefined
  }
}

/** ID3v2 tags in front; more than one has been seen. */
async function afterId3(source: BudgetedSource): Promise<number> {
  let at = 0
  for (let tags = 0; tags < 8 && at + 10 <= source.sizeBytes; tags++) {
    const head = await source.view(at, at + 10)
    if (head[0] !== 0x49 || head[1] !== 0x44 || head[2] !== 0x33) break
    const size =
      ((head[6]! & 127) << 21) | ((head[7]! & 127) << 14) | ((head[8]! & 127) << 7) | (head[9]! & 127)
    at += 10 + size + ((head[5]! & 0x10) !== 0 ? 10 : 0)
  }
  return at
}

export async function scanMp3(source: BudgetedSource): Promise<ScannedFilm> {
  const { sizeBytes } = source
  let track: ScannedTrack | undefined
  let dts = 0
  let junkBytes = 0
  for (let at = await afterId3(source); at + 4 <= sizeBytes;) {
    let head = source.view(at, Math.min(at + 4, sizeBytes))
    if (!(head instanceof Uint8Array)) head = await head
    const frame = mpegAudioHeader(head)
    const fits = frame && at + frame.frameBytes <= sizeBytes
    if (!frame || !fits || (track && frame.sampleRate !== track.timescale)) {
      if (++junkBytes > JUNK_BYTES_MAX) break
      at++
      continue
    }
    if (track === undefined) {
      track = soundTrack(frame.sampleRate)
      const whole = await source.view(at, at + frame.frameBytes)
      if (isNote(whole, 4 + frame.sideBytes)) {
        // The frame with the encoder's notes is silent, and nobody plays it.
        at += frame.frameBytes
        continue
      }
    }
    track.samples.push(at, frame.frameBytes, dts, 0, frame.samples, true)
    dts += frame.samples
    at += frame.frameBytes
  }
  if (track === undefined || track.samples.count === 0) throw damaged('there is no frame of sound in it')
  return { tracks: [track], incomplete: false, openEnded: true }
}

/** Whether a frame has no sound but what the encoder notes for players: how long the file is, and where what begins. */
function isNote(frame: Uint8Array, at: number): boolean {
  if (at + 4 > frame.byteLength) return false
  const mark = fourCharacters(frame, at)
  if (mark === 'Xing' || mark === 'Info') return true
  return frame.byteLength >= 40 && fourCharacters(frame, 36) === 'VBRI'
}

const ADTS_RATES = [
  96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350
]

export async function scanAdts(source: BudgetedSource): Promise<ScannedFilm> {
  const { sizeBytes } = source
  let track: ScannedTrack | undefined
  let dts = 0
  let junkBytes = 0
  for (let at = await afterId3(source); at + 7 <= sizeBytes;) {
    let head = source.view(at, at + 7)
    if (!(head instanceof Uint8Array)) head = await head
    const headerBytes = (head[1]! & 1) === 0 ? 9 : 7
    const frameBytes = ((head[3]! & 3) << 11) | (head[4]! << 3) | (head[5]! >> 5)
    const rate = ADTS_RATES[(head[2]! >> 2) & 15]
    const sound = head[0] === 0xff && (head[1]! & 0xf6) === 0xf0 && rate !== undefined && (head[6]! & 3) === 0
    if (!sound || frameBytes <= headerBytes || at + frameBytes > sizeBytes) {
      if (++junkBytes > JUNK_BYTES_MAX) break
      at++
      continue
    }
    if (track === undefined) {
      track = soundTrack(rate)
      const type = (head[2]! >> 6) + 1
      const channels = ((head[2]! & 1) << 2) | (head[3]! >> 6)
      const index = (head[2]! >> 2) & 15
      track.codecPrivate = Uint8Array.of((type << 3) | (index >> 1), ((index & 1) << 7) | (channels << 3))
    }
    track.samples.push(at + headerBytes, frameBytes - headerBytes, dts, 0, 1024, true)
    dts += 1024
    at += frameBytes
  }
  if (track === undefined) throw damaged('there is no frame of sound in it')
  return { tracks: [track], incomplete: false, openEnded: true }
}

/** RFC 9639: metadata blocks, then frames without a length; each ends where the next begins. */
export async function scanFlac(source: BudgetedSource): Promise<ScannedFilm> {
  const { sizeBytes } = source
  let at = await afterId3(source)
  if (at + 42 > sizeBytes || fourCharacters(await source.view(at, at + 4), 0) !== 'fLaC')
    throw damaged('it is no FLAC')
  const metadataStart = at
  at += 4
  let description: Uint8Array | undefined
  for (let last = false; !last;) {
    const head = await source.view(at, at + 4)
    last = (head[0]! & 0x80) !== 0
    const bytes = (head[1]! << 16) | (head[2]! << 8) | head[3]!
    if ((head[0]! & 0x7f) === 0 && bytes === 34) {
      const block = await source.view(at + 4, at + 38)
      description = Uint8Array.of(0x66, 0x4c, 0x61, 0x43, 0x80, 0, 0, 34, ...block)
    }
    at += 4 + bytes
    if (at - metadataStart > FLAC_METADATA_BYTES_MAX) throw beyondLimits('its notes are too large')
  }
  if (description === undefined) throw damaged('it does not say how it is coded (STREAMINFO)')
  const rate = (description[18]! << 12) | (description[19]! << 4) | (description[20]! >> 4)
  if (rate === 0) throw damaged('it has no sample rate')
  const track = soundTrack(rate)
  track.codecPrivate = description
  let frame = flacHeader(await source.view(at, Math.min(at + FRAME_HEAD_BYTES, sizeBytes)))
  if (frame === undefined) throw damaged('there is no frame of sound in it')
  let dts = 0
  while (frame) {
    const follows: number = frame.number + (frame.variable ? frame.blockSamples : 1)
    const next = await nextFlacFrame(source, at + frame.headerBytes, follows)
    const end = next?.at ?? sizeBytes
    if (end - at > FLAC_FRAME_BYTES_MAX) throw damaged(`after byte ${at} no further frame is found`)
    track.samples.push(at, end - at, dts, 0, frame.blockSamples, true)
    dts += frame.blockSamples
    at = end
    frame = next?.header
  }
  return { tracks: [track], incomplete: false, openEnded: true }
}

async function nextFlacFrame(
  source: BudgetedSource,
  from: number,
  number: number
): Promise<{ at: number; header: NonNullable<ReturnType<typeof flacHeader>> } | undefined> {
  const { sizeBytes } = source
  for (let at = from; at < sizeBytes; at += SCAN_BYTES) {
    if (at - from > FLAC_FRAME_BYTES_MAX) return undefined
    const bytes = await source.view(at, Math.min(at + SCAN_BYTES + FRAME_HEAD_BYTES, sizeBytes))
    for (
      let index = bytes.indexOf(0xff);
      index >= 0 && index < SCAN_BYTES;
      index = bytes.indexOf(0xff, index + 1)
    ) {
      const header = flacHeader(bytes.subarray(index, index + FRAME_HEAD_BYTES))
      if (header && header.number === number) return { at: at + index, header }
    }
  }
  return undefined
}

/** RFC 3533 and RFC 7845: packets cut into pages of one stream; others beside it are passed over. */
export async function scanOgg(source: BudgetedSource): Promise<ScannedFilm> {
  const { sizeBytes } = source
  const track = soundTrack(48_000)
  let serial: number | undefined
  let packets = 0
  let dts = 0
  let pieces: Piece[] = []
  let packetBytes = 0
  const finish = async (): Promise<void> => {
    packets++
    const first = pieces[0]
    if (packets === 1) {
      const head = await gather(source, pieces)
      if (latin1(head.subarray(0, 8)) !== 'OpusHead' || head.byteLength < 19) {
        track.refusal =
          latin1(head.subarray(1, 7)) === 'vorbis'
            ? 'the codec Vorbis is none that is packaged'
            : 'its codec is none that is packaged'
      } else {
        track.codecPrivate = head.slice()
        track.origin = viewOf(head).getUint16(10, true)
      }
    } else if (packets > 2 && first && track.refusal === undefined) {
      const ticks = opusTicks(await source.view(first.start, first.start + Math.min(2, first.lengthBytes)))
      if (ticks > 0) {
        if (pieces.length > 1) track.samples.pieces.set(track.samples.count, pieces)
        track.samples.push(first.start, packetBytes, dts, 0, ticks, true)
        dts += ticks
      }
    }
    pieces = []
    packetBytes = 0
  }
  for (let at = 0; at + 27 <= sizeBytes && track.refusal === undefined;) {
    const head = await source.view(at, Math.min(at + 27 + 255, sizeBytes))
    if (fourCharacters(head, 0) !== 'OggS') throw damaged(`there is no page at byte ${at}`)
    const number = viewOf(head).getUint32(14, true)
    const segments = head[26]!
    if (head.byteLength < 27 + segments) throw damaged('it is cut off in a page')
    let body = at + 27 + segments
    serial ??= number
    const ours = number === serial
    if (ours && (head[5]! & 1) === 0) {
      pieces = []
      packetBytes = 0
    }
    for (let segment = 0; segment < segments; segment++) {
      const size = head[27 + segment]!
      if (ours) {
        if (size > 0) {
          const last = pieces.at(-1)
          if (last && last.start + last.lengthBytes === body) last.lengthBytes += size
          else pieces.push({ start: body, lengthBytes: size })
          packetBytes += size
          if (packetBytes > OGG_PACKET_BYTES_MAX) throw damaged('a packet of it does not end')
        }
        if (size < 255) await finish()
      }
      body += size
    }
    if (body > sizeBytes) throw damaged('it is cut off in a page')
    at = body
  }
  if (track.samples.count === 0 && track.refusal === undefined) throw damaged('there is no sound in it')
  return { tracks: [track], incomplete: false, openEnded: true }
}

async function gather(source: BudgetedSource, pieces: readonly Piece[]): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for (const { start, lengthBytes } of pieces) parts.push(await source.read(start, start + lengthBytes))
  return Buffer.concat(parts)
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes)
}
