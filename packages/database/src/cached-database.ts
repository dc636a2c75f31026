import { CachedFileIndex } from './cached-file-index.ts'
import { CachedRoutes } from './cached-routes.ts'
import type { Control } from './control.ts'
import type { Counters } from './counters.ts'
import type { Database } from './database.ts'
import type { FileIndex } from './file-index.ts'
import type { Jobs } from './jobs.ts'
import type { Leases } from './leases.ts'
import type { AccessIndex } from './access-index.ts'
import type { Library } from './library.ts'
import type { Uploads } from './uploads.ts'
import type { Moves } from './moves.ts'
import type { RedisCache } from './redis-cache.ts'
import type { Routes } from './routes.ts'

/** A database with a cache in front of what is read most. */
export class CachedDatabase implements Database {
  readonly files: FileIndex
  readonly routes: Routes
  readonly #database: Database
  readonly #cache: RedisCache

  constructor(database: Database, cache: RedisCache, clusterId: string) {
    const prefix = `tributary:${clusterId}`
    this.#database = database
    this.#cache = cache
    this.files = new CachedFileIndex(database.files, cache, prefix)
    this.routes = new CachedRoutes(database.routes, cache, prefix)
  }

  get engine(): Database['engine'] {
    return this.#database.engine
  }

  get counters(): Counters {
    return this.#database.counters
  }

  get leases(): Leases {
    return this.#database.leases
  }

  get moves(): Moves {
    return this.#database.moves
  }

  get control(): Control {
    return this.#database.control
  }

  get uploads(): Uploads {
    return this.#database.uploads
  }

  get library(): Library {
    return this.#database.library
  }

  get access(): AccessIndex {
    return this.#database.access
  }

  get jobs(): Jobs {
    return this.#database.jobs
  }

  clusterId(): Promise<string> {
    return this.#database.clusterId()
  }

  ping(timeoutMs: number): Promise<void> {
    return this.#database.ping(timeoutMs)
  }

  async close(): Promise<void> {
    await this.#database.close()
    this.#cache.close()
  }
}
