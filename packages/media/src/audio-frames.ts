/** How long a coded frame of sound is, from its first bytes. */
import type { PackagedCodec } from './scanned-film.ts'

/** So many bytes of a frame are enough to tell. */
export const FRAME_HEAD_BYTES = 16

/** RFC 6716 §3.1: samples at 48 kHz of a packet; 0: it is none. */
export function opusTicks(head: Uint8Array): number {
  if (head.byteLength === 0) return 0
  const toc = head[0]!
  const configuration = toc >> 3
  let frameTicks: number
  if (configuration < 12) frameTicks = [480, 960, 1920, 2880][configuration & 3]!
  else if (configuration < 16) frameTicks = [480, 960][configuration & 1]!
  else frameTicks = [120, 240, 480, 960][configuration & 3]!
  const code = toc & 3
  if (code < 3) return frameTicks * (code === 0 ? 1 : 2)
  return head.byteLength < 2 ? 0 : frameTicks * (head[1]! & 63)
}

export interface MpegAudioHeader {
  /** Of the whole frame, with its header. */
  frameBytes: number
  sampleRate: number
  samples: number
  channels: number
  /** Bytes of side information after the header. */
  sideBytes: number
}

const MPEG_RATES = [44_100, 48_000, 32_000]
const KBITS_V1 = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
const KBITS_V2 = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]

/** Layer III of MPEG 1, 2 and 2.5, with a bit rate that is said; undefined: something else. */
export function mpegAudioHeader(head: Uint8Array): MpegAudioHeader | undefined {
  if (head.byteLength < 4 || head[0] !== 0xff || (head[1]! & 0xe6) !== 0xe2) return undefined
  const version = (head[1]! >> 3) & 3 // 0: 2.5, 2: 2, 3: 1
  const rateIndex = (head[2]! >> 2) & 3
  const kbitIndex = head[2]! >> 4
  if (version === 1 || rateIndex === 3 || kbitIndex === 0 || kbitIndex === 15) return undefined
  const sampleRate = MPEG_RATES[rateIndex]! >> (version === 3 ? 0 : version === 2 ? 1 : 2)
  const samples = version === 3 ? 1152 : 576
  const kbits = (version === 3 ? KBITS_V1 : KBITS_V2)[kbitIndex]!
  const padding = (head[2]! >> 1) & 1
  const channels = head[3]! >> 6 === 3 ? 1 : 2
  return {
    frameBytes: Math.floor(((samples / 8) * kbits * 1000) / sampleRate) + padding,
    sampleRate,
    samples,
    channels,
    sideBytes: version === 3 ? (channels === 1 ? 17 : 32) : channels === 1 ? 9 : 17
  }
}

export interface FlacHeader {
  headerBytes: number
  blockSamples: number
  /** Number of the frame, or of its first sample where block sizes vary. */
  number: number
  variable: boolean
}

/** RFC 9639 §9.1, checked by its CRC-8; undefined: no frame begins here. */
export function flacHeader(head: Uint8Array): FlacHeader | undefined {
  if (head.byteLength < 6 || head[0] !== 0xff || (head[1]! & 0xfe) !== 0xf8) return undefined
  const sizeCode = head[2]! >> 4
  const rateCode = head[2]! & 15
  if (sizeCode === 0 || rateCode === 15 || head[3]! >> 4 > 10 || (head[3]! & 1) !== 0) return undefined
  let at = 4
  const lead = head[at++]!
  let more = 0
  let number = lead
  if (lead >= 0x80) {
    while (more < 7 && (lead & (0x80 >> more)) !== 0) more++
    if (more < 2 || more > 7) return undefined
    number = more === 7 ? 0 : lead & (0x7f >> more)
    for (let left = more - 1; left > 0; left--) {
      const byte = head[at++]
      if (byte === undefined || (byte & 0xc0) !== 0x80) return undefined
      number = number * 64 + (byte & 0x3f)
    }
  }
  let blockSamples: number
  if (sizeCode === 1) blockSamples = 192
  else if (sizeCode <= 5) blockSamples = 576 << (sizeCode - 2)
  else if (sizeCode === 6) blockSamples = (head[at++] ?? 0) + 1
  else if (sizeCode === 7) {
    blockSamples = ((head[at] ?? 0) << 8) + (head[at + 1] ?? 0) + 1
    at += 2
  } else blockSamples = 256 << (sizeCode - 8)
  if (rateCode === 12) at += 1
  else if (rateCode === 13 || rateCode === 14) at += 2
  if (at >= head.byteLength || crc8(head, at) !== head[at]) return undefined
  return { headerBytes: at + 1, blockSamples, number, variable: (head[1]! & 1) === 1 }
}

function crc8(bytes: Uint8Array, count: number): number {
  let crc = 0
  for (let index = 0; index < count; index++) {
    crc ^= bytes[index]!
    for (let bit = 0; bit < 8; bit++)
      crc = (crc & 0x80) !== 0 ? ((crc << 1) ^ 0x07) & 0xff : (crc << 1) & 0xff
  }
  return crc
}

const AAC_RATES = [
  96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350
]

export interface AacConfiguration {
  /** Of the core codec: where the spectrum is replicated, half of what is heard. */
  sampleRate: number
  frameSamples: number
  channels: number
}

/** AudioSpecificConfig, ISO/IEC 14496-3 §1.6.2.1; undefined: not understood. */
export function aacConfiguration(config: Uint8Array): AacConfiguration | undefined {
  let at = 0
  const bits = (count: number): number => {
    let value = 0
    for (; count > 0; count--, at++) value = value * 2 + (((config[at >> 3] ?? 0) >> (7 - (at & 7))) & 1)
    return value
  }
  if (config.byteLength < 2) return undefined
  let type = bits(5)
  if (type === 31) type = 32 + bits(6)
  const rate = (): number => {
    const index = bits(4)
    return index === 15 ? bits(24) : (AAC_RATES[index] ?? 0)
  }
  const sampleRate = rate()
  const channels = bits(4)
  if (type === 5 || type === 29) {
    rate()
    type = bits(5)
  }
  const short = bits(1) === 1
  if (sampleRate === 0) return undefined
  return { sampleRate, frameSamples: short ? 960 : 1024, channels }
}

/** Ticks of a frame, on the clock that `audioTimescale` says; 0: cannot be told. */
export function frameTicks(
  codec: PackagedCodec,
  head: Uint8Array,
  codecPrivate: Uint8Array | undefined
): number {
  switch (codec) {
    case 'opus':
      return opusTicks(head)
    case 'mp3':
      return mpegAudioHeader(head)?.samples ?? 0
    case 'flac':
      return flacHeader(head)?.blockSamples ?? 0
    case 'aac':
      return (codecPrivate && aacConfiguration(codecPrivate)?.frameSamples) ?? 1024
    default:
      return 0
  }
}
