/** Addresses of packaged films: `/hls/…` and `/dash/…`. */
import { checkFileKey, type FileKey } from '@tributary/protocol'
import { PACKAGING_VERSION } from '@tributary/media'
import { HttpProblem } from '../problem.ts'

export const HLS_PREFIX = '/hls/'
export const DASH_PREFIX = '/dash/'

export type Wanted =
  | { kind: 'master' | 'manifest' }
  | { kind: 'subtitle-list' | 'subtitles'; language: string }
  | { kind: 'list' | 'winding-list' | 'init'; source: SourceName; track: number }
  | { kind: 'segment' | 'packed' | 'winding'; source: SourceName; track: number; number: number }

/** A film as it was uploaded, or one of its renditions, by the first digits of that one's generation. */
export type SourceName = { folder: string; rendition?: { profile: string; generationStart: string } }

export interface StreamingTarget {
  key: FileKey
  /** undefined: whichever has the address now. */
  generation: string | undefined
  wanted: Wanted
}

const PRINTABLE = /^[\x21-\x7e]*$/
const GENERATION = /^[0-9a-f]{32}$/
const SUBTITLES = /^subtitles-([a-z0-9-]{1,40})\.(vtt|m3u8)$/
const FOLDER = /^v(\d{1,4})-(?:original|([a-z0-9]{1,20})-([0-9a-f]{8}))$/
/** An Ogg may number its stream 0. */
const TRACK = /^(?:0|[1-9]\d{0,9})$/
const NUMBERED = /^(segment|iframe)-(\d{1,7})\.(m4s|mp3)$/
const NOTHING_HERE = 'there is nothing at this URL of a film'

export const ORIGINAL_FOLDER = `v${PACKAGING_VERSION}-original`

export function renditionFolder(profile: string, generation: string): string {
  return `v${PACKAGING_VERSION}-${profile}-${generation.slice(0, 8)}`
}

/**
 * @param requestTarget  `/hls/{application}/{user}/{file}/…` or `/dash/…`, with or without a query
 * @throws {HttpProblem} 400, 404. {RejectedError} BAD_FIELD: an id is too long or empty
 */
export function parseStreamingTarget(requestTarget: string): StreamingTarget {
  const [path = ''] = requestTarget.split('?', 1)
  if (!PRINTABLE.test(path) || path.includes('#')) {
    throw new HttpProblem(400, 'the URL holds characters that must be percent-encoded')
  }
  const isDash = path.startsWith(DASH_PREFIX)
  const [application, user, file, ...rest] = path
    .slice(isDash ? DASH_PREFIX.length : HLS_PREFIX.length)
    .split('/')
    .map(decoded)
  if (application === undefined || user === undefined || file === undefined) throw nothing()
  const key = checkFileKey({ application, user, file })
  const [first = '', ...below] = rest
  if (below.length === 0) {
    if (first === (isDash ? 'manifest.mpd' : 'master.m3u8')) {
      return { key, generation: undefined, wanted: { kind: isDash ? 'manifest' : 'master' } }
    }
    throw nothing()
  }
  if (!GENERATION.test(first)) throw nothing()
  return { key, generation: first, wanted: wantedOf(below) }
}

function wantedOf(below: readonly string[]): Wanted {
  const [folder = '', track = '', name = ''] = below
  if (below.length === 1) {
    const [, language, ending] = SUBTITLES.exec(folder) ?? []
    if (language === undefined) throw nothing()
    return { kind: ending === 'vtt' ? 'subtitles' : 'subtitle-list', language }
  }
  const [, version, profile, generationStart] = FOLDER.exec(folder) ?? []
  if (below.length !== 3 || Number(version) !== PACKAGING_VERSION || !TRACK.test(track)) throw nothing()
  const source: SourceName =
    profile === undefined || generationStart === undefined
      ? { folder }
      : { folder, rendition: { profile, generationStart } }
  const place = { source, track: Number(track) }
  if (name === 'index.m3u8') return { kind: 'list', ...place }
  if (name === 'iframes.m3u8') return { kind: 'winding-list', ...place }
  if (name === 'init.mp4') return { kind: 'init', ...place }
  const [, kind, number, ending] = NUMBERED.exec(name) ?? []
  if (number === undefined || (kind === 'iframe' && ending === 'mp3')) throw nothing()
  const isPacked = ending === 'mp3'
  return {
    kind: kind === 'iframe' ? 'winding' : isPacked ? 'packed' : 'segment',
    ...place,
    number: Number(number)
  }
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw new HttpProblem(400, 'the URL is not percent-encoded UTF-8')
  }
}

function nothing(): HttpProblem {
  return new HttpProblem(404, NOTHING_HERE)
}
