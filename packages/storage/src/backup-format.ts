/**
 * A backup: the index in a form that both engines give and take, and what the stores say of themselves. Versioned;
 * fields are append only.
 *
 *   <backup>/backup.json              this file is written last: without it a backup broke off
 *   <backup>/index.jsonl              a JSON value a line: a head, what the index holds, an end with the counts
 *   <backup>/stores/<uuid>/           marker and journals of each given store, as they lie there
 */
import { createHash } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { FileRow, FilmTitle, GroupRow, KeptRecord, UserRoute } from '@tributary/database'

export const BACKUP_FORMAT = 1
export const MANIFEST_NAME = 'backup.json'
export const INDEX_NAME = 'index.jsonl'
export const STORES_FOLDER = 'stores'
/** Of a folder that a backup is made in; it loses it when all is there. */
export const PART_SUFFIX = '.part'
const READ_BYTES = 1024 * 1024

export interface BackupCounts {
  applications: number
  groups: number
  routes: number
  counters: number
  files: number
  /** Absent in backups that older programs made. */
  titles?: number
  records?: number
}

export interface BackupManifest {
  format: number
  /** Version of the program that made it. */
  program: string
  cluster: string
  engine: string
  /** Of the database. */
  schema: number
  /** UNIX milliseconds, before the index was looked at. */
  startedAtMs: number
  endedAtMs: number
  counts: BackupCounts
  stores: { store: string; group: string; root: string }[]
  /** Everything else in the folder; paths are relative in it. */
  files: { path: string; bytes: number; sha256: string }[]
}

/** A line of the index between head and end; each has one of these. */
export type IndexLine =
  | { application: string }
  | { group: GroupRow }
  | { route: UserRoute }
  /** As text: past 2^53 a JSON number is another one for most programs. */
  | { counter: { key: string; next: string } }
  | { file: FileRow }
  /** That a person gave a film. */
  | { title: FilmTitle }
  /** A row of a table of the control plane: tokens, rules, … */
  | { record: KeptRecord }

export interface IndexHead {
  tributary: 'index'
  format: number
  cluster: string
}

export interface IndexEnd {
  end: BackupCounts
}

/** A folder that is no backup, or not what was backed up. */
export class BackupError extends Error {
  override readonly name = 'BackupError'
}

/**
 * Reads what a backup says of itself, and checks that every file of it is as it was written.
 *
 * @throws {BackupError}
 */
export async function verifiedManifest(folder: string): Promise<BackupManifest> {
  let text: string
  try {
    text = await readFile(join(folder, MANIFEST_NAME), 'utf8')
  } catch (cause) {
    throw new BackupError(
      `${folder} is no finished backup: it has no ${MANIFEST_NAME}; what ends in ${PART_SUFFIX} broke off`,
      { cause }
    )
  }
  const manifest = parseManifest(text, folder)
  for (const { path, bytes, sha256 } of manifest.files) {
    const sum = await sumOf(join(folder, path)).catch((cause: Error) => {
      throw new BackupError(`${path} of the backup cannot be read: ${cause.message}`, { cause })
    })
    if (sum.bytes !== bytes || sum.sha256 !== sha256)
      throw new BackupError(`${path} of the backup is not what was written: ${sum.bytes} of ${bytes} bytes`)
  }
  return manifest
}

function parseManifest(text: string, folder: string): BackupManifest {
  let manifest: Partial<BackupManifest>
  try {
    manifest = JSON.parse(text) as Partial<BackupManifest>
  } catch (cause) {
    throw new BackupError(`${folder}/${MANIFEST_NAME} is damaged`, { cause })
  }
  if (typeof manifest?.format !== 'number' || !Array.isArray(manifest.files))
    throw new BackupError(`${folder}/${MANIFEST_NAME} is damaged`)
  if (manifest.format > BACKUP_FORMAT)
    throw new BackupError(`${folder} has format ${manifest.format}; this program knows ${BACKUP_FORMAT}`)
  return manifest as BackupManifest
}

/**
 * The lines of the index, in their order.
 *
 * @throws {BackupError} it is cut off, of another format, or holds what is no line of it.
 */
export async function* readIndex(folder: string): AsyncGenerator<IndexLine> {
  const handle = await open(join(folder, INDEX_NAME), 'r')
  const lines = createInterface({ input: handle.createReadStream({ encoding: 'utf8' }), crlfDelay: Infinity })
  let number = 0
  let hasEnd = false
  try {
    for await (const text of lines) {
      number++
      let line: Partial<IndexHead & IndexEnd>
      try {
        line = JSON.parse(text) as typeof line
      } catch (cause) {
        throw new BackupError(`line ${number} of ${INDEX_NAME} is damaged`, { cause })
      }
      if (number === 1) {
        if (line.tributary !== 'index' || line.format !== BACKUP_FORMAT)
          throw new BackupError(`${INDEX_NAME} is no index of format ${BACKUP_FORMAT}`)
      } else if (line.end) hasEnd = true
      else yield line as IndexLine
    }
  } finally {
    lines.close()
    await handle.close().catch(() => {}) // closed with its stream
  }
  if (!hasEnd) throw new BackupError(`${INDEX_NAME} is cut off`)
}

async function sumOf(path: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  const handle = await open(path, 'r')
  const buffer = Buffer.allocUnsafe(READ_BYTES)
  try {
    for (let bytes = 0; ;) {
      const { bytesRead } = await handle.read(buffer, 0, READ_BYTES)
      if (bytesRead === 0) return { bytes, sha256: hash.digest('hex') }
      bytes += bytesRead
      hash.update(buffer.subarray(0, bytesRead))
    }
  } finally {
    await handle.close()
  }
}
