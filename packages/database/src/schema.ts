import type { ColumnType, Generated } from 'kysely'

/**
 * Tables as both engines have them. Keys are bytes (BLOB, VARBINARY), so that no collation folds case,
 * drops trailing spaces or normalizes; 64-bit columns may come back as number, bigint or text.
 */
export interface Schema {
  meta: { name: string; value: string }
  applications: { name: string }
  storage_groups: { name: string; region: Generated<string>; draining: Generated<number> }
  user_routes: { application: Bytes; user: Bytes; group_name: string }
  files: FilesTable
  counters: { name: Bytes; next: Integer }
  leases: { name: Bytes; holder: Bytes; token: Integer; until_ms: Integer }
  /** Since version 2. */
  moves: MovesTable
}

type Bytes = ColumnType<Uint8Array, Uint8Array, never>
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

/** Migrations this program knows, and the oldest schema it still works with. */
export const SCHEMA_VERSION_MIN = 1
export const SCHEMA_VERSION_MAX = 2
/** The first that has `moves`. */
export const MOVES_SCHEMA_VERSION = 2
