/** What is known of a film as a whole: mediabunny reads it, whatever the container. */
import {
  ADTS,
  CustomSource,
  FLAC,
  Input,
  MATROSKA,
  MP3,
  MP4,
  MPEG_TS,
  OGG,
  QTFF,
  WAVE,
  WEBM,
  type InputTrack,
  type MetadataTags
} from 'mediabunny'
import type { BudgetedSource } from './byte-source.ts'
import { damaged, unsupported, UnpackageableError } from './errors.ts'
import type { TrackKind } from './scanned-film.ts'

export type Container = 'mp4' | 'mov' | 'mkv' | 'webm' | 'mp3' | 'flac' | 'ogg' | 'wav' | 'aac' | 'ts'

/** Numbers of ISO/IEC 23091-2. */
export interface PictureColor {
  primaries: number
  transfer: number
  matrix: number
  fullRange: boolean
}

export interface TrackFacts {
  /** As the container numbers it. */
  id: number
  kind: TrackKind
  /** As RFC 6381 has it for a browser: `avc1.64001f`; null: not known. */
  codec: string | null
  /** Its common name: `avc`, `aac`, `ac3`, … */
  codecName: string | null
  /** BCP 47 or ISO 639-2; `und`: not said. */
  language: string
  title: string | null
  default: boolean
  durationS: number | null
  /** Bits per second on average. */
  bitRate: number | null
  codedWidth: number | null
  codedHeight: number | null
  /** As it is shown, turned as it should be, with square pixels. */
  width: number | null
  height: number | null
  /** Proportions of a pixel. */
  pixelWidth?: number
  pixelHeight?: number
  /** Degrees clockwise by which the picture is turned before it is shown: 0, 90, 180, 270. */
  rotation: number | null
  /** Pictures per second on average. */
  frameRate: number | null
  color?: PictureColor
  highDynamicRange: boolean
  channels: number | null
  sampleRate: number | null
  /** Why it is not part of the packaged film; null: it is, or nobody has looked yet. */
  refusal: string | null
}

export interface FilmFacts {
  container: Container
  durationS: number | null
  bitRate: number | null
  tracks: TrackFacts[]
  title: string | null
  tags: Record<string, string>
}

/** Not playlists: those would have us fetch what they name. */
const FORMATS = [MP4, QTFF, MATROSKA, WEBM, WAVE, OGG, FLAC, MP3, ADTS, MPEG_TS]
const TEXT_CHARACTERS_MAX = 500
const TAGS_MAX = 60
const TRACKS_MAX = 64
const MEDIABUNNY_CACHE_BYTES = 4 * 1024 * 1024
const CONTAINERS: Record<string, Container> = {
  MP4: 'mp4',
  'QuickTime File Format': 'mov',
  Matroska: 'mkv',
  WebM: 'webm',
  MP3: 'mp3',
  FLAC: 'flac',
  Ogg: 'ogg',
  WAVE: 'wav',
  ADTS: 'aac',
  'MPEG Transport Stream': 'ts'
}

const PRIMARIES: Record<string, number> = { bt709: 1, bt470bg: 5, smpte170m: 6, bt2020: 9, smpte432: 12 }
const TRANSFERS: Record<string, number> = {
  bt709: 1,
  smpte170m: 6,
  linear: 8,
  'iec61966-2-1': 13,
  'bt2020-10': 14,
  'bt2020-12': 15,
  pq: 16,
  hlg: 18
}
const MATRICES: Record<string, number> = { rgb: 0, bt709: 1, bt470bg: 5, smpte170m: 6, 'bt2020-ncl': 9 }

/**
 * @throws {UnpackageableError} it is no film that anybody here can read, or it is broken, or the budget is spent
 */
export async function readFacts(source: BudgetedSource): Promise<FilmFacts> {
  let stray: unknown
  const input = new Input({
    formats: FORMATS,
    source: new CustomSource({
      getSize: () => source.sizeBytes,
      read: (start, end) => source.read(start, end),
      maxCacheSize: MEDIABUNNY_CACHE_BYTES,
      prefetchProfile: 'fileSystem',
      handleUnhandledError: error => {
        stray = error
      }
    })
  })
  try {
    if (!(await input.canRead()))
      throw unsupported('it is no film or sound file of a kind that is known here')
    const { name } = await input.getFormat()
    const container = CONTAINERS[name]
    if (container === undefined) throw unsupported(`files of the kind ${name} are not packaged`)
    const tracks: TrackFacts[] = []
    for (const track of (await input.getTracks()).slice(0, TRACKS_MAX)) tracks.push(await trackFacts(track))
    const tags = await input.getMetadataTags()
    const durationS = finite(await input.getDurationFromMetadata())
    return {
      container,
      durationS,
      bitRate: durationS ? Math.round((source.sizeBytes * 8) / durationS) : null,
      tracks,
      title: clean(tags.title),
      tags: cleanTags(tags)
    }
  } catch (error) {
    if (error instanceof UnpackageableError) throw error
    if (stray instanceof UnpackageableError) throw stray
    throw damaged('it is broken where it describes itself', { cause: error })
  } finally {
    input.dispose()
  }
}

async function trackFacts(track: InputTrack): Promise<TrackFacts> {
  const facts: TrackFacts = {
    id: track.id,
    kind: track.type === 'video' ? 'video' : track.type === 'audio' ? 'audio' : 'subtitle',
    codec: null,
    codecName: await track.getCodec(),
    language: (await track.getLanguageCode()).slice(0, 35) || 'und',
    title: clean((await track.getName()) ?? undefined),
    default: (await track.getDisposition()).default,
    durationS: finite(await track.getDurationFromMetadata()),
    bitRate: finite(await track.getAverageBitrate()),
    codedWidth: null,
    codedHeight: null,
    width: null,
    height: null,
    rotation: null,
    frameRate: null,
    highDynamicRange: false,
    channels: null,
    sampleRate: null,
    refusal: null
  }
  if (facts.codecName === null) return facts
  facts.codec = await track.getCodecParameterString()
  if (track.isVideoTrack()) {
    facts.codedWidth = await track.getCodedWidth()
    facts.codedHeight = await track.getCodedHeight()
    facts.width = await track.getDisplayWidth()
    facts.height = await track.getDisplayHeight()
    facts.rotation = await track.getRotation()
    facts.highDynamicRange = await track.hasHighDynamicRange()
    const { num, den } = await track.getPixelAspectRatio()
    if (num !== den) {
      facts.pixelWidth = num
      facts.pixelHeight = den
    }
    const { primaries, transfer, matrix, fullRange } = await track.getColorSpace()
    if (primaries && transfer && matrix) {
      facts.color = {
        primaries: PRIMARIES[primaries] ?? 2,
        transfer: TRANSFERS[transfer] ?? 2,
        matrix: MATRICES[matrix] ?? 2,
        fullRange: fullRange ?? false
      }
    }
  } else if (track.isAudioTrack()) {
    facts.channels = await track.getNumberOfChannels()
    facts.sampleRate = await track.getSampleRate()
  }
  return facts
}

function finite(value: number | null | undefined): number | null {
  return value !== null && value !== undefined && Number.isFinite(value) && value >= 0 ? value : null
}

/** Text of a file is shown to people: no control characters, and not endless. */
function clean(value: string | undefined): string | null {
  if (value === undefined) return null
  const text = value
    .replace(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, TEXT_CHARACTERS_MAX)
    .toWellFormed()
  return text === '' ? null : text
}

function cleanTags(tags: MetadataTags): Record<string, string> {
  const cleaned: Record<string, string> = {}
  let count = 0
  const add = (name: string, value: unknown): void => {
    if (count === TAGS_MAX || !/^[\w .:-]{1,60}$/.test(name)) return
    const said = typeof value === 'number' ? String(value) : value instanceof Date ? dateText(value) : value
    const text = typeof said === 'string' ? clean(said) : null
    if (text === null) return
    cleaned[name] = text
    count++
  }
  const { raw: _raw, images: _images, ...known } = tags
  for (const [name, value] of Object.entries(known)) add(name, value)
  return cleaned
}

function dateText(date: Date): string | undefined {
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString().slice(0, 10)
}
