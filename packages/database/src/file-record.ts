import { FILE_STATES, safeIntegerOf, uuidOfHex } from './file-row.ts'
import type { Selectable } from 'kysely'
import type { FileRow } from './file-index.ts'
import type { FilesTable } from './schema.ts'

/** SQLite answers text, MySQL the bytes of a VARBINARY. */
export function textOf(value: string | Uint8Array): string {
  return typeof value === 'string' ? value : bufferOf(value).toString()
}

export function hexOf(value: Uint8Array): string {
  return bufferOf(value).toString('hex')
}

function bufferOf(value: Uint8Array): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
}

/** A row of `files` as kysely and mysql2 answer it. */
export function fileRowOfRecord(record: Selectable<FilesTable>): FileRow {
  return {
    application: textOf(record.application),
    user: textOf(record.user),
    file: textOf(record.file),
    generation: hexOf(record.generation),
    nonce: hexOf(record.nonce),
    state: FILE_STATES[record.state]!,
    trashedUntilMs: safeIntegerOf(record.trashed_until_ms),
    sizeBytes: safeIntegerOf(record.size_bytes),
    crc32: record.crc32,
    group: textOf(record.group_name),
    store: uuidOfHex(hexOf(record.store)),
    path: textOf(record.path),
    name: textOf(record.name),
    mediaType: textOf(record.media_type),
    storedAtMs: safeIntegerOf(record.stored_at_ms)
  }
}
