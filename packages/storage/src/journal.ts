/**
 * A member's diary in the store: every upload and delete it brought about, one file per day. The index can be made
 * again from the journals of all members and the files alone; that is why they lie in the volume and not beside
 * the database.
 *
 *   <store>/.journal/<member>/<YYYY-MM-DD>.log      UTC days; records of journal-record.ts
 */
import { closeSync, fdatasync as fdatasyncCallback, fdatasyncSync, openSync, writevSync } from 'node:fs'
import { open, readdir, readFile, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { GroupSync } from './group-sync.ts'
import { decodeRecord, nextRecordStart, type JournalRecord } from './journal-record.ts'
import { makeStoreDirectory, makeStoreDirectorySync, syncStoreDirectoriesSync } from './store-directory.ts'
import type { Volume } from './volume.ts'

const fdatasync = promisify(fdatasyncCallback)
const FOLDER = '.journal'
const DAY_MS = 86_400_000
/** Records that a full disk did not take are kept for the next append; what is beyond that is found on disk only. */
const OWED_RECORDS_MAX = 10_000

export class Journal {
  readonly #volume: Volume
  readonly #folder: string
  readonly #sync = new GroupSync(() => this.#syncNow())
  readonly #nowMs: () => number
  #owed: Buffer[] = []
  #day = -1
  #fd: number | undefined
  #handle: FileHandle | undefined
  #tail: Promise<unknown> = Promise.resolve()

  /** @param member Name of the writer; nobody else writes under it. */
  constructor(volume: Volume, member: string, nowMs: () => number = Date.now) {
    this.#volume = volume
    this.#folder = join(FOLDER, member)
    this.#nowMs = nowMs
  }

  /**
   * Appends records, in this order. On a local volume they are in the page cache when it returns. Records that the
   * disk does not take come first at the next append: the reader passes over what was half written.
   */
  append(records: readonly Buffer[]): void | Promise<void> {
    const all = this.#owed.length === 0 ? [...records] : [...this.#owed, ...records]
    this.#owed = []
    const owe = (error: unknown): never => {
      this.#owed.unshift(...all.slice(0, OWED_RECORDS_MAX - this.#owed.length))
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
          checkWhole(await this.#write(all), all)
        })
      )
      .catch((error: unknown) => {
        this.#letGo()
        return owe(error)
      })
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
    if (!handle) return
    try {
      await this.#volume.run('journal sync', () => handle.datasync())
    } catch (error) {
      this.#letGo()
      throw error
    }
  }

  /** @returns Bytes written. A descriptor that died since the last append is replaced. */
  async #write(records: Buffer[]): Promise<number> {
    try {
      const handle = await this.#todaysHandle()
      return (await handle.writev(records)).bytesWritten
    } catch (error) {
      if (!isDead(error) || !this.#handle) throw error
      this.#letGo()
      const handle = await this.#todaysHandle()
      return (await handle.writev(records)).bytesWritten
    }
  }

  /**
   * The file is opened again at the next append: a descriptor on a volume that was unmounted, or whose client died, works
   * no more, however well the volume does later.
   */
  #letGo(): void {
    const handle = this.#handle
    this.#handle = undefined
    if (handle) this.#volume.chore(() => handle.close())
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

  async #todaysHandle(): Promise<FileHandle> {
    const day = Math.floor(this.#nowMs() / DAY_MS)
    if (day !== this.#day || !this.#handle) {
      const { root } = this.#volume
      await makeStoreDirectory(root, this.#folder)
      const next = await open(join(root, this.#folder, `${dayName(day)}.log`), 'a', 0o644)
      await this.#handle?.datasync()
      await this.#handle?.close()
      this.#handle = next
      this.#day = day
    }
    return this.#handle
  }
}

/** What a network volume says of a descriptor that its client no longer knows: nothing was written. */
function isDead(error: unknown): boolean {
  return ['ENOTCONN', 'EBADFD', 'ESTALE'].includes((error as NodeJS.ErrnoException).code ?? '')
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
