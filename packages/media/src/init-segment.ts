/** Init segments: all of a track but its samples. No clock goes into them, so that they are always the same. */
import { box, fullBox, text, u16, u32, u64, zeros } from './box-writer.ts'

export interface InitTrack {
  kind: 'video' | 'audio'
  timescale: number
  /** Ticks before what is shown first: decoded, and cut off by an edit list. */
  mediaStart: number
  sampleEntry: Uint8Array
  /** Nine numbers of tkhd; undefined: upright. */
  matrix: Uint8Array | undefined
  /** Of the picture as it is shown, before it is turned. */
  width: number
  height: number
  /** Three letters of ISO 639-2, or 'und'. */
  language: string
}

const UPRIGHT = [...u32(0x1_0000), ...zeros(12), ...u32(0x1_0000), ...zeros(12), ...u32(0x4000_0000)]
/** Samples that do not depend on others, and others. */
export const KEY_FLAGS = 0x0200_0000
export const OTHER_FLAGS = 0x0101_0000

export function initSegment(track: InitTrack): Uint8Array {
  return Buffer.concat([box('ftyp', text('iso6'), u32(0), text('iso6cmfcmp41dash')), movie(track)])
}

function movie(track: InitTrack): Uint8Array {
  const picture = track.kind === 'video'
  const { timescale, mediaStart, width, height } = track
  const mvhd = fullBox(
    'mvhd',
    0,
    0,
    zeros(8),
    u32(1000),
    u32(0),
    u32(0x1_0000),
    u16(0x100),
    zeros(10),
    UPRIGHT,
    zeros(24),
    u32(2)
  )
  const tkhd = fullBox(
    'tkhd',
    0,
    3,
    zeros(8),
    u32(1),
    zeros(16),
    u16(0),
    u16(picture ? 0 : 1),
    u16(picture ? 0 : 0x100),
    u16(0),
    track.matrix ?? UPRIGHT,
    u32(fixedPoint(width)),
    u32(fixedPoint(height))
  )
  // A duration of 0: to the end, which nobody knows here.
  const edit =
    mediaStart > 0
      ? [box('edts', fullBox('elst', 1, 0, u32(1), u64(0), u64(mediaStart), u16(1), u16(0)))]
      : []
  const mdhd = fullBox(
    'mdhd',
    0,
    0,
    zeros(8),
    u32(timescale),
    u32(0),
    u16(packedLanguage(track.language)),
    u16(0)
  )
  const hdlr = fullBox(
    'hdlr',
    0,
    0,
    u32(0),
    text(picture ? 'vide' : 'soun'),
    zeros(12),
    text(picture ? 'VideoHandler' : 'SoundHandler'),
    [0]
  )
  const minf = box(
    'minf',
    picture ? fullBox('vmhd', 0, 1, zeros(8)) : fullBox('smhd', 0, 0, zeros(4)),
    box('dinf', fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1))),
    box(
      'stbl',
      fullBox('stsd', 0, 0, u32(1), track.sampleEntry),
      fullBox('stts', 0, 0, u32(0)),
      fullBox('stsc', 0, 0, u32(0)),
      fullBox('stsz', 0, 0, u32(0), u32(0)),
      fullBox('stco', 0, 0, u32(0))
    )
  )
  const trex = fullBox('trex', 0, 0, u32(1), u32(1), u32(0), u32(0), u32(picture ? OTHER_FLAGS : KEY_FLAGS))
  return box('moov', mvhd, box('trak', tkhd, ...edit, box('mdia', mdhd, hdlr, minf)), box('mvex', trex))
}

function fixedPoint(value: number): number {
  return Math.min(Math.round(value), 0xffff) * 0x1_0000
}

function packedLanguage(language: string): number {
  const letters = /^[a-z]{3}$/.test(language) ? language : 'und'
  return (
    ((letters.charCodeAt(0) - 0x60) << 10) |
    ((letters.charCodeAt(1) - 0x60) << 5) |
    (letters.charCodeAt(2) - 0x60)
  )
}
