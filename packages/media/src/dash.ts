/** A DASH manifest over the same segments: ISO/IEC 23009-1, the profile of segments that are addressed by number. */
import type { PictureColor } from './film-facts.ts'
import type { IndexTrack } from './film-index.ts'
import { languageTag } from './language.ts'
import { isPacked } from './packed-audio.ts'
import {
  factsOf,
  firstHeard,
  INIT_SEGMENT,
  pictures,
  ratesOf,
  soundGroups,
  targetDurationS,
  trackFolder,
  trackName,
  type AddressOptions,
  type PackagedFilm,
  type TrackSource
} from './packaged-film.ts'

const SUBTITLE_BITS = 1_000
/** Size and duration of a frame, in the head of its segment, and a share of the rest of it. */
const HEAD_BITS_OF_FRAME = 96

export function dashManifest(film: PackagedFilm, { base = '', address = same }: AddressOptions = {}): string {
  const { index } = film.sources[0]!
  const uri = (path: string): string => escaped(address(base + path))
  const sets: string[] = []
  // One set for each codec: a player changes between its members without starting its decoder anew.
  for (const members of byCodec(pictures(film))) sets.push(pictureSet(sets.length, members, uri))
  for (const group of soundGroups(film)) {
    const first = firstHeard(group)
    for (const [number, entry] of group.tracks.entries()) {
      const role = number === first ? 'main' : 'alternate'
      sets.push(soundSet(sets.length, entry, trackName(entry, number + 1), role, uri))
    }
  }
  for (const { name, language, title } of film.subtitles ?? []) {
    sets.push(
      `    <AdaptationSet id="${sets.length}" contentType="text" mimeType="text/vtt" lang="${escaped(languageTag(language) ?? 'und')}">
      <Label>${escaped(title)}</Label>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>
      <Representation id="${escaped(name)}" bandwidth="${SUBTITLE_BITS}">
        <BaseURL>${uri(`${name}.vtt`)}</BaseURL>
      </Representation>
    </AdaptationSet>`
    )
  }
  return `<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static" mediaPresentationDuration="${duration(index.head.durationS)}" minBufferTime="${duration(targetDurationS(index))}">
  <Period id="0" start="PT0S">
${sets.join('\n')}
  </Period>
</MPD>
`
}

function byCodec(shown: readonly TrackSource[]): TrackSource[][] {
  const sets = new Map<string, TrackSource[]>()
  for (const entry of shown) {
    const members = sets.get(entry.track.codecName) ?? []
    members.push(entry)
    sets.set(entry.track.codecName, members)
  }
  return [...sets.values()]
}

function pictureSet(id: number, members: readonly TrackSource[], uri: (path: string) => string): string {
  const closed = members.every(({ source }) => source.index.head.independent)
  const representations = members.map(entry => {
    const { width, height, color } = factsOf(entry)
    const { frameRateMax, codec } = entry.track
    const size = width && height ? ` width="${width}" height="${height}"` : ''
    const rate = frameRateMax ? ` frameRate="${Math.round(frameRateMax * 1000)}/1000"` : ''
    return `      <Representation id="${escaped(nameOf(entry))}" codecs="${escaped(codec)}" bandwidth="${ratesOf(entry).peak}"${size}${rate}>${colorProperties(color)}
${template(entry, uri)}
      </Representation>`
  })
  return `    <AdaptationSet id="${id}" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="${closed ? 1 : 3}">
${representations.join('\n')}
    </AdaptationSet>`
}

/** Who chooses by the manifest knows what its screen can show. Left out where it is what every screen shows. */
function colorProperties(color: PictureColor | undefined): string {
  if (color === undefined || color.transfer === 2 || color.transfer === 1) return ''
  const { primaries, transfer, matrix } = color
  return Object.entries({
    ColourPrimaries: primaries,
    TransferCharacteristics: transfer,
    MatrixCoefficients: matrix
  })
    .map(
      ([name, value]) =>
        `\n        <SupplementalProperty schemeIdUri="urn:mpeg:mpegB:cicp:${name}" value="${value}"/>`
    )
    .join('')
}

function soundSet(
  id: number,
  entry: TrackSource,
  name: string,
  role: 'main' | 'alternate',
  uri: (path: string) => string
): string {
  const { language, channels, sampleRate } = factsOf(entry)
  const tag = languageTag(language)
  const lang = tag === undefined ? '' : ` lang="${escaped(tag)}"`
  const rate = sampleRate ? ` audioSamplingRate="${sampleRate}"` : ''
  const channelText = channels
    ? `\n        <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="${channels}"/>`
    : ''
  return `    <AdaptationSet id="${id}" contentType="audio" mimeType="audio/mp4"${lang} segmentAlignment="true" startWithSAP="1">
      <Label>${escaped(name)}</Label>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="${role}"/>
      <Representation id="${escaped(nameOf(entry))}" codecs="${escaped(soundCodec(entry))}" bandwidth="${soundRate(entry)}"${rate}>${channelText}
${template(entry, uri)}
      </Representation>
    </AdaptationSet>`
}

/** RFC 6381 names MP3 in an MP4 by the number that its description has; HLS has it without an MP4. */
function soundCodec({ track }: TrackSource): string {
  return isPacked(track) ? 'mp4a.6B' : track.codec
}

/** The sizes of an MP3 are of bare segments; in an MP4 each has a head. */
function soundRate(entry: TrackSource): number {
  const { peak } = ratesOf(entry)
  const { track } = entry
  if (!isPacked(track)) return peak
  const framesPerS = (Math.max(...track.samples) * track.timescale) / Math.max(1, track.end)
  return peak + Math.ceil(framesPerS * track.samples.length * HEAD_BITS_OF_FRAME)
}

function template(entry: TrackSource, uri: (path: string) => string): string {
  const { track } = entry
  const folder = trackFolder(entry)
  return `        <SegmentTemplate timescale="${track.timescale}" startNumber="0" initialization="${uri(`${folder}/${INIT_SEGMENT}`)}" media="${uri(`${folder}/segment-$Number$.m4s`)}">
          <SegmentTimeline>
${timeline(track).join('\n')}
          </SegmentTimeline>
        </SegmentTemplate>`
}

/** Runs of segments that last as long; each begins where the one before ended. */
function timeline({ starts, end }: IndexTrack): string[] {
  const lines: string[] = []
  for (let index = 0; index < starts.length;) {
    const length = (at: number): number => (starts[at + 1] ?? end) - Math.max(0, starts[at]!)
    const ticks = length(index)
    let same = 1
    while (index + same < starts.length && length(index + same) === ticks) same++
    const first = index === 0 ? ` t="${Math.max(0, starts[0]!)}"` : ''
    lines.push(`            <S${first} d="${ticks}"${same > 1 ? ` r="${same - 1}"` : ''}/>`)
    index += same
  }
  return lines
}

function nameOf({ source, track }: TrackSource): string {
  return `${source.folder}-${track.id}`
}

function duration(seconds: number): string {
  return `PT${seconds.toFixed(3)}S`
}

function escaped(value: string): string {
  return value
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

function same(uri: string): string {
  return uri
}
