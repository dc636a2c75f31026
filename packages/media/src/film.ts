/** A film as it is opened: what is known of it, and its samples once somebody wants to package it. */
import { scanAdts, scanFlac, scanMp3, scanOgg } from './audio-file-scan.ts'
import { BudgetedSource, type ByteSource, type ReadBudget } from './byte-source.ts'
import { damaged, unsupported } from './errors.ts'
import { readFacts, type FilmFacts } from './film-facts.ts'
import { BOX_HEADER_BYTES_MAX, readBoxHeader } from './isobmff-boxes.ts'
import { scanIsobmff } from './isobmff-scan.ts'
import { scanMatroska } from './matroska-scan.ts'
import type { ScannedFilm } from './scanned-film.ts'

export interface OpenOptions {
  /** The source has the front of a film that is still arriving. */
  growing?: boolean
  /** Default: twice the film's size and its index; FACTS_TIME_MS to know it, SCAN_TIME_MS to read through it. */
  budget?: Partial<ReadBudget>
}

/** Bytes that knowing a film may cost, whatever its size: its index, and some looks here and there. */
const FACTS_READ_BYTES = 512 * 1024 * 1024
const FACTS_TIME_MS = 15_000
/** A scan may read all of it, and a part twice. */
const SCAN_TIME_MS = 20 * 60_000

export interface Film {
  readonly facts: FilmFacts
  readonly growing: boolean
  readonly sizeBytes: number
  /** Reads all that packaging needs. @throws {UnpackageableError} */
  scan(): Promise<ScannedFilm>
}

/**
 * Finds out what a film is. MP4 and MOV cost their index; MKV and audio files a few looks.
 *
 * @throws {UnpackageableError} it is no film that can be read here; its reason says why
 */
export async function openFilm(source: ByteSource, options: OpenOptions = {}): Promise<Film> {
  const { growing = false, budget = {} } = options
  const limits: ReadBudget = {
    readBytesMax: budget.readBytesMax ?? FACTS_READ_BYTES + source.sizeBytes * 2,
    timeMs: budget.timeMs ?? FACTS_TIME_MS
  }
  if (source.sizeBytes === 0) throw unsupported('it is empty')
  const reader = new BudgetedSource(source, limits)
  await checkFront(reader)
  const facts = await readFacts(reader)
  return {
    facts,
    growing,
    sizeBytes: source.sizeBytes,
    scan: () => {
      reader.restartClock(budget.timeMs ?? SCAN_TIME_MS)
      return scanContainer(reader, facts, growing)
    }
  }
}

/** A film of boxes begins with few of them. */
const FRONT_BOXES_MAX = 1_000

/** Refuses at once what would keep others busy for long. */
async function checkFront(source: BudgetedSource): Promise<void> {
  const { sizeBytes } = source
  for (let at = 0, boxes = 0; at + 8 <= sizeBytes; boxes++) {
    const header = readBoxHeader(await source.view(at, Math.min(at + BOX_HEADER_BYTES_MAX, sizeBytes)))
    if (header === undefined || !FRONT_BOXES.has(header.type)) return
    if (boxes === FRONT_BOXES_MAX) throw damaged(`its index is not among its first ${FRONT_BOXES_MAX} boxes`)
    if (header.sizeBytes === undefined) return
    at += header.sizeBytes
  }
}

const FRONT_BOXES = new Set([
  'ftyp',
  'styp',
  'free',
  'skip',
  'wide',
  'mdat',
  'uuid',
  'pdin',
  'udta',
  'meta',
  'sidx',
  'emsg'
])

function scanContainer(
  source: BudgetedSource,
  { container }: FilmFacts,
  growing: boolean
): Promise<ScannedFilm> {
  switch (container) {
    case 'mp4':
    case 'mov':
      return scanIsobmff(source, { growing })
    case 'mkv':
    case 'webm':
      return scanMatroska(source, { growing })
    case 'mp3':
      return scanMp3(source)
    case 'flac':
      return scanFlac(source)
    case 'aac':
      return scanAdts(source)
    case 'ogg':
      return scanOgg(source)
    case 'wav':
      throw unsupported('uncompressed sound (WAV) is not packaged; it plays as it is')
    default:
      throw unsupported('an MPEG transport stream is not packaged')
  }
}
