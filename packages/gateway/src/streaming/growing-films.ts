/**
 * Films that are still being uploaded, as far as they have come: what was acknowledged of a resumable upload can be read.
 * The upload's id stands where the generation of a stored film would.
 */
import { LRUCache } from 'lru-cache'
import { bytesSource, FilmIndex, UnpackageableError, type SegmentPlan } from '@tributary/media'
import type { UploadStatus } from '@tributary/client'
import { RejectedError, TributaryError, type FileKey } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import type { FileService } from '../file-service.ts'
import { HttpProblem } from '../problem.ts'
import { IndexMaker } from './index-maker.ts'
import { Turnstile } from './turnstile.ts'

/** An index of what has come is made anew at most so often. */
const MAKE_INTERVAL_MS = 4_000
const FILMS_MAX = 200
/** From the first to the last byte that a segment needs; one that needs more has to wait until the film is whole. */
const SPAN_BYTES_MAX = 48 * 1024 * 1024
/** The front of a film that has an index there. */
const FRONT_BYTES_MIN = 64 * 1024
const READ_BYTES = 1024 * 1024
const READS_MAX = 8
const READS_WAITING_MAX = 512

export interface GrowingFilm {
  readonly id: string
  readonly index: FilmIndex
  /** So much has come. */
  readonly availableBytes: number
}

interface Known {
  index: FilmIndex | undefined
  /** When, and from how much of it. */
  madeMs: number
  madeBytes: number
}

export class GrowingFilms {
  readonly #files: Pick<FileService, 'uploads' | 'index'>
  readonly #clock: Clock
  readonly #maker = new IndexMaker()
  readonly #known = new LRUCache<string, Known>({ max: FILMS_MAX })
  readonly #making = new Map<string, Promise<void>>()
  readonly #turnstile = new Turnstile({
    insideMax: READS_MAX,
    lineMax: READS_WAITING_MAX,
    busy: 'too many films are read while they are uploaded'
  })

  constructor(files: Pick<FileService, 'uploads' | 'index'>, clock: Clock) {
    this.#files = files
    this.#clock = clock
  }

  close(): Promise<void> {
    return this.#maker.close()
  }

  /** The one that is to become this file; undefined: none is under way, or nothing can be shown of it yet. */
  async find(key: FileKey): Promise<GrowingFilm | undefined> {
    const { application, user, file } = key
    let found: { id: string; offsetBytes: number } | undefined
    try {
      ;({ upload: found } = await this.#files.index('uploads.underWay', { application, user, file }))
    } catch (error) {
      // That it is not stored is known; an older tracker, or one that is away, knows no more.
      if (!(error instanceof TributaryError)) throw error
    }
    if (!found || found.offsetBytes < FRONT_BYTES_MIN) return undefined
    return this.#film(found.id, found.offsetBytes)
  }

  /** By its id. @returns also the generation of the file that it has become. */
  async at(key: FileKey, id: string): Promise<{ film?: GrowingFilm; generation?: string }> {
    let upload: UploadStatus
    try {
      upload = await this.#files.uploads.status(id)
    } catch (error) {
      if (error instanceof RejectedError) return {}
      throw error
    }
    const isOfKey =
      upload.application === key.application && upload.user === key.user && upload.file === key.file
    if (!isOfKey) return {}
    if (upload.generation !== undefined) return { generation: upload.generation }
    const film = await this.#film(id, upload.offsetBytes)
    return film ? { film } : {}
  }

  /** A segment's bytes. @throws {HttpProblem} 404: not all of it has come. */
  async segment(
    { id, availableBytes }: GrowingFilm,
    { head, pieces, totalBytes }: SegmentPlan
  ): Promise<Buffer> {
    if (pieces.length === 0) return Buffer.from(head)
    const start = Math.min(...pieces.map(piece => piece.start))
    const end = Math.max(...pieces.map(piece => piece.start + piece.lengthBytes))
    if (end > availableBytes || end - start > SPAN_BYTES_MAX) {
      throw new HttpProblem(404, 'the film has no such segment yet')
    }
    const span = await this.#turnstile.pass(() => this.#read(id, start, end))
    const bytes = Buffer.allocUnsafe(totalBytes)
    bytes.set(head, 0)
    let at = head.byteLength
    for (const piece of pieces) {
      bytes.set(span.subarray(piece.start - start, piece.start - start + piece.lengthBytes), at)
      at += piece.lengthBytes
    }
    return bytes
  }

  async #film(id: string, availableBytes: number): Promise<GrowingFilm | undefined> {
    const known = this.#known.get(id)
    const isOld =
      known === undefined ||
      (availableBytes > known.madeBytes && this.#clock.monotonicMs() - known.madeMs >= MAKE_INTERVAL_MS)
    // Of one whose index stands in front everything is known from the beginning.
    const isOpen = known?.index === undefined || known.index.head.growing
    if (isOld && isOpen) {
      let making = this.#making.get(id)
      if (!making) {
        making = this.#make(id, availableBytes).finally(() => this.#making.delete(id))
        this.#making.set(id, making)
      }
      await making
    }
    const index = this.#known.get(id)?.index
    return index && { id, index, availableBytes }
  }

  async #make(id: string, availableBytes: number): Promise<void> {
    const madeMs = this.#clock.monotonicMs()
    let index = this.#known.peek(id)?.index
    try {
      const source = {
        sizeBytes: availableBytes,
        read: (start: number, end: number): Promise<Uint8Array> => {
          if (end - start > SPAN_BYTES_MAX)
            throw new UnpackageableError('beyond-limits', `${end - start} bytes of it would be read at once`)
          return this.#read(id, start, end)
        }
      }
      index = await FilmIndex.open(bytesSource(await this.#maker.make(source, true)))
    } catch (error) {
      // Its index stands at the end, or has not come: what was known of it is good still.
      if (!(error instanceof UnpackageableError)) throw error
    }
    this.#known.set(id, { index, madeMs, madeBytes: availableBytes })
  }

  async #read(id: string, start: number, end: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(end - start)
    for (let at = start; at < end;) {
      const lengthBytes = Math.min(READ_BYTES, end - at)
      const read = await this.#files.uploads.read(id, { start: at, lengthBytes })
      if (read.bytes.byteLength === 0) throw new HttpProblem(404, 'the film has just been stored: ask again')
      bytes.set(read.bytes, at - start)
      at += read.bytes.byteLength
    }
    return bytes
  }
}
