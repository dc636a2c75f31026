/** Blocks of stored files, kept for a while: players, and the tracks of a film, ask for the same ones again. */
import { LRUCache } from 'lru-cache'
import { RejectedError, type FileKey } from '@tributary/protocol'
import type { FileService } from '../file-service.ts'
import { Turnstile } from './turnstile.ts'

/** What one request to storage brings at most. */
const RUN_BYTES_MAX = 4 * 1024 * 1024
const BLOCKS_MIN = 8
/** Each may have a run in memory before anybody takes it. */
const READS_MAX = 16
const READS_WAITING_MAX = 4_096

/** Of which file: a generation never changes. */
export interface StoredFile {
  key: FileKey
  generation: string
  sizeBytes: number
}

export interface BlockCounts {
  hits: number
  misses: number
  readBytes: number
}

export interface BlockCacheOptions {
  bytesMax: number
  /** Of a block: films are read in long runs, indexes here and there. */
  blockBytes: number
}

export class BlockCache {
  readonly #blockBytes: number
  readonly #runBlocksMax: number
  readonly #files: Pick<FileService, 'fetch'>
  readonly #blocks: LRUCache<string, Buffer>
  /** Blocks that are on their way: who wants one of them waits for the same reply. */
  readonly #coming = new Map<string, Promise<Buffer>>()
  readonly #turnstile = new Turnstile({
    insideMax: READS_MAX,
    lineMax: READS_WAITING_MAX,
    busy: 'too many films are read at once'
  })
  readonly counts: BlockCounts = { hits: 0, misses: 0, readBytes: 0 }

  constructor(files: Pick<FileService, 'fetch'>, { bytesMax, blockBytes }: BlockCacheOptions) {
    this.#files = files
    this.#blockBytes = blockBytes
    this.#runBlocksMax = RUN_BYTES_MAX / blockBytes
    this.#blocks = new LRUCache({
      maxSize: Math.max(bytesMax, blockBytes * BLOCKS_MIN),
      sizeCalculation: block => block.byteLength
    })
  }

  get bytes(): number {
    return this.#blocks.calculatedSize
  }

  get bytesMax(): number {
    return this.#blocks.maxSize
  }

  /**
   * @param end  after the last byte, within the file
   * @throws {RejectedError} GENERATION_MISMATCH, FILE_NOT_FOUND: the file is another one by now, or gone
   */
  async read(file: StoredFile, start: number, end: number): Promise<Uint8Array> {
    const first = Math.floor(start / this.#blockBytes)
    const last = Math.floor((end - 1) / this.#blockBytes)
    if (first === last) return this.#slice(await this.#want(file, first, first), first, start, end)
    const bytes = Buffer.allocUnsafe(end - start)
    await this.#copy(file, start, end, bytes, 0)
    return bytes
  }

  /** Copies pieces of a file one after another into `target`. */
  async gather(
    file: StoredFile,
    pieces: readonly { start: number; lengthBytes: number }[],
    target: Buffer,
    at: number
  ): Promise<void> {
    // All that is missing is asked for at once, in runs as long as the gaps between pieces are short.
    this.want(file, pieces)
    let place = at
    for (const { start, lengthBytes } of pieces) {
      await this.#copy(file, start, start + lengthBytes, target, place)
      place += lengthBytes
    }
  }

  /** Bytes of a file block by block, as they are kept: not to be written to. */
  async *views(file: StoredFile, start: number, end: number): AsyncGenerator<Buffer> {
    const last = Math.floor((end - 1) / this.#blockBytes)
    for (let index = Math.floor(start / this.#blockBytes); index <= last; index++) {
      const blockStart = index * this.#blockBytes
      const block = await this.#want(file, index, last)
      yield block.subarray(Math.max(0, start - blockStart), Math.min(end - blockStart, block.byteLength))
    }
  }

  /** Has blocks come that will be needed. Errors are told to whoever reads them. */
  want(file: StoredFile, pieces: readonly { start: number; lengthBytes: number }[]): void {
    let from = -1
    let to = -2
    for (const { start, lengthBytes } of pieces) {
      const first = Math.floor(start / this.#blockBytes)
      const last = Math.floor((start + lengthBytes - 1) / this.#blockBytes)
      if (first > to + 1 || first < from) {
        if (to >= from) this.#fetchMissing(file, from, to)
        from = first
        to = last
      } else to = Math.max(to, last)
    }
    if (to >= from) this.#fetchMissing(file, from, to)
  }

  #slice(block: Buffer, index: number, start: number, end: number): Uint8Array {
    return block.subarray(start - index * this.#blockBytes, end - index * this.#blockBytes)
  }

  async #copy(file: StoredFile, start: number, end: number, target: Buffer, at: number): Promise<void> {
    const last = Math.floor((end - 1) / this.#blockBytes)
    for (let index = Math.floor(start / this.#blockBytes); index <= last; index++) {
      const blockStart = index * this.#blockBytes
      const from = Math.max(start, blockStart)
      const block = await this.#want(file, index, last)
      block.copy(target, at + from - start, from - blockStart, Math.min(end - blockStart, block.byteLength))
    }
  }

  /** @param last  further blocks that will be wanted come with it */
  async #want(file: StoredFile, index: number, last: number): Promise<Buffer> {
    const name = nameOf(file, index)
    const kept = this.#blocks.get(name)
    if (kept) {
      this.counts.hits++
      return kept
    }
    if (!this.#coming.has(name)) this.#fetchMissing(file, index, last)
    return this.#coming.get(name)!
  }

  #fetchMissing(file: StoredFile, first: number, last: number): void {
    let run: number[] = []
    const send = (): void => {
      if (run.length > 0) this.#fetchRun(file, run[0]!, run.length)
      run = []
    }
    for (let index = first; index <= last; index++) {
      const name = nameOf(file, index)
      if (this.#blocks.has(name) || this.#coming.has(name)) send()
      else {
        run.push(index)
        if (run.length === this.#runBlocksMax) send()
      }
    }
    send()
  }

  #fetchRun(file: StoredFile, first: number, count: number): void {
    this.counts.misses += count
    const settlers: { resolve(block: Buffer): void; reject(error: unknown): void }[] = []
    for (let index = 0; index < count; index++) {
      const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
      promise.catch(() => {}) // whoever waits for it is told; nobody may
      this.#coming.set(nameOf(file, first + index), promise)
      settlers.push({ resolve, reject })
    }
    const done = (index: number, block: Buffer): void => {
      const name = nameOf(file, first + index)
      this.#blocks.set(name, block)
      this.#coming.delete(name)
      settlers[index]!.resolve(block)
    }
    this.#turnstile
      .pass(() => this.#fetch(file, first, count, done))
      .catch(error => {
        for (const [index, { reject }] of settlers.entries()) {
          this.#coming.delete(nameOf(file, first + index))
          reject(error)
        }
      })
  }

  async #fetch(
    { key, generation, sizeBytes }: StoredFile,
    first: number,
    count: number,
    done: (index: number, block: Buffer) => void
  ): Promise<void> {
    const start = first * this.#blockBytes
    const end = Math.min(start + count * this.#blockBytes, sizeBytes)
    const fetched = await this.#files.fetch(key, { start, end: end - 1, generation })
    if (fetched.outcome !== 'content' || fetched.lengthBytes !== end - start) {
      if (fetched.outcome === 'content') fetched.cancel()
      throw new RejectedError('GENERATION_MISMATCH', 'the film is not as long as it was')
    }
    this.counts.readBytes += end - start
    let index = 0
    let filled = 0
    const room = (): Buffer =>
      Buffer.allocUnsafeSlow(Math.min(this.#blockBytes, end - start - index * this.#blockBytes))
    let block = room()
    const take = (bytes: Uint8Array): void => {
      for (let at = 0; at < bytes.byteLength;) {
        const taken = Math.min(bytes.byteLength - at, block.byteLength - filled)
        block.set(bytes.subarray(at, at + taken), filled)
        at += taken
        filled += taken
        if (filled < block.byteLength) continue
        done(index, block)
        index++
        filled = 0
        if (index < count) block = room()
      }
    }
    if (fetched.bytes) take(fetched.bytes)
    else {
      await fetched.stream!((bytes, release) => {
        take(bytes)
        release()
      })
    }
    if (index < count) throw new RejectedError('GENERATION_MISMATCH', 'the film ended before its end')
  }
}

function nameOf({ generation }: StoredFile, index: number): string {
  return `${generation} ${index}`
}
