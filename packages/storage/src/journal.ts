/**
 * A member's diary in the store: every upload and delete it brought about, one file per day. The index can be made
 * again from the journals of all members and the files alone; that is why they lie in the volume and not beside
 * the database.
 *
 *   <store>/.journal/<member>/<YYYY-MM-DD>.log      UTC days; records of journal-record.ts
 */
import { closeSync, mkdirSync, openSync, writevSync } from 'node:fs'
import { fdatasync as fdatasyncCallback } from 'node:fs'
import { mkdir, open, readdir, readFile, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { GroupSync } from './group-sync.ts'
import { decodeRecord, nextRecordStart, type JournalRecord } from './journal-record.ts'
import type { Volume } from './volume.ts'

const fdatasync = promisify(fdatasyncCallback)
const FOLDER = '.journal'
const DAY_MS = 86_400_000

export class Journal {
  readonly #volume: Volume
  readonly #folder: string
  readonly #sync = new GroupSync(() => this.#syncNow())
  #day = -1
  #fd: number | undefined
  #handle: FileHandle | undefined
  #tail: Promise<unknown> = Promise.resolve()

  /** @param member Name of the writer; nobody else writes under it. */
  constructor(volume: Volume, member: string) {
    this.#volume = volume
    this.#folder = join(volume.root, FOLDER, member)
  }

  /** Appends records, in this order. On a local volume they are in the page cache when it returns. */
  append(records: readonly Buffer[]): void | Promise<void> {
    if (this.#volume.local) {
      writevSync(this.#today(), records)
      return
    }
    const appended = this.#tail.then(() =>
      this.#volume.run('journal', async () => {
        const handle = await this.#todaysHandle()
        await handle.writev([...records])
      })
    )
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
    await this.#handle?.close()
    this.#handle = undefined
  }

  async #syncNow(): Promise<void> {
    if (this.#fd !== undefined) await fdatasync(this.#fd)
    const handle = this.#handle
    if (handle) await this.#volume.run('journal sync', () => handle.datasync())
  }

  #today(): number {
    const day = Math.floor(Date.now() / DAY_MS)
    if (day !== this.#day || this.#fd === undefined) {
      mkdirSync(this.#folder, { recursive: true })
      const next = openSync(join(this.#folder, `${dayName(day)}.log`), 'a', 0o644)
      if (this.#fd !== undefined) closeSync(this.#fd)
      this.#fd = next
      this.#day = day
    }
    return this.#fd
  }

  async #todaysHandle(): Promise<FileHandle> {
    const day = Math.floor(Date.now() / DAY_MS)
    if (day !== this.#day || !this.#handle) {
      await mkdir(this.#folder, { recursive: true })
      const next = await open(join(this.#folder, `${dayName(day)}.log`), 'a', 0o644)
      await this.#handle?.close()
      this.#handle = next
      this.#day = day
    }
    return this.#handle
  }
}

export interface JournalReading {
  records: number
  /** Places where bytes were no record: a torn tail, or worse. */
  damaged: number
}

/**
 * Reads the journals of all members of a store, day by day.
 *
 * @param sinceMs Days before the one of this UNIX time are left out.
 */
export async function readJournals(
  root: string,
  sinceMs: number,
  take: (record: JournalRecord) => void
): Promise<JournalReading> {
  const reading: JournalReading = { records: 0, damaged: 0 }
  const folder = join(root, FOLDER)
  const first = `${dayName(Math.floor(sinceMs / DAY_MS))}.log`
  const files: { day: string; path: string }[] = []
  for (const member of await readdirOrNone(folder)) {
    for (const day of await readdirOrNone(join(folder, member))) {
      if (day.endsWith('.log') && day >= first) files.push({ day, path: join(folder, member, day) })
    }
  }
  files.sort((a, b) => (a.day < b.day ? -1 : a.day > b.day ? 1 : 0))
  for (const { path } of files) readRecords(await readFile(path), 0, take, reading)
  return reading
}

/** Gives all whole records of `bytes`, going on behind damage. */
export function readRecords(
  bytes: Buffer,
  cycle: number,
  take: (record: JournalRecord) => void,
  reading: JournalReading
): void {
  let offset = 0
  while (offset < bytes.byteLength) {
    const record = decodeRecord(bytes, offset, cycle)
    if (record === 'end') {
      if (offset + 1 < bytes.byteLength && cycle === 0) reading.damaged++
      return
    }
    if (record === 'damaged') {
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
