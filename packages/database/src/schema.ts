import type { ColumnType, Generated } from 'kysely'
import type { AccessTables } from './access-schema.ts'

/**
 * Tables as both engines have them. Keys are bytes (BLOB, VARBINARY), so that no collation folds case,
 * drops trailing spaces or normalizes; 64-bit columns may come back as number, bigint or text.
 */
export interface Schema extends AccessTables {
  meta: { name: string; value: string }
  applications: { name: string }
  storage_groups: { name: string; region: Generated<string>; draining: Generated<number> }
  user_routes: { application: Bytes; user: Bytes; group_name: string }
  files: FilesTable
  counters: { name: Bytes; next: Integer }
  leases: { name: Bytes; holder: Bytes; token: Integer; until_ms: Integer }
  /** Since version 2. */
  moves: MovesTable
  /** Since version 3. */
  library: LibraryTable
  /** Since version 4. */
  uploads: UploadsTable
  film_facts: { application: Bytes; user: Bytes; file: Bytes; generation: ReadBytes; facts: string }
  library_words: { word: Bytes; application: Bytes; user: Bytes; file: Bytes }
  /** Since version 6. */
  jobs: JobsTable
  job_workers: { name: Bytes; version: string; lacks: string; seen_at_ms: Integer }
}

type Bytes = ColumnType<Uint8Array, Uint8Array, never>
/** Bytes that an update may set. */
type ReadBytes = ColumnType<Uint8Array, Uint8Array, Uint8Array>
type Integer = ColumnType<number | bigint | string, number | bigint, number | bigint>

export interface FilesTable {
  application: Bytes
  user: Bytes
  file: Bytes
  generation: Bytes
  nonce: Bytes
  /** FILE_STATES. */
  state: number
  trashed_until_ms: Integer
  size_bytes: Integer
  crc32: number
  group_name: string
  store: Bytes
  path: string
  name: string
  media_type: string
  stored_at_ms: Integer
}

export interface MovesTable {
  /** Of the old place. */
  store: Bytes
  path: string
  group_name: string
  application: Bytes
  user: Bytes
  file: Bytes
  generation: Bytes
  to_store: Bytes
  to_path: string
  to_group: string
  /** 1: the row says the new place. */
  switched: number
  /** When the old copy was put aside, UNIX milliseconds; 0: not yet. */
  parked_at_ms: Integer
}

/** What people look for: a row per stored file that was not made from another one. Kept up behind the data path. */
export interface LibraryTable {
  application: Bytes
  user: Bytes
  file: Bytes
  generation: ReadBytes
  /** 0: stored, 1: in the trash. */
  state: number
  trashed_until_ms: Integer
  /** FILM_KINDS of library.ts. */
  kind: number
  title: string
  /** 1: a person gave it. */
  titled: number
  /** The title as it is sorted by: folded, cut. */
  sort_title: ReadBytes
  /** Its words, folded, each with a space in front. */
  search_text: string
  size_bytes: Integer
  stored_at_ms: Integer
  duration_ms: Integer
  width: number
  height: number
  /** FACTS_STATES of library.ts. */
  facts_state: number
}

/** Resumable uploads that are under way; see uploads.ts. */
export interface UploadsTable {
  id: ReadBytes
  application: ReadBytes
  user: ReadBytes
  file: ReadBytes
  name: ReadBytes
  media_type: ReadBytes
  metadata: ReadBytes
  kind: number
  state: number
  size_bytes: Integer
  offset_bytes: Integer
  crc32: Integer
  group_name: ReadBytes
  store: ReadBytes
  folder: ReadBytes
  base_bytes: Integer
  total_bytes: Integer
  layout: ReadBytes
  fence: Integer
  taker: ReadBytes
  holder: ReadBytes
  generation: ReadBytes
  created_ms: Integer
  expires_ms: Integer
}

export interface JobsTable {
  /** A digest of generation, kind and profile. */
  id: Bytes
  application: Bytes
  user: Bytes
  file: Bytes
  generation: Bytes
  /** JOB_KINDS of job-row.ts. */
  kind: number
  /** Of a rendition; else empty. */
  profile: string
  title: string
  /** JOB_STATES of job-row.ts. */
  state: number
  /** Grows whenever the job changes hands. */
  token: Integer
  worker: string
  /** Waiting: not before; running: end of the lease. */
  due_ms: Integer
  attempts: number
  /** Thousandths. */
  progress: number
  error: string
  created_at_ms: Integer
  changed_at_ms: Integer
}

/** Migrations this program knows, and the oldest schema it still works with. */
export const SCHEMA_VERSION_MIN = 1
export const SCHEMA_VERSION_MAX = 6
/** The first that has `moves`. */
export const MOVES_SCHEMA_VERSION = 2
/** The first that has `library`. */
export const LIBRARY_SCHEMA_VERSION = 3
/** The first that has `uploads`. */
export const UPLOADS_SCHEMA_VERSION = 4
/** The first that has the tables of access. */
export const ACCESS_SCHEMA_VERSION = 5
/** The first that has `jobs`. */
export const JOBS_SCHEMA_VERSION = 6
