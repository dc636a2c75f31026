/**
 * The point of durability for small uploads on a local volume: their content is appended here and synced once for
 * all that wait; the files themselves are written without a sync, and made again from here after a crash. Two
 * segments are used in turn: when one is full, a checkpoint brings everything it stands for to disk, and it is free
 * again. Overwriting a file that has its blocks makes fdatasync cheap.
 *
 *   <store>/.redo/<member>/<boot>/0.log, 1.log      records of journal-record.ts; the first one opens a cycle
 */
import { randomInt } from 'node:crypto'
import {
  closeSync,
  fdatasync as fdatasyncCallback,
  fstatSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
  writevSync
} from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { invariant, UnavailableError } from '@tributary/protocol'
import { readRecords, type JournalReading } from './journal.ts'
import { decodeRecord, encodeRecord, type JournalRecord, type RecordFacts } from './journal-record.ts'
import { makeStoreDirectorySync, syncStoreDirectoriesSync } from './store-directory.ts'

const fdatasync = promisify(fdatasyncCallback)
export const REDO_FOLDER = '.redo'
export const SEGMENT_BYTES = 64 * 1024 * 1024
/** A new segment gets its blocks in steps of so much, instead of at each append. */
const ALLOCATE_BYTES = 4 * 1024 * 1024
/** A checkpoint that failed is tried again after this time. */
const CHECKPOINT_RETRY_MS = 1_000
/** An upload waits so long for a checkpoint before it is refused. */
const CHECKPOINT_WAIT_MS = 10_000

interface Segment {
  readonly fd: number
  offset: number
  /** The file has its blocks up to here: a sync of what is written into them writes no metadata. */
  allocatedBytes: number
  /** Resolves when its records are no longer needed. */
  free: Promise<void>
  clean: boolean
}

/**
 * The disk itself refused: what it was given may be lost, and a second try would only seem to succeed. A checkpoint
 * that fails like this is not tried again.
 */
export class DiskSyncError extends Error {
  override readonly name = 'DiskSyncError'
}

export interface RedoLogOptions {
  segmentBytes: number
  /**
   * Brings to disk all that was done before the call: files, directories, journal, index rows.
   *
   * @throws {DiskSyncError} it never will. Anything else: it is tried again.
   */
  checkpoint: () => Promise<void>
  /** Worth it where appends are synced. Default: no. */
  allocatesAhead?: boolean
  onTrouble?: (error: unknown) => void
}

export class RedoLog {
  readonly #segments: [Segment, Segment]
  readonly #segmentBytes: number
  readonly #checkpoint: () => Promise<void>
  readonly #allocatesAhead: boolean
  readonly #onTrouble: (error: unknown) => void
  #closed = false
  #active = 0
  #cycle: number
  #failure: Error | undefined

  /**
   * @param root     Of the store.
   * @param boot     Folder of this boot, relative in the store: made here.
   * @param recycled Segment files of an earlier boot, replayed already: their blocks are used again.
   */
  constructor(root: string, boot: string, options: RedoLogOptions, recycled: readonly string[] = []) {
    makeStoreDirectorySync(root, boot)
    const folder = join(root, boot)
    this.#onTrouble = options.onTrouble ?? (() => {})
    this.#segmentBytes = options.segmentBytes
    this.#checkpoint = options.checkpoint
    this.#allocatesAhead = options.allocatesAhead ?? false
    // Cycles never repeat over the life of a file, so that stale records of an earlier use are never read; and
    // nobody can guess one, so that no uploaded content can pass for a record.
    this.#cycle = randomInt(2 ** 47)
    const openSegment = (name: string, old: string | undefined): Segment => {
      const path = join(folder, name)
      if (old !== undefined) renameSync(old, path)
      const fd = openSync(path, old === undefined ? 'w+' : 'r+', 0o644)
      return {
        fd,
        offset: 0,
        allocatedBytes: fstatSync(fd).size,
        free: Promise.resolve(),
        clean: true
      }
    }
    this.#segments = [openSegment('0.log', recycled[0]), openSegment('1.log', recycled[1])]
    for (const segment of this.#segments) this.#begin(segment)
    this.#begin(this.#segments[0])
    syncStoreDirectoriesSync(root, boot)
  }

  /** Longest batch that `room` makes room for. */
  get batchBytesMax(): number {
    return Math.floor(this.#segmentBytes / 2)
  }

  /** Of the segment that `append` writes to next; records carry it. */
  get cycle(): number {
    return this.#cycle
  }

  /**
   * Makes room for `bytes`, by a change of segments if need be. Then `cycle` holds until the next call.
   *
   * @throws {UnavailableError} STORE_UNAVAILABLE: no checkpoint succeeds.
   */
  async room(bytes: number): Promise<void> {
    invariant(bytes <= this.batchBytesMax, 'a batch fits a segment')
    if (this.#failure) throw this.#failure
    const active = this.#segments[this.#active]!
    if (active.offset + bytes <= this.#segmentBytes) return
    const other = this.#segments[1 - this.#active]!
    await this.#untilFree(other)
    active.clean = false
    active.free = this.#untilSafe(active)
    this.#active = 1 - this.#active
    this.#begin(other)
  }

  /** In the page cache when it returns. @throws ENOSPC: nothing of it is there. */
  append(records: readonly Buffer[]): void {
    const segment = this.#segments[this.#active]!
    let bytes = 0
    for (const record of records) bytes += record.byteLength
    if (this.#allocatesAhead) this.#allocate(segment, segment.offset + bytes)
    const written = writevSync(segment.fd, records, segment.offset)
    if (written < bytes) {
      // Records at the front may be whole, but their uploads are refused: after a crash they must not come back.
      writevSync(segment.fd, [Buffer.alloc(written)], segment.offset)
      throw new UnavailableError('NO_SPACE', 'no space left for the upload')
    }
    segment.offset += written
  }

  /** Gives the segment blocks for a while ahead: zeros, which a reader takes for the end. */
  #allocate(segment: Segment, end: number): void {
    if (end <= segment.allocatedBytes) return
    const start = Math.max(segment.allocatedBytes, segment.offset)
    const ahead = Math.min(ALLOCATE_BYTES, Math.max(end, this.#segmentBytes) - start)
    try {
      segment.allocatedBytes = start + writeSync(segment.fd, Buffer.alloc(ahead), 0, ahead, start)
    } catch {
      // The disk is full, or nearly: the records themselves may still fit, and say so.
    }
  }

  /** To be called when all of it is safe elsewhere: nothing of it is done again at the next start. */
  clear(): void {
    for (const segment of this.#segments) this.#begin(segment)
  }

  async #untilFree(segment: Segment): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, CHECKPOINT_WAIT_MS)
    })
    await Promise.race([segment.free, late])
    clearTimeout(timer)
    if (this.#failure) throw this.#failure
    if (!segment.clean) {
      throw new UnavailableError(
        'STORE_UNAVAILABLE',
        'the disk is too slow, or the index: nothing was stored'
      )
    }
  }

  /** Until a checkpoint succeeds, nothing may overwrite what the segment holds. */
  async #untilSafe(segment: Segment): Promise<void> {
    for (;;) {
      try {
        await this.#checkpoint()
        segment.clean = true
        return
      } catch (error) {
        this.#onTrouble(error)
        if (error instanceof DiskSyncError) {
          this.#failure = error
          return
        }
      }
      await new Promise(resolve => setTimeout(resolve, CHECKPOINT_RETRY_MS).unref())
      if (this.#closed) return
    }
  }

  /** Resolves when all that was appended is on disk. */
  async sync(): Promise<void> {
    await fdatasync(this.#segments[this.#active]!.fd)
  }

  /** Whether the log holds anything that only a checkpoint makes safe. */
  get dirty(): boolean {
    return this.#segments[this.#active]!.offset > SEGMENT_HEAD_MAX || !this.#segments[1 - this.#active]!.clean
  }

  close(): void {
    this.#closed = true
    for (const { fd } of this.#segments) closeSync(fd)
  }

  #begin(segment: Segment): void {
    this.#cycle++
    const head = encodeRecord('segment', { ...NO_FACTS, atMs: Date.now() }, this.#cycle)
    invariant(head.byteLength <= SEGMENT_HEAD_MAX, 'a segment head is short')
    segment.offset = 0
    writevSync(segment.fd, [head], 0)
    segment.offset = head.byteLength
    segment.clean = true
  }
}

const SEGMENT_HEAD_MAX = 256
const NO_FACTS: Omit<RecordFacts, 'atMs'> = {
  application: '',
  user: '',
  file: '',
  generation: '',
  nonce: '',
  sizeBytes: 0,
  crc32: 0,
  group: '',
  path: '',
  name: '',
  mediaType: '',
  storedAtMs: 0
}

export interface RedoReading extends JournalReading {
  /** UNIX milliseconds of the oldest segment; Infinity where there is none. */
  sinceMs: number
  files: string[]
}

/** Reads the redo segments in `folder`, oldest cycle first. */
export async function readRedoFolder(
  folder: string,
  take: (record: JournalRecord) => void
): Promise<RedoReading> {
  const reading: RedoReading = { records: 0, damaged: 0, sinceMs: Infinity, files: [] }
  const segments: { cycle: number; bytes: Buffer }[] = []
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.log')) continue
    const path = join(folder, name)
    reading.files.push(path)
    const bytes = await readFile(path)
    const cycle = cycleOf(bytes)
    const head = cycle === undefined ? 'end' : decodeRecord(bytes, 0, cycle)
    if (typeof head === 'string' || head.kind !== 'segment') continue
    reading.sinceMs = Math.min(reading.sinceMs, head.facts.atMs)
    segments.push({ cycle: cycle!, bytes: bytes.subarray(head.end) })
  }
  segments.sort((a, b) => a.cycle - b.cycle)
  for (const { cycle, bytes } of segments) readRecords(bytes, cycle, take, reading)
  return reading
}

export function removeRedoFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}

function cycleOf(bytes: Buffer): number | undefined {
  if (bytes.byteLength < 24) return undefined
  return bytes.readUInt32BE(12) * 0x1_0000_0000 + bytes.readUInt32BE(16)
}
