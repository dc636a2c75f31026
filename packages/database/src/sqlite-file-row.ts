import type { SQLInputValue, SQLOutputValue } from './sqlite-connection.ts'
import { FILE_STATES, hexOfUuid, uuidOfHex } from './file-row.ts'
import type { FileKey, FileRow } from './file-index.ts'

/**
 * Text is bound as text and cast to bytes by SQLite: twice as fast as making a Buffer of each key, and
 * the same bytes, as the file's encoding is UTF-8.
 */
export const KEY_IS = 'application=CAST(? AS BLOB) AND user=CAST(? AS BLOB) AND file=CAST(? AS BLOB)'

export const FIND = `SELECT lower(hex(generation)), lower(hex(nonce)), state, trashed_until_ms, size_bytes,
  crc32, group_name, lower(hex(store)), path, name, media_type, stored_at_ms FROM files WHERE ${KEY_IS}`

export const INSERT = `INSERT INTO files (application, user, file, generation, nonce, state,
  trashed_until_ms, size_bytes, crc32, group_name, store, path, name, media_type, stored_at_ms)
  VALUES (CAST(? AS BLOB), CAST(? AS BLOB), CAST(? AS BLOB), unhex(?), unhex(?), ?, ?, ?, ?, ?, unhex(?), ?, ?, ?, ?)
  ON CONFLICT DO NOTHING`

export const INSERT_VALUES = 15
/** Where the generation stands among INSERT's values, and in a row that FIND answers. */
export const INSERT_GENERATION_AT = 3
export const FIND_GENERATION_AT = 0

export function insertValuesOf(row: FileRow): SQLInputValue[] {
  return [
    row.application,
    row.user,
    row.file,
    row.generation,
    row.nonce,
    FILE_STATES.indexOf(row.state),
    row.trashedUntilMs,
    row.sizeBytes,
    row.crc32,
    row.group,
    hexOfUuid(row.store),
    row.path,
    row.name,
    row.mediaType,
    row.storedAtMs
  ]
}

/** There are few stores and many rows: one string each, not one per row. */
const uuids = new Map<string, string>()
const UUIDS_MAX = 1000

function uuidOf(hex: string): string {
  let uuid = uuids.get(hex)
  if (uuid === undefined) {
    uuid = uuidOfHex(hex)
    if (uuids.size >= UUIDS_MAX) uuids.clear()
    uuids.set(hex, uuid)
  }
  return uuid
}

/** A row that FIND answered as an array. */
export function fileRowOf(key: FileKey, found: readonly SQLOutputValue[]): FileRow {
  return {
    application: key.application,
    user: key.user,
    file: key.file,
    generation: found[0] as string,
    nonce: found[1] as string,
    state: FILE_STATES[found[2] as number]!,
    trashedUntilMs: found[3] as number,
    sizeBytes: found[4] as number,
    crc32: found[5] as number,
    group: found[6] as string,
    store: uuidOf(found[7] as string),
    path: found[8] as string,
    name: found[9] as string,
    mediaType: found[10] as string,
    storedAtMs: found[11] as number
  }
}
