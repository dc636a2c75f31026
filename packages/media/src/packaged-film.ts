/** A film as players see it: the original, renditions cut at the same places, and subtitles. */
import { bitRates, type BitRates } from './bandwidth.ts'
import type { FilmIndex, IndexTrack } from './film-index.ts'
import { languageName, languageTag } from './language.ts'
import { isPacked } from './packed-audio.ts'

export interface PackagedSource {
  /** Folder of its tracks below the film's generation: letters, digits, `-` and `.`. */
  folder: string
  index: FilmIndex
}

export interface SubtitleTrack {
  /** Name of its files below the film's generation, without an ending. */
  name: string
  /** BCP 47. */
  language: string
  title: string
  default?: boolean
  sizeBytes?: number
}

export interface PackagedFilm {
  /** The first one says where all are cut. */
  sources: readonly PackagedSource[]
  subtitles?: readonly SubtitleTrack[]
}

export interface AddressOptions {
  /** Goes before every address: the generation's folder, seen from the playlist. Default: none. */
  base?: string
  /** Makes an address that a player can use of one of ours; a gateway appends a signature. Default: as it is. */
  address?: (uri: string) => string
}

export interface TrackSource {
  source: PackagedSource
  track: IndexTrack
}

/** Sound of one codec; players choose one group, and a language in it. */
export interface SoundGroup {
  id: string
  tracks: TrackSource[]
}

export function pictures({ sources }: PackagedFilm): TrackSource[] {
  return sources.flatMap(source => tracksOf(source, 'video'))
}

/** The original's sound, and where none of it is AAC, which all players know, a rendition's. */
export function soundGroups({ sources }: PackagedFilm): SoundGroup[] {
  const groups = new Map<string, SoundGroup>()
  for (const source of sources) {
    const known = groups.has('aac')
    if (groups.size > 0 && known) break
    for (const entry of tracksOf(source, 'audio')) {
      const { codecName } = entry.track
      if (groups.size > 0 && source !== sources[0] && codecName !== 'aac') continue
      const group = groups.get(codecName) ?? { id: `sound-${codecName}`, tracks: [] }
      group.tracks.push(entry)
      groups.set(codecName, group)
    }
  }
  return [...groups.values()]
}

function tracksOf(source: PackagedSource, kind: 'video' | 'audio'): TrackSource[] {
  return source.index.head.tracks.filter(track => track.kind === kind).map(track => ({ source, track }))
}

/** Seconds of each segment: until the next one begins. The first counts from the film's beginning. */
export function segmentSeconds({ starts, end, timescale }: IndexTrack): number[] {
  return starts.map((start, index) => ((starts[index + 1] ?? end) - (index === 0 ? 0 : start)) / timescale)
}

/** Segments that can be made of what has arrived. */
export function segmentsThere({ needs, starts }: IndexTrack, availableBytes: number | undefined): number {
  if (needs === undefined || availableBytes === undefined) return starts.length
  const missing = needs.findIndex(end => end > availableBytes)
  return missing < 0 ? starts.length : missing
}

/** Seconds, whole; no segment of any track lasts longer. The same for all tracks of a film. */
export function targetDurationS({ head }: FilmIndex): number {
  let longest = 1
  for (const track of head.tracks)
    for (const seconds of segmentSeconds(track)) longest = Math.max(longest, seconds)
  return Math.ceil(longest - 0.001)
}

export function ratesOf({ source, track }: TrackSource): BitRates {
  return bitRates(segmentSeconds(track), track.bytes, targetDurationS(source.index))
}

export function trackFolder({ source, track }: TrackSource): string {
  return `${source.folder}/${track.id}`
}

/** What a viewer reads in a menu. */
export function trackName({ source, track }: TrackSource, number: number): string {
  const { title, language } = factsOf({ source, track })
  const tag = languageTag(language)
  return title ?? (tag === undefined ? `Sound ${number}` : languageName(tag))
}

/** Place in its group of the track that is heard when nobody has chosen one. */
export function firstHeard({ tracks }: SoundGroup): number {
  return Math.max(
    0,
    tracks.findIndex(entry => factsOf(entry).default)
  )
}

export function factsOf({ source, track }: TrackSource) {
  return source.index.head.facts.tracks.find(({ id, kind }) => id === track.id && kind === track.kind)!
}

export const HLS_LIST = 'index.m3u8'
export const WINDING_LIST = 'iframes.m3u8'
export const INIT_SEGMENT = 'init.mp4'

/** As HLS has it. */
export function segmentName(track: IndexTrack, number: number): string {
  return `segment-${number}.${isPacked(track) ? 'mp3' : 'm4s'}`
}
export function windingName(number: number): string {
  return `iframe-${number}.m4s`
}
