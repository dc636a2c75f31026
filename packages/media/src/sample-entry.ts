/** How a codec describes itself in an MP4: the sample entry of an init segment. */
import { concatenated } from './isobmff-scan.ts'
import { box, fullBox, text, u16, u32, zeros } from './box-writer.ts'
import { unsupported } from './errors.ts'
import type { TrackFacts } from './film-facts.ts'
import type { PackagedCodec, ScannedTrack } from './scanned-film.ts'

/** The whole box, for a track whose codec is packaged. @throws {UnpackageableError} its description is missing. */
export function sampleEntry(track: ScannedTrack, codec: PackagedCodec, facts: TrackFacts): Uint8Array {
  return track.kind === 'video' ? pictureEntry(track, codec, facts) : soundEntry(track, codec, facts)
}

function pictureEntry(track: ScannedTrack, codec: PackagedCodec, facts: TrackFacts): Uint8Array {
  const configuration = track.configuration ?? pictureConfiguration(track, codec, facts)
  return box(
    pictureType(track, codec, configuration),
    zeros(6),
    u16(1),
    zeros(16),
    u16(Math.min(facts.codedWidth ?? 0, 0xffff)),
    u16(Math.min(facts.codedHeight ?? 0, 0xffff)),
    u32(0x48_0000),
    u32(0x48_0000),
    u32(0),
    u16(1),
    zeros(32),
    u16(0x18),
    u16(0xffff),
    configuration
  )
}

/** HEVC whose parameter sets stand in its description is `hvc1`, which is what Apple's players take. */
function pictureType(track: ScannedTrack, codec: PackagedCodec, configuration: Uint8Array): string {
  switch (codec) {
    case 'avc':
      return track.sampleEntryType === 'avc3' ? 'avc3' : 'avc1'
    case 'hevc':
      return hasParameterSets(configuration) ? 'hvc1' : 'hev1'
    case 'vp9':
      return 'vp09'
    default:
      return 'av01'
  }
}

function hasParameterSets(configuration: Uint8Array): boolean {
  const at = Buffer.from(configuration.buffer, configuration.byteOffset, configuration.byteLength).indexOf(
    'hvcC'
  )
  return at >= 0 && (configuration[at + 4 + 22] ?? 0) >= 3
}

function pictureConfiguration(
  { codecPrivate, light }: ScannedTrack,
  codec: PackagedCodec,
  facts: TrackFacts
): Uint8Array {
  const parts: Uint8Array[] = []
  const described = (type: string): Uint8Array => {
    if (codecPrivate === undefined || codecPrivate.byteLength < 4) {
      throw unsupported('its picture comes without a description of its codec')
    }
    return box(type, codecPrivate)
  }
  if (codec === 'avc') parts.push(described('avcC'))
  else if (codec === 'hevc') parts.push(described('hvcC'))
  else if (codec === 'av1') parts.push(described('av1C'))
  else parts.push(vpConfiguration(facts))
  const { pixelWidth, pixelHeight } = facts
  if (pixelWidth !== undefined && pixelHeight !== undefined && pixelWidth !== pixelHeight) {
    parts.push(box('pasp', u32(pixelWidth), u32(pixelHeight)))
  }
  if (facts.color) {
    const { primaries, transfer, matrix, fullRange } = facts.color
    parts.push(box('colr', text('nclx'), u16(primaries), u16(transfer), u16(matrix), [fullRange ? 0x80 : 0]))
  }
  if (light) parts.push(light)
  return concatenated(parts)
}

/** All of vpcC stands in the codec's string: `vp09.profile.level.depth.chroma.primaries.transfer.matrix.range`. */
function vpConfiguration({ codec }: TrackFacts): Uint8Array {
  const [profile = 0, level = 10, depth = 8, chroma = 1, primaries = 1, transfer = 1, matrix = 1, range = 0] =
    codec!.split('.').slice(1).map(Number)
  return fullBox('vpcC', 1, 0, [
    profile,
    level,
    (depth << 4) | (chroma << 1) | range,
    primaries,
    transfer,
    matrix,
    0,
    0
  ])
}

function soundEntry(track: ScannedTrack, codec: PackagedCodec, facts: TrackFacts): Uint8Array {
  const types = { aac: 'mp4a', mp3: 'mp4a', opus: 'Opus', flac: 'fLaC' } as Record<string, string>
  const rate = codec === 'opus' ? 48_000 : (facts.sampleRate ?? track.timescale)
  return box(
    types[codec]!,
    zeros(6),
    u16(1),
    zeros(8),
    u16(facts.channels ?? 2),
    u16(16),
    u32(0),
    // Where it does not fit, the codec's own description says it.
    u32(rate < 0x1_0000 ? rate * 0x1_0000 : 0),
    soundConfiguration(track, codec, facts)
  )
}

function soundConfiguration(track: ScannedTrack, codec: PackagedCodec, facts: TrackFacts): Uint8Array {
  const { configuration, codecPrivate } = track
  if (configuration && configuration.byteLength > 0) return configuration
  switch (codec) {
    case 'aac':
      if (codecPrivate === undefined) throw unsupported('its sound comes without a description of its codec')
      return esds(0x40, codecPrivate)
    case 'mp3':
      return esds(0x6b, undefined)
    case 'opus':
      return opusConfiguration(codecPrivate, facts)
    default: {
      // "fLaC", then the blocks; the last one is marked so.
      if (codecPrivate === undefined || codecPrivate.byteLength < 42) {
        throw unsupported('its sound comes without a description of its codec')
      }
      return fullBox('dfLa', 0, 0, [0x80, 0, 0, 34], codecPrivate.subarray(8, 42))
    }
  }
}

/** ISO/IEC 14496-14 §5.6: descriptors in each other, with lengths of one byte. */
function esds(objectType: number, specific: Uint8Array | undefined): Uint8Array {
  const tail = specific ? [5, specific.byteLength, ...specific] : []
  const decoder = [objectType, 0x15, 0, 0, 0, ...u32(0), ...u32(0), ...tail]
  const stream = [0, 0, 0, 4, decoder.length, ...decoder, 6, 1, 2]
  return fullBox('esds', 0, 0, [3, stream.length, ...stream])
}

/** OpusHead is little endian and dOps is not. */
function opusConfiguration(head: Uint8Array | undefined, facts: TrackFacts): Uint8Array {
  if (head === undefined || head.byteLength < 19) {
    return box('dOps', [0, facts.channels ?? 2], u16(312), u32(48_000), u16(0), [0])
  }
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  return box(
    'dOps',
    [0, head[9]!],
    u16(view.getUint16(10, true)),
    u32(view.getUint32(12, true)),
    u16(view.getUint16(16, true)),
    [head[18]!],
    head.subarray(19)
  )
}
