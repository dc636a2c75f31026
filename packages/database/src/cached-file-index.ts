import { rowOfText, textOfRow } from './cached-file-row.ts'
import type {
  FileIndex,
  FileKey,
  FileRow,
  FindOptions,
  InsertOptions,
  InsertOutcome,
  Move
} from './file-index.ts'
import type { RedisCache } from './redis-cache.ts'

/**
 * A cache in front of `find`. It holds stored rows only and never an absence.
 *
 * A row that one member deletes may be read from the cache for CACHE_TTL_S by another that read it at that
 * moment: callers look at the disk and ask again with `causal` when that disagrees.
 */
export class CachedFileIndex implements FileIndex {
  readonly #index: FileIndex
  readonly #cache: RedisCache
  readonly #prefix: string

  /** @param prefix tells one cluster's keys from another's. */
  constructor(index: FileIndex, cache: RedisCache, prefix: string) {
    this.#index = index
    this.#cache = cache
    this.#prefix = `${prefix}:file:`
  }

  async find(key: FileKey, options: FindOptions = {}): Promise<FileRow | undefined> {
    if (!options.causal) {
      const text = await this.#cache.get(this.#cacheKeyOf(key))
      const cached = text === undefined ? undefined : rowOfText(key, text)
      if (cached) return cached
    }
    const row = await this.#index.find(key, options)
    if (row) this.#keep(row)
    return row
  }

  async insert(rows: readonly FileRow[], options?: InsertOptions): Promise<InsertOutcome[]> {
    const outcomes = await this.#index.insert(rows, options)
    const kept = new Set<string>()
    for (const [index, row] of rows.entries()) {
      // Of two rows with one key the first is the one that is there.
      const key = this.#cacheKeyOf(row)
      if (!outcomes[index]!.inserted || kept.has(key)) continue
      kept.add(key)
      this.#keep(row)
    }
    return outcomes
  }

  async markDeleting(key: FileKey, generation: string, store?: string): Promise<boolean> {
    return this.#without(key, () => this.#index.markDeleting(key, generation, store))
  }

  async move(move: Move): Promise<boolean> {
    return this.#without(move, () => this.#index.move(move))
  }

  async setTrashed(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean> {
    return this.#without(key, () => this.#index.setTrashed(key, generation, store, untilMs))
  }

  async markExpired(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean> {
    return this.#without(key, () => this.#index.markExpired(key, generation, store, untilMs))
  }

  async remove(key: FileKey, generation: string): Promise<boolean> {
    return this.#without(key, () => this.#index.remove(key, generation))
  }

  sync(): Promise<void> {
    return this.#index.sync()
  }

  async setMediaType(key: FileKey, generation: string, mediaType: string): Promise<boolean> {
    return this.#without(key, () => this.#index.setMediaType(key, generation, mediaType))
  }

  list(where: Parameters<FileIndex['list']>[0]): Promise<FileRow[]> {
    return this.#index.list(where)
  }

  listDerived(where: Parameters<FileIndex['listDerived']>[0]): Promise<FileRow[]> {
    return this.#index.listDerived(where)
  }

  listStore(where: Parameters<FileIndex['listStore']>[0]): Promise<FileRow[]> {
    return this.#index.listStore(where)
  }

  findPaths(store: string, paths: readonly string[]): Promise<FileRow[]> {
    return this.#index.findPaths(store, paths)
  }

  groupStores(): Promise<{ store: string; group: string }[]> {
    return this.#index.groupStores()
  }

  totals(store: string): Promise<{ files: number; bytes: number }> {
    return this.#index.totals(store)
  }

  stores(): Promise<string[]> {
    return this.#index.stores()
  }

  /** Before, so that no reader finds what is going; after, because one may have put it back meanwhile. */
  async #without(key: FileKey, change: () => Promise<boolean>): Promise<boolean> {
    await this.#cache.remove(this.#cacheKeyOf(key))
    try {
      return await change()
    } finally {
      await this.#cache.remove(this.#cacheKeyOf(key))
    }
  }

  #keep(row: FileRow): void {
    if (row.state === 'stored') this.#cache.set(this.#cacheKeyOf(row), textOfRow(row))
  }

  #cacheKeyOf({ application, user, file }: FileKey): string {
    return `${this.#prefix}${application}\0${user}\0${file}`
  }
}
