import type { Control } from './control.ts'
import type { Counters } from './counters.ts'
import type { FileIndex } from './file-index.ts'
import type { Jobs } from './jobs.ts'
import type { Leases } from './leases.ts'
import type { AccessIndex } from './access-index.ts'
import type { Library } from './library.ts'
import type { Uploads } from './uploads.ts'
import type { Moves } from './moves.ts'
import type { Routes } from './routes.ts'

export interface DatabaseEvent {
  level: 'info' | 'warn' | 'error'
  text: string
}

export interface CacheOptions {
  /** redis://[user:pass@]host:port[/db], or rediss:// */
  redisUrl: string
}

export interface OpenOptions {
  /** A cache in front of files.find and routes.groupOf on MySQL; SQLite is faster than any. */
  cache?: CacheOptions
  /** Connections to MySQL. Default POOL_SIZE_DEFAULT. */
  poolSize?: number
  /** How long one attempt to connect to one address may take. Default 2 s. */
  connectTimeoutMs?: number
  /** How long one read may wait for the database. Default 2 s on MySQL, 5 s on SQLite. */
  queryTimeoutMs?: number
  /** How long one write may wait, and be tried again. Default five times queryTimeoutMs on MySQL, 10 s on SQLite. */
  writeTimeoutMs?: number
  /** Opens an index that is being restored: for whoever restores it. */
  duringRestore?: boolean
  onEvent?: (event: DatabaseEvent) => void
}

export interface Database {
  readonly engine: 'sqlite' | 'mysql'
  readonly files: FileIndex
  readonly routes: Routes
  readonly counters: Counters
  readonly leases: Leases
  readonly moves: Moves
  readonly control: Control
  readonly library: Library
  readonly uploads: Uploads
  readonly access: AccessIndex
  readonly jobs: Jobs

  /** UUID made by the first migration: tells one cluster's database from another's. */
  clusterId(): Promise<string>

  /** @throws {DatabaseUnavailableError} no answer within `timeoutMs`. */
  ping(timeoutMs: number): Promise<void>

  /** Waits for writes that were accepted, then closes. Idempotent; later calls reject as unavailable. */
  close(): Promise<void>
}
