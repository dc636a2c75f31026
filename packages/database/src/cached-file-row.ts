import { assertFileRow } from './file-row.ts'
import type { FileKey, FileRow } from './file-index.ts'

/** Of the text below. A reader takes its own version only, so that two versions of a program can share a cache. */
const FORMAT_VERSION = 1

export function textOfRow(row: FileRow): string {
  return JSON.stringify([
    FORMAT_VERSION,
    row.application,
    row.user,
    row.file,
    row.generation,
    row.nonce,
    row.sizeBytes,
    row.crc32,
    row.group,
    row.store,
    row.path,
    row.name,
    row.mediaType,
    row.storedAtMs
  ])
}

/** The row of this key; undefined for anything else that the text may be. Only stored rows are ever cached. */
export function rowOfText(key: FileKey, text: string): FileRow | undefined {
  try {
    const fields = JSON.parse(text) as readonly unknown[]
    if (fields[0] !== FORMAT_VERSION || !fields.every(isScalar)) return undefined
    const row = {
      application: fields[1],
      user: fields[2],
      file: fields[3],
      generation: fields[4],
      nonce: fields[5],
      state: 'stored',
      trashedUntilMs: 0,
      sizeBytes: fields[6],
      crc32: fields[7],
      group: fields[8],
      store: fields[9],
      path: fields[10],
      name: fields[11],
      mediaType: fields[12],
      storedAtMs: fields[13]
    } as FileRow
    if (row.application !== key.application || row.user !== key.user || row.file !== key.file)
      return undefined
    assertFileRow(row)
    return row
  } catch {
    return undefined
  }
}

function isScalar(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number'
}
