/**
 * The point of durability for small uploads on a local volume: their content is appended here and synced once for
 * all that wait; the files themselves are written without a sync, and made again from here after a crash. Two
 * segments are used in turn: when one is full, a checkpoint brings everything it stands for to disk, and it is free
 * again. Overwriting a file that has its blocks makes fdatasync cheap.
 *
 *   <store>/.redo/<member>/<boot>/0.log, 1.log      records of journal-record.ts; the first one opens a cycle
 */
import { randomInt } from 'node:crypto'
import { closeSync, mkdirSync, openSync, renameSync, rmSync, writevSync } from 'node:fs'
import { fdatasync as fdatasyncCallback } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { invariant } from '@tributary/protocol'
import { readRecords, type JournalReading } from './journal.ts'
import { decodeRecord, encodeRecord, type JournalRecord, type RecordFacts } from './journal-record.ts'

const fdatasync = promisify(fdatasyncCallback)
export const REDO_FOLDER = '.redo'
export const SEGMENT_BYTES = 64 * 1024 * 1024

interface Segment {
  readonly fd: number
  offset: number
  /** Resolves when its records are no longer needed. */
  free: Promise<void>
  clean: boolean
}

export interface RedoLogOptions {
  segmentBytes: number
  /** Brings to disk all that was done before the call: files, directories, journal, index rows. */
  checkpoint: () => Promise<void>
}

export class RedoLog {
  readonly #segments: [Segment, Segment]
  readonly #segmentBytes: number
  readonly #checkpoint: () => Promise<void>
  #active = 0
  #cycle: number
  #failure: Error | undefined

  /**
   * @param folder   Of this boot: made here.
   * @param recycled Segment files of an earlier boot, replayed already: their blocks are used again.
   */
  constructor(folder: string, options: RedoLogOptions, recycled: readonly string[] = []) {
    mkdirSync(folder, { recursive: true })
    this.#segmentBytes = options.segmentBytes
    this.#checkpoint = options.checkpoint
    // Cycles never repeat over the life of a file, so that stale records of an earlier use are never read; and
    // nobody can guess one, so that no uploaded content can pass for a record.
    this.#cycle = randomInt(2 ** 47)
    const openSegment = (name: string, old: string | undefined): Segment => {
      const path = join(folder, name)
      if (old !== undefined) renameSync(old, path)
      return {
        fd: openSync(path, old === undefined ? 'w+' : 'r+', 0o644),
        offset: 0,
        free: Promise.resolve(),
        clean: true
      }
    }
    this.#segments = [openSegment('0.log', recycled[0]), openSegment('1.log', recycled[1])]
    this.#begin(this.#segments[0])
  }

  /** Of the segment that `append` writes to next; records carry it. */
  get cycle(): number {
    return this.#cycle
  }

  /** Makes room for `bytes`, by a change of segments if need be. Then `cycle` holds until the next call. */
  async room(bytes: number): Promise<void> {
    invariant(bytes <= this.#segmentBytes / 2, 'a batch fits a segment')
    if (this.#failure) throw this.#failure
    const active = this.#segments[this.#active]!
    if (active.offset + bytes <= this.#segmentBytes) return
    const other = this.#segments[1 - this.#active]!
    await other.free
    if (this.#failure) throw this.#failure
    active.clean = false
    active.free = this.#checkpoint().then(
      () => {
        active.clean = true
      },
      (error: unknown) => {
        // What the segment holds is not safe elsewhere: nothing may overwrite it, and nobody is promised anything.
        this.#failure = error instanceof Error ? error : new Error(String(error))
      }
    )
    this.#active = 1 - this.#active
    this.#begin(other)
  }

  /** In the page cache when it returns. */
  append(records: readonly Buffer[]): void {
    const segment = this.#segments[this.#active]!
    let bytes = 0
    for (const record of records) bytes += record.byteLength
    let written = writevSync(segment.fd, records, segment.offset)
    invariant(written === bytes, 'a write to a local file is whole, or throws')
    segment.offset += written
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
