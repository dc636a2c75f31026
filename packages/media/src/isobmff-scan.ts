/** MP4 and MOV: the tables of `moov`, and the fragments after it. ISO/IEC 14496-12. */
import { box, text } from './box-writer.ts'
import type { BudgetedSource } from './byte-source.ts'
import { beyondLimits, damaged } from './errors.ts'
import {
  bodyView,
  BOX_HEADER_BYTES_MAX,
  childOf,
  childrenOf,
  fourCharacters,
  readBoxHeader,
  safeU64,
  type Box
} from './isobmff-boxes.ts'
import { FragmentReader, type TrackDefaults } from './isobmff-fragments.ts'
import { SAMPLE_BYTES_MAX, SAMPLES_MAX, SampleTable } from './sample-table.ts'
import type { ScannedFilm, ScannedTrack, ScanOptions } from './scanned-film.ts'

/** Ten hours of picture and eight sound tracks are some 60 MB. */
const MOOV_BYTES_MAX = 192 * 1024 * 1024
const MOOF_BYTES_MAX = 16 * 1024 * 1024
/** A fragment a second for a day, and their data. */
const TOP_BOXES_MAX = 400_000
const TRACKS_MAX = 64

/** Codec of a sample entry → whether its samples are worth a table. */
const VIDEO_ENTRIES = new Set(['avc1', 'avc3', 'hvc1', 'hev1', 'vp09', 'av01'])
const AUDIO_ENTRIES = new Set(['mp4a', 'Opus', 'fLaC', '.mp3'])
/** Boxes of a sample entry that are taken over as they are. */
const CONFIGURATION_BOXES = new Set([
  'avcC',
  'hvcC',
  'vpcC',
  'av1C',
  'esds',
  'dOps',
  'dfLa',
  'colr',
  'pasp',
  'mdcv',
  'clli',
  'SmDm',
  'CoLL'
])

export async function scanIsobmff(source: BudgetedSource, { growing }: ScanOptions): Promise<ScannedFilm> {
  const { sizeBytes } = source
  let movie: Movie | undefined
  let incomplete = false
  let boxes = 0
  for (let at = 0; at < sizeBytes; boxes++) {
    if (boxes === TOP_BOXES_MAX) throw beyondLimits(`it has more than ${TOP_BOXES_MAX} boxes`)
    const header = readBoxHeader(await source.view(at, Math.min(at + BOX_HEADER_BYTES_MAX, sizeBytes)))
    if (header === undefined) break
    const end = header.sizeBytes === undefined ? sizeBytes : at + header.sizeBytes
    if (header.type === 'moov' || header.type === 'moof') {
      if (end > sizeBytes) {
        incomplete = true
        break
      }
      const bytesMax = header.type === 'moov' ? MOOV_BYTES_MAX : MOOF_BYTES_MAX
      if (end - at > bytesMax) throw beyondLimits(`its box ${header.type} has ${end - at} bytes`)
      if (header.type === 'moov') {
        movie ??= readMovie(await source.view(at + header.headerBytes, end))
      } else {
        movie?.fragments.read(await source.view(at + header.headerBytes, end), at)
      }
    }
    if (end > sizeBytes) incomplete = true
    at = end
  }
  if (movie === undefined) {
    throw growing
      ? damaged('its index (moov) has not arrived yet')
      : damaged('it has no index (moov): it was cut off, or never finished')
  }
  if (incomplete && !growing && movie.fragmented) throw damaged('it is cut off in the middle of a fragment')
  for (const { track, edit } of movie.tracks) {
    movie.fragments.finish(track.id)
    applyEdit(track, edit, movie.timescale)
    checkPlaces(track, sizeBytes, growing)
  }
  return { tracks: movie.tracks.map(({ track }) => track), incomplete, openEnded: movie.fragmented }
}

interface Movie {
  timescale: number
  tracks: { track: ScannedTrack; edit: Edit }[]
  fragments: FragmentReader
  fragmented: boolean
}

function readMovie(moov: Uint8Array): Movie {
  const children = childrenOf(moov)
  const mvhd = childOf(children, 'mvhd')
  if (mvhd === undefined) throw damaged('its index has no header (mvhd)')
  const version = bodyView(mvhd, 20).getUint8(0)
  const timescale = bodyView(mvhd, version === 1 ? 32 : 20).getUint32(version === 1 ? 20 : 12)
  if (timescale === 0) throw damaged('its clock has no ticks (mvhd)')
  const tracks: Movie['tracks'] = []
  for (const trak of children) {
    if (trak.type !== 'trak') continue
    if (tracks.length === TRACKS_MAX) throw beyondLimits(`it has more than ${TRACKS_MAX} tracks`)
    const read = readTrack(trak, timescale)
    if (read) tracks.push(read)
  }
  const mvex = childOf(children, 'mvex')
  const defaults = new Map<number, TrackDefaults>()
  for (const trex of mvex ? childrenOf(mvex.body) : []) {
    if (trex.type !== 'trex') continue
    const view = bodyView(trex, 24)
    defaults.set(view.getUint32(4), {
      description: view.getUint32(8),
      duration: view.getUint32(12),
      size: view.getUint32(16),
      flags: view.getUint32(20)
    })
  }
  const fragments = new FragmentReader(
    tracks.map(({ track }) => track),
    defaults
  )
  return { timescale, tracks, fragments, fragmented: mvex !== undefined }
}

function readTrack(trak: Box, movieTimescale: number): Movie['tracks'][number] | undefined {
  const children = childrenOf(trak.body)
  const tkhd = childOf(children, 'tkhd')
  const mdia = childOf(children, 'mdia')
  if (tkhd === undefined || mdia === undefined) return undefined
  const wide = bodyView(tkhd, 4).getUint8(0) === 1
  const headerView = bodyView(tkhd, wide ? 96 : 84)
  const id = headerView.getUint32(wide ? 20 : 12)
  const matrix = tkhd.body.slice(wide ? 52 : 40, wide ? 88 : 76)
  const media = childrenOf(mdia.body)
  const mdhd = childOf(media, 'mdhd')
  const hdlr = childOf(media, 'hdlr')
  const minf = childOf(media, 'minf')
  if (mdhd === undefined || hdlr === undefined || minf === undefined) return undefined
  bodyView(hdlr, 12)
  const handler = fourCharacters(hdlr.body, 8)
  if (handler !== 'vide' && handler !== 'soun') return undefined
  const mediaVersion = bodyView(mdhd, 20).getUint8(0)
  const timescale = bodyView(mdhd, mediaVersion === 1 ? 32 : 20).getUint32(mediaVersion === 1 ? 20 : 12)
  if (timescale === 0) throw damaged('a track has a clock without ticks (mdhd)')
  const stbl = childOf(childrenOf(minf.body), 'stbl')
  if (stbl === undefined) throw damaged('a track has no sample tables (stbl)')
  const tables = childrenOf(stbl.body)
  const track: ScannedTrack = {
    id,
    kind: handler === 'vide' ? 'video' : 'audio',
    timescale,
    samples: new SampleTable(),
    origin: 0,
    configuration: undefined,
    codecPrivate: undefined,
    sampleEntryType: undefined,
    matrix,
    light: undefined,
    refusal: undefined
  }
  readDescription(track, tables)
  if (track.refusal === undefined) readSamples(track, tables)
  const edts = childOf(children, 'edts')
  const elst = edts && childOf(childrenOf(edts.body), 'elst')
  return { track, edit: elst ? readEdits(elst, track, movieTimescale) : NO_EDIT }
}

/** stsd: one description for all samples, as an init segment has one. */
function readDescription(track: ScannedTrack, tables: readonly Box[]): void {
  const stsd = childOf(tables, 'stsd')
  if (stsd === undefined) throw damaged('a track says nothing of its codec (stsd)')
  bodyView(stsd, 8)
  const entries = childrenOf(stsd.body.subarray(8))
  const entry = entries[0]
  if (entry === undefined) throw damaged('a track says nothing of its codec (stsd)')
  track.sampleEntryType = entry.type
  if (entry.type === 'encv' || entry.type === 'enca') {
    track.refusal = 'it is encrypted'
    return
  }
  const known = track.kind === 'video' ? VIDEO_ENTRIES : AUDIO_ENTRIES
  if (!known.has(entry.type)) {
    track.refusal = `the codec ${printable(entry.type)} is none that is packaged`
    return
  }
  let fixedBytes = 78
  if (track.kind === 'audio') {
    const version = bodyView(entry, 28).getUint16(8)
    fixedBytes = version === 1 ? 44 : version === 2 ? 64 : 28
  }
  bodyView(entry, fixedBytes)
  let children = childrenOf(entry.body.subarray(fixedBytes))
  // QuickTime wraps what describes the codec.
  const wave = childOf(children, 'wave')
  if (wave) children = [...children, ...childrenOf(wave.body)]
  track.configuration = concatenated(
    children.filter(child => CONFIGURATION_BOXES.has(child.type)).map(configurationBox)
  )
  const stsc = childOf(tables, 'stsc')
  if (entries.length > 1 && stsc && usesOtherDescriptions(stsc)) {
    track.refusal = 'its format changes in the middle'
  }
}

/** QuickTime's colour description has another name for the same thing, and lacks a byte: whether all of the range is used. */
function configurationBox({ type, body, whole }: Box): Uint8Array {
  const isQuickTime = type === 'colr' && body.byteLength >= 10 && fourCharacters(body, 0) === 'nclc'
  return isQuickTime ? box('colr', text('nclx'), body.subarray(4, 10), [0]) : whole
}

function usesOtherDescriptions(stsc: Box): boolean {
  const view = bodyView(stsc, 8)
  const count = entryCount(stsc, view.getUint32(4), 12)
  for (let index = 0; index < count; index++) if (view.getUint32(8 + index * 12 + 8) !== 1) return true
  return false
}

function readSamples({ samples, kind }: ScannedTrack, tables: readonly Box[]): void {
  const stsz = childOf(tables, 'stsz')
  const stz2 = stsz ? undefined : childOf(tables, 'stz2')
  const sizes = stsz ? sampleSizes(stsz) : stz2 ? compactSizes(stz2) : undefined
  if (sizes === undefined || sizes.count === 0) return
  const { count } = sizes
  if (count > SAMPLES_MAX) throw beyondLimits(`a track has ${count} samples`)
  const durations = new RunReader(childOf(tables, 'stts'), 'stts', false)
  const ctts = childOf(tables, 'ctts')
  const shifts = ctts && new RunReader(ctts, 'ctts', true)
  const stss = kind === 'video' ? childOf(tables, 'stss') : undefined
  const keys = stss && new KeyReader(stss)
  const stsc = childOf(tables, 'stsc')
  const stco = childOf(tables, 'stco')
  const co64 = stco ? undefined : childOf(tables, 'co64')
  const chunkTable = stco ?? co64
  if (stsc === undefined || chunkTable === undefined)
    throw damaged('a track does not say where its samples are')
  const chunkView = bodyView(chunkTable, 8)
  const chunks = entryCount(chunkTable, chunkView.getUint32(4), stco ? 4 : 8)
  const stscView = bodyView(stsc, 8)
  const runs = entryCount(stsc, stscView.getUint32(4), 12)
  let run = 0
  let dts = 0
  let index = 0
  for (let chunk = 1; chunk <= chunks && index < count; chunk++) {
    while (run + 1 < runs && stscView.getUint32(8 + (run + 1) * 12) <= chunk) run++
    if (run >= runs) break
    let offset = stco ? chunkView.getUint32(8 + (chunk - 1) * 4) : safeU64(chunkView, 8 + (chunk - 1) * 8)
    for (let left = stscView.getUint32(8 + run * 12 + 4); left > 0 && index < count; left--) {
      const size = sizes.at(index)
      const duration = durations.next()
      samples.push(
        offset,
        size,
        dts,
        shifts ? shifts.next() : 0,
        duration,
        keys ? keys.isKey(index + 1) : true
      )
      offset += size
      dts += duration
      index++
    }
  }
  if (index < count) throw damaged('its sample tables contradict each other')
}

/** Entries that a table says it has, held against its bytes. */
function entryCount(box: Box, count: number, entryBytes: number): number {
  if (count > (box.body.byteLength - 8) / entryBytes) {
    throw damaged(`the table ${box.type} is said to have ${count} entries and is too short for them`)
  }
  return count
}

interface Sizes {
  count: number
  at(index: number): number
}

function sampleSizes(stsz: Box): Sizes {
  const view = bodyView(stsz, 12)
  const common = view.getUint32(4)
  const count = view.getUint32(8)
  if (common !== 0) return { count, at: () => common }
  if (count > (stsz.body.byteLength - 12) / 4) {
    throw damaged(`the table stsz is said to have ${count} entries and is too short for them`)
  }
  return { count, at: index => view.getUint32(12 + index * 4) }
}

function compactSizes(stz2: Box): Sizes {
  const view = bodyView(stz2, 12)
  const bits = view.getUint8(7)
  const count = view.getUint32(8)
  if (bits !== 4 && bits !== 8 && bits !== 16) throw damaged('the table stz2 has fields of an unknown size')
  if (count > ((stz2.body.byteLength - 12) * 8) / bits) {
    throw damaged(`the table stz2 is said to have ${count} entries and is too short for them`)
  }
  if (bits === 16) return { count, at: index => view.getUint16(12 + index * 2) }
  if (bits === 8) return { count, at: index => view.getUint8(12 + index) }
  return { count, at: index => (view.getUint8(12 + (index >> 1)) >> (index % 2 === 0 ? 4 : 0)) & 15 }
}

/** stts and ctts: runs of samples with one value each. What is missing at the end is as the last. */
class RunReader {
  readonly #view: DataView
  readonly #runs: number
  readonly #signed: boolean
  #run = 0
  #left = 0
  #value = 0

  constructor(box: Box | undefined, name: string, signed: boolean) {
    if (box === undefined) throw damaged(`a track lacks the table ${name}`)
    this.#view = bodyView(box, 8)
    this.#runs = entryCount(box, this.#view.getUint32(4), 8)
    this.#signed = signed
  }

  next(): number {
    while (this.#left === 0 && this.#run < this.#runs) {
      const at = 8 + this.#run * 8
      this.#left = this.#view.getUint32(at)
      this.#value = this.#signed ? this.#view.getInt32(at + 4) : this.#view.getUint32(at + 4)
      this.#run++
    }
    if (this.#left > 0) this.#left--
    return this.#value
  }
}

/** stss: numbers of the key frames, rising. */
class KeyReader {
  readonly #view: DataView
  readonly #count: number
  #at = 0

  constructor(box: Box) {
    this.#view = bodyView(box, 8)
    this.#count = entryCount(box, this.#view.getUint32(4), 4)
  }

  isKey(number: number): boolean {
    while (this.#at < this.#count && this.#view.getUint32(8 + this.#at * 4) < number) this.#at++
    return this.#at < this.#count && this.#view.getUint32(8 + this.#at * 4) === number
  }
}

/** What of a track is shown: from `mediaStart` on, `delay` after the film's beginning, until `mediaEnd`. */
interface Edit {
  mediaStart: number
  /** In ticks of the film. */
  delay: number
  /** undefined: to its end. */
  mediaEnd: number | undefined
}
const NO_EDIT: Edit = { mediaStart: 0, delay: 0, mediaEnd: undefined }

function readEdits(elst: Box, track: ScannedTrack, movieTimescale: number): Edit {
  const view = bodyView(elst, 8)
  const wide = view.getUint8(0) === 1
  const entryBytes = wide ? 20 : 12
  const count = entryCount(elst, view.getUint32(4), entryBytes)
  const edit: Edit = { mediaStart: 0, delay: 0, mediaEnd: undefined }
  let started = false
  let paused = false
  for (let index = 0; index < count; index++) {
    const at = 8 + index * entryBytes
    const duration = wide ? safeU64(view, at) : view.getUint32(at)
    const mediaTime = wide ? Number(view.getBigInt64(at + 8)) : view.getInt32(at + 4)
    const rate = view.getInt16(at + (wide ? 16 : 8))
    if (mediaTime < 0) {
      if (started) paused = true
      else edit.delay += duration
      continue
    }
    if (rate !== 1) track.refusal ??= 'its edit list changes its speed'
    const end = duration === 0 ? undefined : mediaTime + (duration * track.timescale) / movieTimescale
    if (!started) edit.mediaStart = mediaTime
    else if (
      paused ||
      edit.mediaEnd === undefined ||
      Math.abs(mediaTime - edit.mediaEnd) > track.timescale / movieTimescale + 1
    ) {
      track.refusal ??= 'it is cut together from several parts by its edit list'
    }
    edit.mediaEnd = end
    started = true
  }
  return edit
}

/** Drops what the edit list cuts off at the end; what it cuts off in front is decoded, and not shown. */
function applyEdit(track: ScannedTrack, edit: Edit, movieTimescale: number): void {
  const { samples, timescale } = track
  track.origin = edit.mediaStart - Math.round((edit.delay * timescale) / movieTimescale)
  if (edit.mediaEnd === undefined) return
  // Durations of edits are rounded to the film's clock.
  const end = edit.mediaEnd + timescale / movieTimescale
  while (samples.count > 1 && samples.pts(samples.count - 1) >= end) samples.count--
}

function checkPlaces({ samples, refusal }: ScannedTrack, sizeBytes: number, growing: boolean): void {
  if (refusal !== undefined) return
  for (let index = 0; index < samples.count; index++) {
    const end = samples.offsets[index]! + samples.sizes[index]!
    if (samples.sizes[index]! > SAMPLE_BYTES_MAX) throw beyondLimits('a sample is too large')
    if (end > sizeBytes && !growing) {
      throw damaged(`it is cut off: it has ${sizeBytes} bytes, and its index says at least ${end}`)
    }
  }
}

export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.byteLength
  }
  return whole
}

function printable(type: string): string {
  return type.replace(/[^ -~]/g, '?')
}
