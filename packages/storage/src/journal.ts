/**
 * A member's diary in the store: every upload and delete it brought about, one file per day. The index can be made
 * again from the journals of all members and the files alone; that is why they lie in the volume and not beside
 * the database.
 *
 *   <store>/.journal/<member>/<YYYY-MM-DD>.log      UTC days; records of journal-record.ts
 */
import { closeSync, fdatasync as fdatasyncCallback, fdatasyncSync, openSync, writevSync } from 'node:fs'
import { open, readdir, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { TributaryError } from '@tributary/protocol'
import { GroupSync } from './group-sync.ts'
import { decodeRecord, nextRecordStart, RECORD_BYTES_MAX, type JournalRecord } from './journal-record.ts'
import { makeStoreDirectory, makeStoreDirectorySync, syncStoreDirectoriesSync } from './store-directory.ts'
import type { Volume } from './volume.ts'

const fdatasync = promisify(fdatasyncCallback)
export const JOURNAL_FOLDER = '.journal'
const DAY_MS = 86_400_000
/** Records that a full disk did not take are kept for the next append; what is beyond that is found on disk only. */
const OWED_RECORDS_MAX = 10_000
/** Of a journal in memory at a time when it is read: several of the longest records. */
const READ_BYTES = 4 * RECORD_BYTES_MAX
/** A journal may grow by so much while it is read. */
const GROWTH_BYTES = 64 * 1024
/** All but the last byte of what a record begins with. */
const MAGIC_TAIL_BYTES = 3

/** A day's file on a volume that is not local. */
interface OpenDay {
  readonly handle: FileHandle
  /** Records written through it that no sync has covered: whether a lost descriptor has kept them nobody knows. */
  readonly unsynced: Buffer[]
}

export class Journal {
  readonly #volume: Volume
  readonly #folder: string
  readonly #sync = new GroupSync(() => this.#syncNow())
  readonly #nowMs: () => number
  #owed: Buffer[] = []
  #day = -1
  #fd: number | undefined
  #open: OpenDay | undefined
  #tail: Promise<unknown> = Promise.resolve()

  /** @param member Name of the writer; nobody else writes under it. */
  constructor(volume: Volume, member: string, nowMs: () => number = Date.now) {
    this.#volume = volume
    this.#folder = join(JOURNAL_FOLDER, member)
    this.#nowMs = nowMs
  }

  /**
   * Appends records, in this order. On a local volume they are in the page cache when it returns. Records that the
   * disk does not take come first at the next append: the reader passes over what was half written.
   */
  append(records: readonly Buffer[]): void | Promise<void> {
    let all = this.#owed.length === 0 ? [...records] : [...this.#owed, ...records]
    this.#owed = []
    const owe = (error: unknown): never => {
      this.#owe(all)
      throw error
    }
    if (this.#volume.local) {
      try {
        checkWhole(writevSync(this.#today(), all), all)
      } catch (error) {
        owe(error)
      }
      return
    }
    const appended = this.#tail
      .then(() =>
        this.#volume.run('journal', async () => {
          try {
            await this.#write(all)
          } catch (error) {
            if (!isOfDescriptor(error)) throw error
            all = [...this.#lose(), ...all]
            await this.#write(all)
          }
        })
      )
      .catch(owe)
    this.#tail = appended.catch(() => {})
    return appended
  }

  /** Resolves when everything appended before is on disk. */
  sync(): Promise<void> {
    return this.#sync.wait()
  }

  async close(): Promise<void> {
    await this.#tail
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
    await this.#open?.handle.close()
    this.#open = undefined
  }

  async #syncNow(): Promise<void> {
    if (this.#fd !== undefined) await fdatasync(this.#fd)
    if (this.#volume.local) return
    if (this.#owed.length > 0) await this.append([])
    const day = this.#open
    if (!day) return
    const count = day.unsynced.length
    try {
      await this.#volume.run('journal sync', () => day.handle.datasync())
      day.unsynced.splice(0, count)
    } catch (error) {
      if (isOfDescriptor(error) && this.#open === day) this.#owe(this.#lose())
      throw error
    }
  }

  #owe(records: readonly Buffer[]): void {
    this.#owed.unshift(...records.slice(0, OWED_RECORDS_MAX - this.#owed.length))
  }

  async #write(records: readonly Buffer[]): Promise<void> {
    const { handle, unsynced } = await this.#todaysFile()
    if (records.length === 0) return
    checkWhole((await handle.writev(records)).bytesWritten, records)
    unsynced.push(...records)
    unsynced.splice(0, unsynced.length - OWED_RECORDS_MAX) // where nothing is ever synced
  }

  /** The next record opens the file anew. @returns what has to be written again */
  #lose(): Buffer[] {
    const day = this.#open
    this.#open = undefined
    if (!day) return []
    this.#volume.chore(() => day.handle.close())
    return day.unsynced
  }

  #today(): number {
    const day = Math.floor(this.#nowMs() / DAY_MS)
    if (day !== this.#day || this.#fd === undefined) {
      const { root } = this.#volume
      makeStoreDirectorySync(root, this.#folder)
      const next = openSync(join(root, this.#folder, `${dayName(day)}.log`), 'a', 0o644)
      syncStoreDirectoriesSync(root, this.#folder)
      const last = this.#fd
      if (last !== undefined) {
        // Whoever asks for a sync from now on gets one of the new file: what the last one holds is synced here. It
        // is closed when no sync of it can be under way any more.
        fdatasyncSync(last)
        const close = (): void => closeSync(last)
        void this.#sync.wait().then(close, close)
      }
      this.#fd = next
      this.#day = day
    }
    return this.#fd
  }

  async #todaysFile(): Promise<OpenDay> {
    const day = Math.floor(this.#nowMs() / DAY_MS)
    if (day !== this.#day || !this.#open) {
      const { root } = this.#volume
      await makeStoreDirectory(root, this.#folder)
      const handle = await open(join(root, this.#folder, `${dayName(day)}.log`), 'a', 0o644)
      const last = this.#open
      try {
        await last?.handle.datasync()
        await last?.handle.close()
      } catch (error) {
        await handle.close()
        throw error
      }
      this.#open = { handle, unsynced: [] }
      this.#day = day
    }
    return this.#open
  }
}

/**
 * The volume answers, but not for this descriptor: its mount died and came back, or its copies came and went until none
 * knew it. A full disk is no such case, and one that hangs is not either.
 */
function isOfDescriptor(error: unknown): boolean {
  return !(error instanceof TributaryError) && (error as NodeJS.ErrnoException).code !== 'ENOSPC'
}

function checkWhole(written: number, records: readonly Buffer[]): void {
  const bytes = records.reduce((sum, record) => sum + record.byteLength, 0)
  if (written === bytes) return
  throw Object.assign(new Error(`only ${written} of ${bytes} bytes were taken`), { code: 'ENOSPC' })
}

export interface JournalReading {
  records: number
  /** Places where bytes were no record: a torn tail, or worse. */
  damaged: number
}

export interface JournalFile {
  writer: string
  /** UTC, YYYY-MM-DD. */
  day: string
  /** Relative in the store. */
  path: string
}

/** The journals of all members of a store, day by day; other names in their folders are passed over. */
export async function listJournals(root: string): Promise<JournalFile[]> {
  const files: JournalFile[] = []
  for (const writer of await readdirOrNone(join(root, JOURNAL_FOLDER))) {
    for (const name of await readdirOrNone(join(root, JOURNAL_FOLDER, writer))) {
      const day = DAY_FILE.exec(name)?.[1]
      if (day !== undefined) files.push({ writer, day, path: join(JOURNAL_FOLDER, writer, name) })
    }
  }
  return files.sort((a, b) => (a.day < b.day ? -1 : a.day > b.day ? 1 : 0))
}

const DAY_FILE = /^(\d{4}-\d{2}-\d{2})\.log$/

/**
 * Reads the journals of all members of a store, day by day, each a piece at a time.
 *
 * @param sinceMs Days before the one of this UNIX time are left out.
 */
export async function readJournals(
  root: string,
  sinceMs: number,
  take: (record: JournalRecord) => void
): Promise<JournalReading> {
  const reading: JournalReading = { records: 0, damaged: 0 }
  const first = dayName(Math.floor(sinceMs / DAY_MS))
  for (const { day, path } of await listJournals(root)) {
    if (day >= first) await readJournalFile(join(root, path), take, reading)
  }
  return reading
}

/** Gives all whole records of one journal, going on behind damage; what `take` is given holds until it returns. */
export async function readJournalFile(
  path: string,
  take: (record: JournalRecord) => void,
  reading: JournalReading
): Promise<void> {
  const handle = await open(path, 'r')
  try {
    const { size } = await handle.stat()
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, size + GROWTH_BYTES))
    let filled = 0
    let isEnd = false
    let isLost = false // behind damage, looking for the next record
    while (!isEnd) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.byteLength - filled)
      filled += bytesRead
      isEnd = bytesRead === 0
      const bytes = buffer.subarray(0, filled)
      const leftBytesMin = isEnd ? 1 : RECORD_BYTES_MAX
      let offset = 0
      while (filled - offset >= leftBytesMin) {
        if (isLost) {
          const next = nextRecordStart(bytes, offset)
          isLost = next < 0
          offset = next >= 0 ? next : isEnd ? filled : filled - MAGIC_TAIL_BYTES
          continue
        }
        const record = decodeRecord(bytes, offset)
        if (typeof record === 'string') {
          reading.damaged++
          isLost = true
          offset++
          continue
        }
        take(record)
        reading.records++
        offset = record.end
      }
      buffer.copyWithin(0, offset, filled)
      filled -= offset
    }
  } finally {
    await handle.close()
  }
}

/**
 * Gives all whole records of `bytes`, going on behind damage. A redo segment ends where an earlier cycle's records
 * begin; in a file that only grows, bytes that are no record are what a power loss tore, and later ones follow.
 */
export function readRecords(
  bytes: Buffer,
  cycle: number,
  take: (record: JournalRecord) => void,
  reading: JournalReading
): void {
  let offset = 0
  while (offset < bytes.byteLength) {
    const record = decodeRecord(bytes, offset, cycle)
    if (record === 'end' && cycle !== 0) return
    if (record === 'end' || record === 'damaged') {
      reading.damaged++
      offset = nextRecordStart(bytes, offset + 1)
      if (offset < 0) return
      continue
    }
    take(record)
    reading.records++
    offset = record.end
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

function dayName(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10)
}
