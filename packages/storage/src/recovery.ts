/**
 * What a writer does at its start with what its earlier boots left: uploads in the redo log are made whole or
 * removed, names that never got a row are removed, temporary files go. The index has the last word, but for rows that
 * it may have lost itself; those come back from the log.
 */
import {
  closeSync,
  fdatasyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync
} from 'node:fs'
import { open, readdir, rm, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { FileIndex, FileRow, Moves } from '@tributary/database'
import { UnavailableError } from '@tributary/protocol'
import type { Log } from '@tributary/runtime'
import { encodeRecord, type JournalRecord, type RecordFacts } from './journal-record.ts'
import { readJournals, readRecords, type Journal } from './journal.ts'
import { readRedoFolder, REDO_FOLDER } from './redo-log.ts'
import { isAt } from './row-switch.ts'
import { makeStoreDirectorySync } from './store-directory.ts'
import { factsOf, rowOfFacts } from './upload-record.ts'
import type { Volume } from './volume.ts'

export const TEMPORARY_FOLDER = '.tmp'
/** Uploads in hand at a crash are recorded in the last so many bytes of a journal. */
const JOURNAL_TAIL_BYTES = 4 * 1024 * 1024
const DAY_MS = 86_400_000
/** Rows looked up, or inserted, at a time. */
const LOOKUPS = 64

export interface RecoveryOptions {
  volume: Volume
  store: string
  /** Names of writers whose leftovers are taken over: this one, and those that no longer run. */
  writers: readonly string[]
  files: FileIndex
  moves: Moves
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
  const { volume, files, moves, journal, store } = options
  const folder = join(volume.root, '.journal', writer)
  const days = (await volume.run('journal', () => readdirOrNone(folder)))
    .filter(name => name.endsWith('.log'))
    .sort()
  const open = new Map<string, RecordFacts>()
  // The day may have changed between an intent and the crash.
  for (const day of days.slice(-2)) {
    const tail = await volume.run('journal', () => readTail(join(folder, day), JOURNAL_TAIL_BYTES))
    readRecords(
      tail,
      0,
      ({ kind, facts }) => {
        if (kind === 'intent') open.set(facts.generation, facts)
        else open.delete(facts.generation)
      },
      { records: 0, damaged: 0 }
    )
  }
  for (const facts of open.values()) {
    let row = await files.find(facts, { causal: true })
    if (row?.generation === facts.generation && !isAt(row, { ...facts, store })) {
      // It was on its way here from another group. A switch that is still under way is not to come any more.
      await moves.withdraw(store, facts.path)
      row = await files.find(facts, { causal: true })
    }
    if (row && isAt(row, { ...facts, store })) {
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
    const withdrawn = new Set<string>()
    const reading = await readRedoFolder(join(folder, boot), record => {
      const { generation } = record.facts
      if (record.kind === 'withdrawn') withdrawn.add(generation)
      else if (record.kind === 'upload' || record.kind === 'intent') uploads.set(generation, record)
    })
    for (const generation of withdrawn) {
      const record = uploads.get(generation)
      uploads.delete(generation)
      if (record) await removeIfUnowned(options, record.facts, recovered)
    }
    await redo(options, [...uploads.values()], reading.sinceMs - DAY_MS, recovered)
    recovered.recycled.push(...reading.files)
    recovered.folders.push(join(folder, boot))
  }
}

/**
 * Makes uploads whole, or removes them.
 *
 * Other members go on meanwhile, and may delete what is made whole here. So the rows are looked up first and the
 * journals are read after that: a delete removes its row only when its record is written. What then has neither
 * a row nor a record of its deletion was never in the index, or a power loss took it out. The same goes for files that were
 * moved away: noted before the row is switched, and until the journal says so.
 */
async function redo(
  options: RecoveryOptions,
  uploads: readonly JournalRecord[],
  sinceMs: number,
  recovered: Recovered
): Promise<void> {
  if (uploads.length === 0) return
  const { files, store, volume, journal } = options
  const rows: (FileRow | undefined)[] = []
  for (let at = 0; at < uploads.length; at += LOOKUPS) {
    const part = uploads.slice(at, at + LOOKUPS)
    rows.push(...(await Promise.all(part.map(async ({ facts }) => files.find(facts, { causal: true })))))
  }
  const moved = await movedAway(
    options,
    uploads.filter((_, at) => rows[at] === undefined)
  )
  const deleted = new Set<string>(moved)
  const journaled = new Set<string>()
  await readJournals(volume.root, sinceMs, ({ kind, facts }) => {
    if (kind === 'deleted' || kind === 'withdrawn' || kind === 'moved') deleted.add(facts.generation)
    else if (kind === 'stored') journaled.add(facts.generation)
  })
  const lost: JournalRecord[] = []
  for (const [at, record] of uploads.entries()) {
    const { kind, facts } = record
    const row = rows[at]
    if (row && isAt(row, { ...facts, store })) {
      if (row.state === 'deleting') continue // by whoever finishes the delete
      // Without the content there is nothing to make it whole with: the index decides.
      if (kind === 'upload') await makeWhole(options, record, recovered)
      if (!journaled.has(facts.generation) && !deleted.has(facts.generation))
        await journal.append([encodeRecord('stored', factsOf(row, Date.now()))])
    } else if (row || kind === 'intent' || deleted.has(facts.generation)) {
      await removeIfUnowned(options, facts, recovered) // it lost the race for its name, or was never promised
    } else lost.push(record)
  }
  // Acknowledged or not, these are whole; rows that a power loss took come back.
  for (let at = 0; at < lost.length; at += LOOKUPS) {
    const part = lost.slice(at, at + LOOKUPS)
    const owned = new Set(
      (
        await files.findPaths(
          store,
          part.map(({ facts }) => facts.path)
        )
      ).map(({ path }) => path)
    )
    const free = part.filter(({ facts }) => !owned.has(facts.path))
    for (const { facts, content } of free) restoreFile(volume, facts, content)
    const outcomes = await files.insert(
      free.map(({ facts }) => rowOfFacts(facts, store)),
      { durable: true }
    )
    for (const [index, outcome] of outcomes.entries()) {
      const { facts } = free[index]!
      if (outcome.inserted) {
        recovered.restored++
        await journal.append([encodeRecord('stored', { ...facts, atMs: Date.now() })])
      } else await removeIfUnowned(options, facts, recovered)
    }
  }
}

/** Generations that another group has, or had. */
async function movedAway(
  { moves, store }: RecoveryOptions,
  uploads: readonly JournalRecord[]
): Promise<string[]> {
  const generations: string[] = []
  try {
    for (let at = 0; at < uploads.length; at += LOOKUPS) {
      const part = uploads.slice(at, at + LOOKUPS)
      const found = await Promise.all(part.map(({ facts }) => moves.find(store, facts.path)))
      for (const move of found) if (move) generations.push(move.generation)
    }
  } catch (error) {
    // A schema that knows no moves has none.
    if ((error as { code?: string }).code !== 'SCHEMA_VERSION') throw error
  }
  return generations
}

/** Of an upload that has its row. */
async function makeWhole(
  options: RecoveryOptions,
  { facts, content }: JournalRecord,
  recovered: Recovered
): Promise<void> {
  if (!restoreFile(options.volume, facts, content)) return
  // Another member may have deleted it since the row was read: then its file is to be gone again.
  const row = await options.files.find(facts, { causal: true })
  if (!row || !isAt(row, { ...facts, store: options.store })) await removeIfUnowned(options, facts, recovered)
  else if (row.state !== 'deleting') recovered.restored++
  // Whoever deletes it may have removed the file already, with only the row left to go: nobody would again.
  else await removeIfThere(options.volume, facts.path, recovered)
}

/** @returns Whether the file had to be written. */
function restoreFile(volume: Volume, facts: RecordFacts, content: Buffer): boolean {
  const path = join(volume.root, facts.path)
  if (isWhole(path, facts)) return false
  const temporary = `${path}.${facts.generation}`
  makeStoreDirectorySync(volume.root, dirname(facts.path))
  const fd = openSync(temporary, 'w', 0o644)
  try {
    const written = content.byteLength > 0 ? writeSync(fd, content) : 0
    if (written !== content.byteLength)
      throw new UnavailableError('NO_SPACE', `no space left to restore ${facts.path}`)
    fdatasyncSync(fd)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  } finally {
    closeSync(fd)
  }
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
  for (const boot of await volume.run('temporary files', () => readdirOrNone(folder))) {
    await volume.run('temporary files', () => rm(join(folder, boot), { recursive: true, force: true }))
  }
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
