/** An upload on its way into the index: its row, and the journal's view of it. */
import { randomFillSync } from 'node:crypto'
import type { FileRow } from '@tributary/database'
import type { FileKey } from '@tributary/protocol'
import type { RecordFacts } from './journal-record.ts'

/** What its uploader says of a file, beside its key and content. */
export interface UploadLabels {
  /** 32 hex digits: the same nonce again is the same upload. */
  nonce: string
  /** Original file name, or ''. */
  name: string
  /** Media type, or ''. */
  mediaType: string
}

export interface PlacedUpload extends UploadLabels {
  key: FileKey
  sizeBytes: number
  crc32: number
  group: string
  store: string
  path: string
  storedAtMs: number
}

export function rowOf(upload: PlacedUpload): FileRow {
  return {
    application: upload.key.application,
    user: upload.key.user,
    file: upload.key.file,
    generation: randomHex(),
    nonce: upload.nonce,
    state: 'stored',
    trashedUntilMs: 0,
    sizeBytes: upload.sizeBytes,
    crc32: upload.crc32,
    group: upload.group,
    store: upload.store,
    path: upload.path,
    name: upload.name,
    mediaType: upload.mediaType,
    storedAtMs: upload.storedAtMs
  }
}

export function factsOf(row: FileRow, atMs: number): RecordFacts {
  return {
    application: row.application,
    user: row.user,
    file: row.file,
    generation: row.generation,
    nonce: row.nonce,
    sizeBytes: row.sizeBytes,
    crc32: row.crc32,
    group: row.group,
    path: row.path,
    name: row.name,
    mediaType: row.mediaType,
    storedAtMs: row.storedAtMs,
    ...(row.state === 'trashed' && { trashedUntilMs: row.trashedUntilMs }),
    atMs
  }
}

export function rowOfFacts(facts: RecordFacts, store: string): FileRow {
  return {
    application: facts.application,
    user: facts.user,
    file: facts.file,
    generation: facts.generation,
    nonce: facts.nonce,
    state: 'stored',
    trashedUntilMs: 0,
    sizeBytes: facts.sizeBytes,
    crc32: facts.crc32,
    group: facts.group,
    store,
    path: facts.path,
    name: facts.name,
    mediaType: facts.mediaType,
    storedAtMs: facts.storedAtMs
  }
}

const HEX_BYTES = 16
const pool = Buffer.alloc(HEX_BYTES * 256)
let poolAt = pool.byteLength

/** 32 random hex digits; random bytes are drawn for many at a time. */
export function randomHex(): string {
  if (poolAt === pool.byteLength) {
    randomFillSync(pool)
    poolAt = 0
  }
  poolAt += HEX_BYTES
  return pool.toString('hex', poolAt - HEX_BYTES, poolAt)
}
