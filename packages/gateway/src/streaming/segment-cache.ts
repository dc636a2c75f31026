/** Segments, made once for all who ask for them at the same time, and kept for a while. */
import { LRUCache } from 'lru-cache'
import type { SegmentPlan } from '@tributary/media'
import type { BlockCache } from './block-cache.ts'
import type { OpenSource } from './open-films.ts'

/** Longer ones are sent as they are read. */
export const KEPT_SEGMENT_BYTES_MAX = 24 * 1024 * 1024

export class SegmentCache {
  readonly #blocks: BlockCache
  readonly #kept: LRUCache<string, Buffer>
  readonly #making = new Map<string, Promise<Buffer>>()
  hits = 0
  misses = 0

  constructor(blocks: BlockCache, bytesMax: number) {
    this.#blocks = blocks
    this.#kept = new LRUCache({
      maxSize: Math.max(1, bytesMax),
      sizeCalculation: bytes => Math.max(1, bytes.byteLength)
    })
  }

  get bytes(): number {
    return this.#kept.calculatedSize
  }

  get bytesMax(): number {
    return this.#kept.maxSize
  }

  kept(name: string): Buffer | undefined {
    const bytes = this.#kept.get(name)
    if (bytes) this.hits++
    return bytes
  }

  /** @param name  unique for these bytes, for ever */
  make(name: string, { file }: OpenSource, plan: SegmentPlan): Promise<Buffer> {
    let making = this.#making.get(name)
    if (making === undefined) {
      this.misses++
      making = this.#assemble(name, file, plan).finally(() => this.#making.delete(name))
      this.#making.set(name, making)
    }
    return making
  }

  async #assemble(
    name: string,
    file: OpenSource['file'],
    { head, pieces, totalBytes }: SegmentPlan
  ): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(totalBytes)
    bytes.set(head)
    await this.#blocks.gather(file, pieces, bytes, head.byteLength)
    this.#kept.set(name, bytes)
    return bytes
  }
}
