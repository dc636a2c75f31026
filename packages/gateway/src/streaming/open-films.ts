/** Films that are being played: their indexes, read or made once, and a watch over whether they are still there. */
import { LRUCache } from 'lru-cache'
import { FilmIndex, UnpackageableError, type ByteSource } from '@tributary/media'
import { derivedKey, mapKeyOf, RejectedError, type FileKey } from '@tributary/protocol'
import type { Clock, Log } from '@tributary/runtime'
import type { FileService } from '../file-service.ts'
import { HttpProblem } from '../problem.ts'
import { BlockCache, type StoredFile } from './block-cache.ts'
import { IndexMaker } from './index-maker.ts'
import { ORIGINAL_FOLDER, renditionFolder, type SourceName } from './streaming-target.ts'

const INDEX_FILE = 'index'
const INDEX_TYPE = 'application/octet-stream'
const INDEX_BLOCK_BYTES = 32 * 1024
const INDEX_CACHE_BYTES = 8 * 1024 * 1024
/** A film that was deleted or replaced plays on for no longer. */
const CHECK_MS = 2_000
const REFUSALS_MAX = 2_000
/** So long a viewer waits for the index of a film that nobody has looked at yet. */
const MAKE_WAIT_MS = 20_000
const RETRY_AFTER_S = '5'
/** An index of a film is the longest that is read at once. */
const DIRECT_BYTES_MAX = 256 * 1024 * 1024

/** Original or rendition, open. */
export interface OpenSource {
  folder: string
  index: FilmIndex
  file: StoredFile
}

export interface OpenFilm {
  key: FileKey
  generation: string
  original: OpenSource
}

export interface OpenFilmsOptions {
  files: Pick<FileService, 'fetch' | 'stat' | 'upload' | 'deleteGeneration'>
  clock: Clock
  log: Log
  /** Indexes in memory. */
  filmsMax: number
}

export class OpenFilms {
  readonly #files: OpenFilmsOptions['files']
  readonly #clock: Clock
  readonly #log: Log
  readonly #maker = new IndexMaker()
  readonly #indexBlocks: BlockCache
  /** By the generation of the film, and for renditions by their folder after it. */
  readonly #open: LRUCache<string, OpenSource>
  readonly #opening = new Map<string, Promise<OpenSource>>()
  readonly #refusals = new LRUCache<string, UnpackageableError>({ max: REFUSALS_MAX })
  /** By key: which generation it has, and when that was last so. */
  readonly #seen: LRUCache<string, StoredFile & { seenMs: number }>
  readonly #looking = new Map<string, Promise<StoredFile>>()

  constructor({ files, clock, log, filmsMax }: OpenFilmsOptions) {
    this.#files = files
    this.#clock = clock
    this.#log = log
    this.#open = new LRUCache({ max: filmsMax })
    this.#seen = new LRUCache({ max: filmsMax * 4 })
    this.#indexBlocks = new BlockCache(files, { bytesMax: INDEX_CACHE_BYTES, blockBytes: INDEX_BLOCK_BYTES })
  }

  get counts() {
    const { made, refused, making } = this.#maker
    return { open: this.#open.size, made, refused, making, indexBytes: this.#indexBlocks.bytes }
  }

  close(): Promise<void> {
    return this.#maker.close()
  }

  /**
   * The film that has this key now.
   *
   * @throws {UnpackageableError} it cannot be packaged. {RejectedError} FILE_NOT_FOUND.
   *   {HttpProblem} 503: its index is being made.
   */
  async current(key: FileKey): Promise<OpenFilm> {
    return this.#film(key, await this.#look(key, 0))
  }

  /** @throws {HttpProblem} 404: the key has another generation by now; and as `current`. */
  async at(key: FileKey, generation: string): Promise<OpenFilm> {
    const file = await this.#look(key, CHECK_MS)
    if (file.generation !== generation)
      throw new HttpProblem(404, 'the film was replaced; its new one has a new address')
    return this.#film(key, file)
  }

  /** @throws {HttpProblem} 404: there is no such rendition, or it was made anew. */
  async source(film: OpenFilm, { folder, rendition }: SourceName): Promise<OpenSource> {
    if (rendition === undefined) return film.original
    const name = `${film.generation} ${folder}`
    const open = this.#open.get(name)
    if (open) return open
    return this.#once(name, async () => {
      const { profile, generationStart } = rendition
      const file = await this.#stat(derivedKey(film.key, film.generation, `rendition-${profile}.mp4`))
      if (!file.generation.startsWith(generationStart))
        throw new HttpProblem(404, 'the rendition was made anew')
      return this.openRendition(film, profile, file)
    })
  }

  /** @param file  of the rendition, as it is stored */
  async openRendition({ key, generation }: OpenFilm, profile: string, file: StoredFile): Promise<OpenSource> {
    const folder = renditionFolder(profile, file.generation)
    const name = `${generation} ${folder}`
    const open = this.#open.get(name)
    if (open) return open
    const index = await this.#stored(derivedKey(key, generation, `rendition-${profile}.index`), file)
    if (index === undefined) throw new HttpProblem(404, 'the rendition is not whole yet')
    const source = { folder, index, file }
    this.#open.set(name, source)
    return source
  }

  async #film(key: FileKey, file: StoredFile): Promise<OpenFilm> {
    const { generation } = file
    const original =
      this.#open.get(generation) ?? (await this.#once(generation, () => this.#openOriginal(key, file)))
    return { key, generation, original }
  }

  async #openOriginal(key: FileKey, file: StoredFile): Promise<OpenSource> {
    const { generation } = file
    const refusal = this.#refusals.get(generation)
    if (refusal) throw refusal
    const place = derivedKey(key, generation, INDEX_FILE)
    const index = (await this.#stored(place, file)) ?? (await this.#make(key, file, place))
    const source = { folder: ORIGINAL_FOLDER, index, file }
    this.#open.set(generation, source)
    return source
  }

  /** The index that is stored; undefined: there is none, or none that can be used. */
  async #stored(place: FileKey, film: StoredFile): Promise<FilmIndex | undefined> {
    let file: StoredFile
    try {
      file = await this.#stat(place)
    } catch (error) {
      if (error instanceof RejectedError && error.code === 'FILE_NOT_FOUND') return undefined
      throw error
    }
    try {
      const index = await FilmIndex.open(sourceOf(this.#indexBlocks, file))
      if (index.head.sizeBytes === film.sizeBytes) return index
    } catch (error) {
      if (!(error instanceof UnpackageableError)) throw error
    }
    this.#log.info(
      { file: film.key.file },
      'the stored index of a film is of another version; it is made anew'
    )
    await this.#files.deleteGeneration(place, file.generation).catch(() => {})
    return undefined
  }

  async #make(key: FileKey, file: StoredFile, place: FileKey): Promise<FilmIndex> {
    let bytes: Uint8Array
    try {
      bytes = await this.#maker.make(this.#direct(file), false)
    } catch (error) {
      if (error instanceof UnpackageableError) this.#refusals.set(file.generation, error)
      throw error
    }
    await this.#store(bytes, key, place)
    return FilmIndex.open(await this.#kept(bytes, place))
  }

  /** Whoever comes next, here or at another gateway, finds it. */
  async #store(bytes: Uint8Array, beside: FileKey, key: FileKey): Promise<void> {
    try {
      await this.#files.upload(bytes, { key, beside, name: beside.file, mediaType: INDEX_TYPE })
    } catch (error) {
      if (error instanceof RejectedError && error.code === 'FILE_EXISTS') return
      this.#log.warn(
        { err: error },
        'the index of a film could not be stored; it is made again when it is needed'
      )
    }
  }

  /** The index as it is stored, so that it need not be in memory; as it was made, where that failed. */
  async #kept(bytes: Uint8Array, place: FileKey): Promise<ByteSource> {
    try {
      const file = await this.#stat(place)
      if (file.sizeBytes === bytes.byteLength) return sourceOf(this.#indexBlocks, file)
    } catch {
      // Not stored: it stays in memory as long as the film is open.
    }
    return { sizeBytes: bytes.byteLength, read: (start, end) => Promise.resolve(bytes.subarray(start, end)) }
  }

  /** Opens once for all who ask at the same time; whoever would wait too long is told to come back. */
  async #once(name: string, open: () => Promise<OpenSource>): Promise<OpenSource> {
    let opening = this.#opening.get(name)
    if (opening === undefined) {
      opening = open().finally(() => this.#opening.delete(name))
      this.#opening.set(name, opening)
      opening.catch(() => {}) // whoever still waits is told
    }
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(
      () =>
        reject(
          new HttpProblem(503, 'the film is being looked at for the first time', [
            'Retry-After',
            RETRY_AFTER_S
          ])
        ),
      MAKE_WAIT_MS
    )
    try {
      return await Promise.race([opening, late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** Which generation a key has; asked again when the last answer is older than `ageMs`. */
  async #look(key: FileKey, ageMs: number): Promise<StoredFile> {
    const name = mapKeyOf(key)
    const seen = this.#seen.get(name)
    if (seen && this.#clock.monotonicMs() - seen.seenMs < ageMs) return seen
    let looking = this.#looking.get(name)
    if (looking === undefined) {
      looking = this.#stat(key).finally(() => this.#looking.delete(name))
      this.#looking.set(name, looking)
    }
    try {
      const file = await looking
      this.#seen.set(name, { ...file, seenMs: this.#clock.monotonicMs() })
      return file
    } catch (error) {
      this.#seen.delete(name)
      throw error
    }
  }

  async #stat(key: FileKey): Promise<StoredFile> {
    const { generation, sizeBytes } = await this.#files.stat(key)
    if (generation === '')
      throw new UnpackageableError('unsupported', 'its storage server is too old for streaming')
    return { key, generation, sizeBytes }
  }

  /** The film itself, past the cache: it is read through once. */
  #direct(file: StoredFile): ByteSource {
    const { key, generation, sizeBytes } = file
    return {
      sizeBytes,
      read: async (start, end) => {
        if (end - start > DIRECT_BYTES_MAX) {
          throw new UnpackageableError('beyond-limits', `${end - start} bytes of it would be read at once`)
        }
        const fetched = await this.#files.fetch(key, { start, end: end - 1, generation })
        if (fetched.outcome !== 'content') throw new RejectedError('GENERATION_MISMATCH', 'the film changed')
        if (fetched.bytes) return fetched.bytes
        const bytes = Buffer.allocUnsafe(fetched.lengthBytes)
        let at = 0
        await fetched.stream!((piece, release) => {
          bytes.set(piece, at)
          at += piece.byteLength
          release()
        })
        return bytes
      }
    }
  }
}

function sourceOf(blocks: BlockCache, file: StoredFile): ByteSource {
  return { sizeBytes: file.sizeBytes, read: (start, end) => blocks.read(file, start, end) }
}
