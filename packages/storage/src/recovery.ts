/**
 * What a writer does at its start with what its earlier boots left: uploads in the redo log are made whole or
 * removed, names that never got a row are removed, temporary files go. The index has the last word, but for rows that
 * it may have lost itself; those come back from the log.
 */
import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync
} from 'node:fs'
import { open, readdir, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { FileIndex } from '@tributary/database'
import type { Log } from '@tributary/runtime'
import { encodeRecord, type JournalRecord, type RecordFacts } from './journal-record.ts'
import { readJournals, readRecords, type Journal } from './journal.ts'
import { readRedoFolder, REDO_FOLDER } from './redo-log.ts'
import { factsOf, rowOfFacts } from './upload-record.ts'
import type { Volume } from './volume.ts'

export const TEMPORARY_FOLDER = '.tmp'
/** Uploads in hand at a crash are recorded in the last so many bytes of a journal. */
const JOURNAL_TAIL_BYTES = 4 * 1024 * 1024
const DAY_MS = 86_400_000

export interface RecoveryOptions {
  volume: Volume
  store: string
  /** Names of writers whose leftovers are taken over: this one, and those that no longer run. */
  writers: readonly string[]
  files: FileIndex
  journal: Journal
  log: Log
}

export interface Recovered {
  restored: number
  removed: number
  /** Redo segments whose blocks may be used again. */
  recycled: string[]
  /** Folders to remove when that has happened. */
  folders: string[]
}

export async function recover(options: RecoveryOptions): Promise<Recovered> {
  const { volume, writers, log } = options
  const recovered: Recovered = { restored: 0, removed: 0, recycled: [], folders: [] }
  for (const writer of writers) {
    await recoverIntents(options, writer, recovered)
    await recoverRedo(options, writer, recovered)
    await removeTemporary(volume, writer)
  }
  if (recovered.restored + recovered.removed > 0) {
    log.info(
      { restored: recovered.restored, removed: recovered.removed },
      'finished what an earlier run left undone'
    )
  }
  return recovered
}

/** All writers of a member that left something behind in a store. */
export async function leftoverWriters(root: string): Promise<string[]> {
  const names = new Set<string>()
  for (const folder of [REDO_FOLDER, TEMPORARY_FOLDER, '.journal']) {
    for (const name of await readdirOrNone(join(root, folder))) names.add(name)
  }
  return [...names]
}

/** Names that were about to get a row when the process ended. */
async function recoverIntents(options: RecoveryOptions, writer: string, recovered: Recovered): Promise<void> {
  const { volume, files, journal, store } = options
  const folder = join(volume.root, '.journal', writer)
  const last = (await readdirOrNone(folder))
    .filter(name => name.endsWith('.log'))
    .sort()
    .at(-1)
  if (last === undefined) return
  const open = new Map<string, RecordFacts>()
  const tail = await volume.run('journal', () => readTail(join(folder, last), JOURNAL_TAIL_BYTES))
  readRecords(
    tail,
    0,
    ({ kind, facts }) => {
      if (kind === 'intent') open.set(facts.generation, facts)
      else open.delete(facts.generation)
    },
    { records: 0, damaged: 0 }
  )
  for (const facts of open.values()) {
    const row = await files.find(facts, { causal: true })
    if (row?.generation === facts.generation) {
      await journal.append([encodeRecord('stored', factsOf(row, Date.now()))])
      continue
    }
    // The name may by now be another upload's, whose row says so.
    const [owner] = await files.findPaths(store, [facts.path])
    if (owner) continue
    await removeIfThere(volume, facts.path, recovered)
    await journal.append([encodeRecord('withdrawn', { ...facts, atMs: Date.now() })])
  }
}

async function recoverRedo(options: RecoveryOptions, writer: string, recovered: Recovered): Promise<void> {
  const { volume } = options
  const folder = join(volume.root, REDO_FOLDER, writer)
  for (const boot of (await readdirOrNone(folder)).sort()) {
    const uploads = new Map<string, JournalRecord>()
    const gone = new Set<string>()
    const reading = await readRedoFolder(join(folder, boot), record => {
      const { generation } = record.facts
      if (record.kind === 'withdrawn') gone.add(generation)
      else if (record.kind === 'upload' || record.kind === 'intent') uploads.set(generation, record)
    })
    if (uploads.size > 0) {
      await readJournals(volume.root, reading.sinceMs - DAY_MS, ({ kind, facts }) => {
        if (kind === 'deleted' || kind === 'withdrawn') gone.add(facts.generation)
      })
    }
    for (const [generation, record] of uploads) {
      if (gone.has(generation)) await removeIfUnowned(options, record.facts, recovered)
      else await redo(options, record, recovered)
    }
    recovered.recycled.push(...reading.files)
    recovered.folders.push(join(folder, boot))
  }
}

async function redo(
  options: RecoveryOptions,
  { kind, facts, content }: JournalRecord,
  recovered: Recovered
): Promise<void> {
  const { files, store, volume } = options
  const row = await files.find(facts, { causal: true })
  if (row && row.generation !== facts.generation) return removeIfUnowned(options, facts, recovered) // lost the race for the name
  if (row?.state === 'deleting') return
  if (kind === 'intent') {
    // Without the content there is nothing to make it whole with: the index decides.
    if (!row) await removeIfUnowned(options, facts, recovered)
    return
  }
  const restored = restoreFile(volume, facts, content)
  if (row) {
    if (restored) recovered.restored++
    return
  }
  // Acknowledged or not, the upload is whole; a row that a power loss took comes back.
  const [outcome] = await files.insert([rowOfFacts(facts, store)], { durable: true })
  if (outcome!.inserted) {
    recovered.restored++
    await options.journal.append([encodeRecord('stored', { ...facts, atMs: Date.now() })])
  } else await removeIfUnowned(options, facts, recovered)
}

/** @returns Whether the file had to be written. */
function restoreFile(volume: Volume, facts: RecordFacts, content: Buffer): boolean {
  const path = join(volume.root, facts.path)
  if (isWhole(path, facts)) return false
  const temporary = `${path}.${facts.generation}`
  mkdirSync(dirname(path), { recursive: true })
  const fd = openSync(temporary, 'w', 0o644)
  try {
    if (content.byteLength > 0) writeSync(fd, content)
    fdatasyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(temporary, path)
  return true
}

function isWhole(path: string, facts: RecordFacts): boolean {
  try {
    return statSync(path).size === facts.sizeBytes && crc32(readFileSync(path)) === facts.crc32
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function removeIfUnowned(
  options: RecoveryOptions,
  facts: RecordFacts,
  recovered: Recovered
): Promise<void> {
  const [owner] = await options.files.findPaths(options.store, [facts.path])
  if (!owner) await removeIfThere(options.volume, facts.path, recovered)
}

async function removeIfThere(volume: Volume, path: string, recovered: Recovered): Promise<void> {
  try {
    await volume.run('unlink', () => unlink(join(volume.root, path)))
    recovered.removed++
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

async function removeTemporary(volume: Volume, writer: string): Promise<void> {
  const folder = join(volume.root, TEMPORARY_FOLDER, writer)
  for (const boot of await readdirOrNone(folder)) rmSync(join(folder, boot), { recursive: true, force: true })
}

async function readTail(path: string, bytesMax: number): Promise<Buffer> {
  const handle = await open(path, 'r')
  try {
    const { size } = await handle.stat()
    const start = Math.max(0, size - bytesMax)
    const bytes = Buffer.alloc(size - start)
    await handle.read(bytes, 0, bytes.byteLength, start)
    return bytes
  } finally {
    await handle.close()
  }
}

async function readdirOrNone(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
