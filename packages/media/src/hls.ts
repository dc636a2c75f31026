/** HLS playlists: RFC 8216. The same film gives the same bytes, always. */
import { bitRates } from './bandwidth.ts'
import type { FilmIndex, IndexTrack } from './film-index.ts'
import { languageTag } from './language.ts'
import { isPacked } from './packed-audio.ts'
import {
  factsOf,
  firstHeard,
  HLS_LIST,
  INIT_SEGMENT,
  pictures,
  ratesOf,
  segmentName,
  segmentSeconds,
  segmentsThere,
  soundGroups,
  targetDurationS,
  trackFolder,
  trackName,
  WINDING_LIST,
  windingName,
  type AddressOptions,
  type PackagedFilm,
  type SoundGroup,
  type SubtitleTrack,
  type TrackSource
} from './packaged-film.ts'

const VERSION = 7
const SUBTITLE_GROUP = 'subtitles'
/** Subtitles come in one piece; what they add to a rate is next to nothing, and counted. */
const SUBTITLE_BITS = 1_000

/** The playlist that names all others. */
export function masterPlaylist(
  film: PackagedFilm,
  { base = '', address = same }: AddressOptions = {}
): string {
  const groups = soundGroups(film)
  const shown = pictures(film)
  const { subtitles = [] } = film
  const lines = ['#EXTM3U', `#EXT-X-VERSION:${VERSION}`]
  if (film.sources.every(({ index }) => index.head.independent)) lines.push('#EXT-X-INDEPENDENT-SEGMENTS')
  const uri = (path: string): string => address(base + path)
  const grouped = shown.length > 0 || groups.some(({ tracks }) => tracks.length > 1)
  if (grouped) for (const group of groups) lines.push(...soundMedia(group, uri))
  lines.push(...subtitles.map((subtitle, index) => subtitleMedia(subtitle, index, subtitles, uri)))
  const variants: { peak: number; line: string }[] = []
  const heard = groups.length > 0 ? groups : [undefined]
  for (const group of heard) {
    for (const picture of shown) variants.push(variant(picture, group, subtitles, uri))
    if (shown.length === 0 && group) variants.push(soundVariant(group, grouped, subtitles, uri))
  }
  lines.push(...variants.map(({ line }) => line))
  for (const picture of shown) lines.push(...windingVariant(picture, uri))
  return `${lines.join('\n')}\n`
}

function soundMedia(group: SoundGroup, uri: (path: string) => string): string[] {
  const { id, tracks } = group
  const first = firstHeard(group)
  const names = new Set<string>()
  return tracks.map((entry, index) => {
    const facts = factsOf(entry)
    let name = trackName(entry, index + 1)
    // Names tell the renditions of a group apart.
    if (names.has(name)) name = `${name} (${index + 1})`
    names.add(name)
    return `#EXT-X-MEDIA:${attributes([
      ['TYPE', 'AUDIO'],
      ['GROUP-ID', quoted(id)],
      ['NAME', quoted(name)],
      ['LANGUAGE', languageOf(facts)],
      ['DEFAULT', index === first ? 'YES' : 'NO'],
      ['AUTOSELECT', 'YES'],
      ['CHANNELS', facts.channels ? quoted(String(facts.channels)) : undefined],
      ['URI', quoted(uri(`${trackFolder(entry)}/${HLS_LIST}`))]
    ])}`
  })
}

function subtitleMedia(
  { name, language, title, default: isDefault = false }: SubtitleTrack,
  index: number,
  all: readonly SubtitleTrack[],
  uri: (path: string) => string
): string {
  const taken = all.slice(0, index).some(other => other.title === title)
  return `#EXT-X-MEDIA:${attributes([
    ['TYPE', 'SUBTITLES'],
    ['GROUP-ID', quoted(SUBTITLE_GROUP)],
    ['NAME', quoted(taken ? `${title} (${index + 1})` : title)],
    ['LANGUAGE', languageOf({ language })],
    ['DEFAULT', isDefault ? 'YES' : 'NO'],
    ['AUTOSELECT', 'YES'],
    ['FORCED', 'NO'],
    ['URI', quoted(uri(`${name}.m3u8`))]
  ])}`
}

function variant(
  picture: TrackSource,
  group: SoundGroup | undefined,
  subtitles: readonly SubtitleTrack[],
  uri: (path: string) => string
): { peak: number; line: string } {
  const facts = factsOf(picture)
  const rates = ratesOf(picture)
  const sound = heaviest(group)
  const extra = subtitles.length > 0 ? SUBTITLE_BITS : 0
  const peak = rates.peak + sound.peak + extra
  const line = `#EXT-X-STREAM-INF:${attributes([
    ['BANDWIDTH', String(peak)],
    ['AVERAGE-BANDWIDTH', String(rates.average + sound.average + extra)],
    ['CODECS', quoted([picture.track.codec, ...soundCodecs(group)].join(','))],
    ['RESOLUTION', facts.width && facts.height ? `${facts.width}x${facts.height}` : undefined],
    ['FRAME-RATE', frameRate(picture.track)],
    ['VIDEO-RANGE', videoRange(facts.color?.transfer)],
    ['AUDIO', group && quoted(group.id)],
    ['SUBTITLES', subtitles.length > 0 ? quoted(SUBTITLE_GROUP) : undefined],
    ['CLOSED-CAPTIONS', 'NONE']
  ])}\n${uri(`${trackFolder(picture)}/${HLS_LIST}`)}`
  return { peak, line }
}

function soundVariant(
  group: SoundGroup,
  grouped: boolean,
  subtitles: readonly SubtitleTrack[],
  uri: (path: string) => string
): { peak: number; line: string } {
  const { peak, average } = heaviest(group)
  const line = `#EXT-X-STREAM-INF:${attributes([
    ['BANDWIDTH', String(peak)],
    ['AVERAGE-BANDWIDTH', String(average)],
    ['CODECS', quoted(soundCodecs(group).join(','))],
    ['AUDIO', grouped ? quoted(group.id) : undefined],
    ['SUBTITLES', subtitles.length > 0 ? quoted(SUBTITLE_GROUP) : undefined],
    ['CLOSED-CAPTIONS', 'NONE']
  ])}\n${uri(`${trackFolder(group.tracks[0]!)}/${HLS_LIST}`)}`
  return { peak, line }
}

function windingVariant(picture: TrackSource, uri: (path: string) => string): string[] {
  const { track } = picture
  const facts = factsOf(picture)
  const { winding } = track
  if (winding === undefined || winding.times.length === 0) return []
  const seconds = windingSeconds(track)
  const { peak, average } = bitRates(seconds, winding.bytes, windingTargetS(seconds))
  return [
    `#EXT-X-I-FRAME-STREAM-INF:${attributes([
      ['BANDWIDTH', String(peak)],
      ['AVERAGE-BANDWIDTH', String(average)],
      ['CODECS', quoted(track.codec)],
      ['RESOLUTION', facts.width && facts.height ? `${facts.width}x${facts.height}` : undefined],
      ['VIDEO-RANGE', videoRange(facts.color?.transfer)],
      ['URI', quoted(uri(`${trackFolder(picture)}/${WINDING_LIST}`))]
    ])}`
  ]
}

export interface ListOptions {
  /** Makes an address that a player can use of one of ours. */
  address?: (uri: string) => string
  /** Of a film that still grows: what of it has arrived. */
  availableBytes?: number
}

/** The playlist of one track. Of a film that grows it names what has arrived, and does not end. */
export function mediaPlaylist(index: FilmIndex, track: IndexTrack, options: ListOptions = {}): string {
  const { address = same, availableBytes } = options
  const { growing, independent } = index.head
  const there = segmentsThere(track, availableBytes)
  const open = growing || there < track.starts.length
  const lines = [
    '#EXTM3U',
    `#EXT-X-VERSION:${VERSION}`,
    `#EXT-X-TARGETDURATION:${targetDurationS(index)}`,
    '#EXT-X-MEDIA-SEQUENCE:0',
    `#EXT-X-PLAYLIST-TYPE:${open ? 'EVENT' : 'VOD'}`
  ]
  if (independent) lines.push('#EXT-X-INDEPENDENT-SEGMENTS')
  if (!isPacked(track)) lines.push(`#EXT-X-MAP:URI=${quoted(address(INIT_SEGMENT))}`)
  for (const [number, seconds] of segmentSeconds(track).slice(0, there).entries()) {
    lines.push(`#EXTINF:${seconds.toFixed(6)},`, address(segmentName(track, number)))
  }
  if (!open) lines.push('#EXT-X-ENDLIST')
  return `${lines.join('\n')}\n`
}

/** The playlist of the pictures that a player shows while it winds; undefined: the track has none. */
export function windingPlaylist(track: IndexTrack, { address = same }: ListOptions = {}): string | undefined {
  if (track.winding === undefined) return undefined
  const seconds = windingSeconds(track)
  const lines = [
    '#EXTM3U',
    `#EXT-X-VERSION:${VERSION}`,
    `#EXT-X-TARGETDURATION:${windingTargetS(seconds)}`,
    '#EXT-X-MEDIA-SEQUENCE:0',
    '#EXT-X-PLAYLIST-TYPE:VOD',
    '#EXT-X-I-FRAMES-ONLY',
    `#EXT-X-MAP:URI=${quoted(address(INIT_SEGMENT))}`
  ]
  for (const [number, duration] of seconds.entries()) {
    lines.push(`#EXTINF:${duration.toFixed(6)},`, address(windingName(number)))
  }
  lines.push('#EXT-X-ENDLIST')
  return `${lines.join('\n')}\n`
}

/** The playlist of subtitles, which come in one piece. @param uri  of the WebVTT file, seen from the playlist */
export function subtitlePlaylist(durationS: number, uri: string): string {
  const seconds = Math.max(durationS, 0.001)
  return `${[
    '#EXTM3U',
    `#EXT-X-VERSION:${VERSION}`,
    `#EXT-X-TARGETDURATION:${Math.max(1, Math.ceil(seconds - 0.001))}`,
    '#EXT-X-MEDIA-SEQUENCE:0',
    '#EXT-X-PLAYLIST-TYPE:VOD',
    `#EXTINF:${seconds.toFixed(6)},`,
    uri,
    '#EXT-X-ENDLIST'
  ].join('\n')}\n`
}

function windingSeconds({ winding, end, timescale }: IndexTrack): number[] {
  const { times } = winding!
  return times.map((time, index) => ((times[index + 1] ?? end) - (index === 0 ? 0 : time)) / timescale)
}

function windingTargetS(seconds: readonly number[]): number {
  return Math.max(1, Math.ceil(Math.max(...seconds) - 0.001))
}

function heaviest(group: SoundGroup | undefined): { peak: number; average: number } {
  let peak = 0
  let average = 0
  for (const entry of group?.tracks ?? []) {
    const rates = ratesOf(entry)
    peak = Math.max(peak, rates.peak)
    average = Math.max(average, rates.average)
  }
  return { peak, average }
}

/** Apple writes FLAC's name as its sample entry has it. */
function soundCodecs(group: SoundGroup | undefined): string[] {
  const codecs = group?.tracks.map(({ track }) => (track.codec === 'flac' ? 'fLaC' : track.codec)) ?? []
  return [...new Set(codecs)]
}

function frameRate({ frameRateMax }: IndexTrack): string | undefined {
  return frameRateMax ? frameRateMax.toFixed(3) : undefined
}

function languageOf({ language }: { language: string }): string | undefined {
  const tag = languageTag(language)
  return tag === undefined ? undefined : quoted(tag)
}

function videoRange(transfer: number | undefined): string | undefined {
  if (transfer === 16) return 'PQ'
  return transfer === 18 ? 'HLG' : undefined
}

function attributes(list: readonly (readonly [string, string | undefined])[]): string {
  return list
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${value}`)
    .join(',')
}

/** A quoted string has neither quotes nor line breaks in it: RFC 8216 §4.2. */
function quoted(value: string): string {
  return `"${value.replaceAll('"', "'").replace(/[\r\n]+/g, ' ')}"`
}

function same(uri: string): string {
  return uri
}
