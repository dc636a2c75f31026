import { randomBytes, randomUUID } from 'node:crypto'
import type { FileKey, FileRow } from '@tributary/database'

let files = 0

/** A row unlike any other, but for what is given. */
export function fileRow(given: Partial<FileRow> = {}): FileRow {
  const number = files++
  return {
    application: 'media',
    user: 'public',
    file: `file-${number}`,
    generation: randomBytes(16).toString('hex'),
    nonce: randomBytes(16).toString('hex'),
    state: 'stored',
    trashedUntilMs: 0,
    sizeBytes: 4096 + number,
    crc32: 0xdeadbeef,
    group: 'group001',
    store: STORE,
    path: `000/000/${number.toString(16).toUpperCase().padStart(3, '0')}/5F9E3FA7_1FF`,
    name: 'holiday film.mp4',
    mediaType: 'video/mp4',
    storedAtMs: 1_794_000_000_000 + number,
    ...given
  }
}

const STORE = randomUUID()

export function keyOf({ application, user, file }: FileRow): FileKey {
  return { application, user, file }
}
