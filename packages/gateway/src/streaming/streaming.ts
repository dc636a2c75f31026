/** HLS and DASH of what is stored: playlists and segments, made when somebody asks for them. */
import { createHash } from 'node:crypto'
import type { OutgoingHttpHeader } from 'node:http'
import { LRUCache } from 'lru-cache'
import {
  dashManifest,
  type FilmIndex,
  languageName,
  masterPlaylist,
  mediaPlaylist,
  readSubtitles,
  subtitlePlaylist,
  UnpackageableError,
  webVtt,
  windingPlaylist,
  type IndexTrack,
  type PackagedFilm,
  type SegmentPlan
} from '@tributary/media'
import type { LibraryDerived } from '@tributary/calls'
import { derivedKey, RejectedError, type FileKey } from '@tributary/protocol'
import type { Clock, Log, Metrics } from '@tributary/runtime'
import { renditionOf, subtitlesOf } from '../api/film-view.ts'
import { parseRange, resolveRange } from '../byte-range.ts'
import { evaluateConditions, ifRangeHolds } from '../conditions.ts'
import { sendWhole, type Exchange } from '../exchange.ts'
import { CORS_HEADERS } from '../file-headers.ts'
import type { FileService } from '../file-service.ts'
import { HttpProblem } from '../problem.ts'
import { BlockCache, type StoredFile } from './block-cache.ts'
import { GrowingFilms, type GrowingFilm } from './growing-films.ts'
import { OpenFilms, type OpenFilm, type OpenSource } from './open-films.ts'
import { KEPT_SEGMENT_BYTES_MAX, SegmentCache } from './segment-cache.ts'
import { ORIGINAL_FOLDER, parseStreamingTarget, type Wanted } from './streaming-target.ts'

const FILM_BLOCK_BYTES = 512 * 1024
const LISTS_BYTES_MAX = 8 * 1024 * 1024
const SUBTITLES_BYTES_MAX = 8 * 1024 * 1024
/** Shorter pieces are put together before they are sent. */
const SENT_PIECE_BYTES_MIN = 32 * 1024
/** Playlists and segments never change below a generation. */
const FOR_GOOD = 'public, max-age=31536000, immutable'
const ASK_AGAIN = 'no-cache'
const EXPOSED = 'Accept-Ranges, Content-Length, Content-Range, ETag'
const HLS_TYPE = 'application/vnd.apple.mpegurl'
const DASH_TYPE = 'application/dash+xml'
const PACKED_TYPE = 'audio/mpeg'
const VTT_TYPE = 'text/vtt; charset=utf-8'
/** Film that was played within this time counts as being played. */
const ACTIVE_MS = 15_000
const ACTIVE_FILMS_MAX = 10_000

export interface StreamingOptions {
  files: Pick<FileService, 'fetch' | 'stat' | 'upload' | 'uploads' | 'index' | 'deleteGeneration'>
  clock: Clock
  log: Log
  /** Memory for blocks of films and for segments. */
  cacheBytes: number
  /** Films whose indexes are in memory. */
  filmsMax: number
}

/** What is answered with 200, 206 or 304. */
interface Answer {
  contentType: string
  /** Unique for these bytes, for ever. */
  name: string
  cacheControl: string
  totalBytes: number
  bytes?: Buffer | undefined
  /** Sends a part that is not in memory. */
  stream?: ((start: number, end: number) => Promise<void>) | undefined
}

export class Streaming {
  readonly #files: StreamingOptions['files']
  readonly #clock: Clock
  readonly #blocks: BlockCache
  readonly #segments: SegmentCache
  readonly #films: OpenFilms
  readonly #growing: GrowingFilms
  /** Generation of a film → when a segment of it was last asked for. */
  readonly #active = new Map<string, number>()
  /** Playlists of tracks: a long film has thousands of lines. */
  readonly #lists = new LRUCache<string, Answer>({
    maxSize: LISTS_BYTES_MAX,
    sizeCalculation: ({ totalBytes }) => totalBytes * 3
  })
  #refused = 0

  constructor({ files, clock, log, cacheBytes, filmsMax }: StreamingOptions) {
    this.#files = files
    this.#clock = clock
    this.#blocks = new BlockCache(files, { bytesMax: cacheBytes / 2, blockBytes: FILM_BLOCK_BYTES })
    this.#segments = new SegmentCache(this.#blocks, cacheBytes / 2)
    this.#films = new OpenFilms({ files, clock, log, filmsMax })
    this.#growing = new GrowingFilms(files, clock)
  }

  async close(): Promise<void> {
    await Promise.all([this.#films.close(), this.#growing.close()])
  }

  expose(metrics: Metrics): void {
    metrics.gauge('stream_films_open', 'Films whose indexes are in memory', () => this.#films.counts.open)
    metrics.gauge('stream_indexes_in_progress', 'Indexes being made', () => this.#films.counts.making)
    metrics.gauge(
      'stream_cache_bytes',
      'Memory of segments and of blocks of films and indexes',
      () => [
        { labels: { cache: 'segments' }, value: this.#segments.bytes },
        { labels: { cache: 'films' }, value: this.#blocks.bytes },
        { labels: { cache: 'indexes' }, value: this.#films.counts.indexBytes }
      ],
      ['cache']
    )
    metrics.counter(
      'stream_cache_requests_total',
      'Segments and blocks that were in memory, and that were not',
      () => [
        { labels: { cache: 'segments', outcome: 'hit' }, value: this.#segments.hits },
        { labels: { cache: 'segments', outcome: 'miss' }, value: this.#segments.misses },
        { labels: { cache: 'films', outcome: 'hit' }, value: this.#blocks.counts.hits },
        { labels: { cache: 'films', outcome: 'miss' }, value: this.#blocks.counts.misses }
      ],
      ['cache', 'outcome']
    )
    metrics.counter(
      'stream_read_bytes_total',
      'Bytes of films read for segments',
      () => this.#blocks.counts.readBytes
    )
    metrics.counter('stream_indexes_total', 'Indexes made', () => this.#films.counts.made)
    metrics.counter(
      'stream_refusals_total',
      'Requests for films that cannot be packaged',
      () => this.#refused
    )
  }

  /** GET and HEAD below /hls/ and /dash/. @returns the status that was answered. */
  async get(exchange: Exchange): Promise<number> {
    const { key, generation, wanted } = parseStreamingTarget(exchange.request.url!)
    try {
      const film = await this.#find(key, generation)
      const answer =
        'availableBytes' in film
          ? await this.#ofGrowing(film, wanted)
          : await this.#answer(exchange, film, wanted)
      return await this.#send(exchange, answer)
    } catch (error) {
      if (!(error instanceof UnpackageableError)) throw error
      this.#refused++
      throw new HttpProblem(415, `the film cannot be packaged: ${error.message}`, [], 'NOT_PACKAGEABLE')
    }
  }

  /** Stored, or still being uploaded. An address that has an upload's id is good for the film that it has become. */
  async #find(key: FileKey, generation: string | undefined): Promise<OpenFilm | GrowingFilm> {
    try {
      return await (generation === undefined ? this.#films.current(key) : this.#films.at(key, generation))
    } catch (error) {
      const { code, status } = error as { code?: string; status?: number }
      if (code !== 'FILE_NOT_FOUND' && status !== 404) throw error
      if (generation === undefined) {
        const growing = await this.#growing.find(key)
        if (growing) return growing
        throw error
      }
      const found = await this.#growing.at(key, generation)
      if (found.film) return found.film
      if (found.generation === undefined) throw error
      const stored = await this.#films.at(key, found.generation)
      return { ...stored, generation }
    }
  }

  /** What has come of it: its playlists go on, its segments are what they will be. */
  async #ofGrowing(film: GrowingFilm, wanted: Wanted): Promise<Answer> {
    const { id, index, availableBytes } = film
    if (wanted.kind === 'master') {
      const sources = [{ folder: ORIGINAL_FOLDER, index }]
      const lines = masterPlaylist({ sources }, { base: `${id}/` }).split('\n')
      // Pictures to wind by are for a film that is whole.
      const text = lines.filter(line => !line.startsWith('#EXT-X-I-FRAME-STREAM-INF:')).join('\n')
      return textAnswer(text, HLS_TYPE, ASK_AGAIN)
    }
    const nothing = new HttpProblem(404, 'the film is still being uploaded')
    if (!('track' in wanted) || wanted.source.rendition !== undefined) throw nothing
    const track = index.track(wanted.track)
    if (!track) throw nothing
    if (wanted.kind === 'list')
      return textAnswer(mediaPlaylist(index, track, { availableBytes }), HLS_TYPE, ASK_AGAIN)
    if (wanted.kind === 'init') {
      const bytes = index.initSegment(track)
      const contentType = typeOf(track)
      const name = `growing ${id} ${track.id} init`
      return { contentType, name, cacheControl: ASK_AGAIN, totalBytes: bytes.byteLength, bytes }
    }
    if (wanted.kind !== 'segment' && wanted.kind !== 'packed') throw nothing
    const { kind, number } = wanted
    const plan = await planOf(index, track, kind, number)
    if (!plan) throw new HttpProblem(404, 'the film has no such segment yet')
    const bytes = await this.#growing.segment(film, plan)
    const contentType = kind === 'packed' ? PACKED_TYPE : typeOf(track)
    const name = `growing ${id} ${track.id} ${kind} ${number}`
    return { contentType, name, cacheControl: FOR_GOOD, totalBytes: bytes.byteLength, bytes }
  }

  async #answer(exchange: Exchange, film: OpenFilm, wanted: Wanted): Promise<Answer> {
    switch (wanted.kind) {
      case 'master':
      case 'manifest': {
        const packaged = await this.#packaged(film)
        const base = `${film.generation}/`
        return wanted.kind === 'master'
          ? textAnswer(masterPlaylist(packaged, { base }), HLS_TYPE, ASK_AGAIN)
          : textAnswer(dashManifest(packaged, { base }), DASH_TYPE, ASK_AGAIN)
      }
      case 'subtitle-list': {
        const { durationS } = film.original.index.head
        await this.#subtitles(film, wanted.language)
        return textAnswer(
          subtitlePlaylist(durationS, `subtitles-${wanted.language}.vtt`),
          HLS_TYPE,
          ASK_AGAIN
        )
      }
      case 'subtitles':
        return textAnswer(await this.#subtitles(film, wanted.language), VTT_TYPE, ASK_AGAIN)
      default:
        return this.#ofTrack(exchange, film, wanted)
    }
  }

  async #ofTrack(
    exchange: Exchange,
    film: OpenFilm,
    wanted: Extract<Wanted, { source: unknown }>
  ): Promise<Answer> {
    const source = await this.#films.source(film, wanted.source)
    const { index } = source
    const track = index.track(wanted.track)
    if (track === undefined) throw new HttpProblem(404, 'the film has no such track')
    switch (wanted.kind) {
      case 'list': {
        const name = `${source.file.generation} ${film.generation} ${source.folder} ${track.id}`
        const kept = this.#lists.get(name) ?? textAnswer(mediaPlaylist(index, track), HLS_TYPE, FOR_GOOD)
        this.#lists.set(name, kept)
        return kept
      }
      case 'winding-list': {
        const list = windingPlaylist(track)
        if (list === undefined) throw new HttpProblem(404, 'the track has no pictures')
        return textAnswer(list, HLS_TYPE, FOR_GOOD)
      }
      case 'init': {
        const bytes = index.initSegment(track)
        const name = `${source.file.generation} ${film.generation} ${source.folder} ${track.id} init`
        return {
          contentType: typeOf(track),
          name,
          cacheControl: FOR_GOOD,
          totalBytes: bytes.byteLength,
          bytes
        }
      }
      default:
        return this.#segment(exchange, film, source, track, wanted)
    }
  }

  async #segment(
    exchange: Exchange,
    film: OpenFilm,
    source: OpenSource,
    track: IndexTrack,
    { kind, number }: { kind: 'segment' | 'packed' | 'winding'; number: number }
  ): Promise<Answer> {
    const { index } = source
    const name = `${source.file.generation} ${film.generation} ${source.folder} ${track.id} ${kind} ${number}`
    const contentType = kind === 'packed' ? PACKED_TYPE : typeOf(track)
    const described = { contentType, name, cacheControl: FOR_GOOD }
    this.#active.delete(film.generation)
    this.#active.set(film.generation, this.#clock.monotonicMs())
    const kept = this.#segments.kept(name)
    if (kept) return { ...described, totalBytes: kept.byteLength, bytes: kept }
    const plan = await planOf(index, track, kind, number)
    if (plan === undefined) throw new HttpProblem(404, 'the film has no such segment')
    const { totalBytes } = plan
    const unread = exchange.request.method === 'HEAD'
    if (unread) return { ...described, totalBytes }
    if (!this.#isKept(plan)) {
      const [first] = plan.pieces
      if (totalBytes <= KEPT_SEGMENT_BYTES_MAX) this.#blocks.want(source.file, plan.pieces)
      // A film that cannot be read is told before anything else is promised.
      if (first) await this.#blocks.read(source.file, first.start, first.start + 1)
      const stream = (start: number, end: number): Promise<void> =>
        this.#pump(exchange, source.file, plan, start, end)
      return { ...described, totalBytes, stream }
    }
    const bytes = await this.#segments.make(name, source, plan)
    if (kind !== 'winding') this.#readAhead(source, track, number + 1)
    return { ...described, totalBytes, bytes }
  }

  /** The next segment is wanted in a few seconds; where few films are played there is room for it. */
  #readAhead(source: OpenSource, track: IndexTrack, number: number): void {
    const bytes = track.bytes[number]
    if (bytes === undefined || bytes * this.#activeFilms() * 3 > this.#blocks.bytesMax) return
    source.index.segment(track, number).then(
      plan => plan && this.#blocks.want(source.file, plan.pieces),
      () => {} // whoever asks for it is told
    )
  }

  /** Where many films are played at once, a segment that is kept is gone before anybody asks for it again. */
  #isKept({ pieces, totalBytes }: SegmentPlan): boolean {
    if (totalBytes > KEPT_SEGMENT_BYTES_MAX) return false
    if (totalBytes < SENT_PIECE_BYTES_MIN * pieces.length) return true
    return totalBytes * this.#activeFilms() * 2 <= this.#segments.bytesMax
  }

  #activeFilms(): number {
    const since = this.#clock.monotonicMs() - ACTIVE_MS
    for (const [generation, lastMs] of this.#active) {
      if (lastMs >= since && this.#active.size <= ACTIVE_FILMS_MAX) break
      this.#active.delete(generation)
    }
    return this.#active.size
  }

  /** A segment that is not kept: block by block, as they come and as they leave. */
  async #pump(
    { response }: Exchange,
    file: StoredFile,
    plan: SegmentPlan,
    start: number,
    end: number
  ): Promise<void> {
    if (start < plan.head.byteLength) {
      response.write(plan.head.subarray(start, Math.min(end, plan.head.byteLength)))
    }
    let at = plan.head.byteLength
    for (const piece of plan.pieces) {
      const from = Math.max(0, start - at)
      const to = Math.min(piece.lengthBytes, end - at)
      at += piece.lengthBytes
      if (from >= to) continue
      for await (const bytes of this.#blocks.views(file, piece.start + from, piece.start + to)) {
        if (response.destroyed) return
        if (!response.write(bytes)) await drained(response)
      }
    }
  }

  async #packaged(film: OpenFilm): Promise<PackagedFilm> {
    const derived = await this.#derived(film)
    const sources: OpenSource[] = [film.original]
    const indexes = new Set(derived.map(({ what }) => what))
    for (const file of derived) {
      const profile = renditionOf(file)
      // Its index is stored last: what has one is whole.
      if (profile === undefined || !indexes.has(`rendition-${profile}.index`)) continue
      const { generation, sizeBytes, what } = file
      const stored = { key: derivedKey(film.key, film.generation, what), generation, sizeBytes }
      try {
        sources.push(await this.#films.openRendition(film, profile, stored))
      } catch (error) {
        if (!(error instanceof UnpackageableError || error instanceof HttpProblem)) throw error
      }
    }
    const subtitles = subtitlesOf({ ...film.key, generation: film.generation }, derived)
    return {
      sources,
      subtitles: subtitles.map(({ language }) => ({
        name: `subtitles-${language}`,
        language,
        title: languageName(language)
      }))
    }
  }

  /** What was made from this film; nothing where the index has no library. */
  async #derived({ key, generation }: OpenFilm): Promise<readonly LibraryDerived[]> {
    try {
      const { film, derived } = await this.#files.index('library.film', key)
      return film.generation === generation ? derived : []
    } catch (error) {
      if (error instanceof RejectedError) return []
      throw error
    }
  }

  async #subtitles({ key, generation }: OpenFilm, language: string): Promise<string> {
    try {
      const content = await this.#whole(derivedKey(key, generation, `subtitles-${language}.vtt`))
      return webVtt(readSubtitles(content), { timestampMap: true })
    } catch (error) {
      const missing = error instanceof RejectedError && error.code === 'FILE_NOT_FOUND'
      throw missing ? new HttpProblem(404, `the film has no subtitles in ${language}`) : error
    }
  }

  async #whole(key: FileKey): Promise<Uint8Array> {
    const fetched = await this.#files.fetch(key)
    if (fetched.outcome !== 'content') throw new RejectedError('FILE_NOT_FOUND', 'it is gone')
    if (fetched.lengthBytes > SUBTITLES_BYTES_MAX) {
      fetched.cancel()
      throw new HttpProblem(404, 'the subtitles are too long')
    }
    if (fetched.bytes) return fetched.bytes
    const parts: Buffer[] = []
    await fetched.stream!((bytes, release) => {
      parts.push(Buffer.from(bytes))
      release()
    })
    return Buffer.concat(parts)
  }

  async #send(exchange: Exchange, answer: Answer): Promise<number> {
    const { request, response } = exchange
    const { bytes, stream, totalBytes } = answer
    const tag = createHash('sha256').update(answer.name).digest('hex').slice(0, 32)
    const validators = { generation: tag, storedAtMs: 0 }
    const common: OutgoingHttpHeader[] = [
      'ETag',
      `"${tag}"`,
      'Cache-Control',
      answer.cacheControl,
      ...CORS_HEADERS,
      'Access-Control-Expose-Headers',
      EXPOSED,
      'Cross-Origin-Resource-Policy',
      'cross-origin'
    ]
    const nowMs = this.#clock.nowMs()
    const verdict = evaluateConditions(request.headers, validators, true, nowMs)
    if (verdict === 'failed') throw new HttpProblem(412, 'this is not what the condition names')
    if (verdict === 'not-modified') {
      sendWhole(exchange, 304, common)
      return 304
    }
    common.push(
      'Content-Type',
      answer.contentType,
      'Accept-Ranges',
      'bytes',
      'X-Content-Type-Options',
      'nosniff'
    )
    const { range: wanted, 'if-range': ifRange } = request.headers
    const counts = ifRange === undefined || ifRangeHolds(String(ifRange), validators, nowMs)
    const specs =
      wanted === undefined || request.method === 'HEAD' || !counts ? undefined : parseRange(wanted)
    // Several ranges of a segment: nobody needs them, and the whole is a right answer too.
    const [spec] = specs?.length === 1 ? specs : []
    let start = 0
    let end = totalBytes
    let status = 200
    if (spec) {
      const range = resolveRange(spec, totalBytes)
      if (range === undefined) {
        throw new HttpProblem(416, `there are ${totalBytes} bytes; nothing of the range lies within`, [
          'Content-Range',
          `bytes */${totalBytes}`
        ])
      }
      start = range.start
      end = range.end + 1
      status = 206
      common.push('Content-Range', `bytes ${start}-${end - 1}/${totalBytes}`)
    }
    common.push('Content-Length', String(end - start))
    if (request.method === 'HEAD') {
      sendWhole(exchange, 200, common)
      return 200
    }
    if (response.destroyed) return 499
    exchange.sentBytes = end - start
    if (bytes) {
      sendWhole(exchange, status, common, status === 200 ? bytes : bytes.subarray(start, end))
      return status
    }
    response.writeHead(status, common)
    await stream!(start, end)
    response.end()
    return status
  }
}

function planOf(
  index: FilmIndex,
  track: IndexTrack,
  kind: 'segment' | 'packed' | 'winding',
  number: number
): Promise<SegmentPlan | undefined> {
  if (kind === 'winding') return index.windingFrame(track, number)
  return kind === 'packed' ? index.packedSegment(track, number) : index.segment(track, number)
}

function textAnswer(text: string, contentType: string, cacheControl: string): Answer {
  const bytes = Buffer.from(text)
  return { contentType, name: text, cacheControl, totalBytes: bytes.byteLength, bytes }
}

function typeOf({ kind }: IndexTrack): string {
  return kind === 'video' ? 'video/mp4' : 'audio/mp4'
}

function drained(response: Exchange['response']): Promise<void> {
  return new Promise(resolve => {
    const settle = (): void => {
      response.off('drain', settle)
      response.off('close', settle)
      resolve()
    }
    response.on('drain', settle)
    response.on('close', settle)
    if (response.destroyed) settle()
  })
}
