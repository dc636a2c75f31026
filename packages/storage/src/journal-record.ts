/**
 * Records of the journals in a store: what happened to which upload, checksummed, so that a torn tail or a stale
 * record of a recycled file is never taken for true. Append only: kinds and tags keep their meaning for ever.
 *
 *   offset  size  field
 *        0     4  magic         u32  'TrJ1'
 *        4     4  crc32         u32  of everything behind it in this record
 *        8     4  bodyBytes     u32  what follows these 24 bytes
 *       12     8  cycle         u64  of the redo segment; 0 in journals that only grow
 *       20     1  kind          u8
 *       21     3  reserved
 *       24        fields of extensions' form (tag, length, value), then content where the kind has it
 *
 *   behind the head: u32 length of the fields · fields · content
 */
import { crc32 } from 'node:zlib'
import { fieldsCodec, invariant, type FieldsOf } from '@tributary/protocol'

export const RECORD_HEAD_BYTES = 24
const MAGIC = 0x54724a31
/** A longer body is not ours. */
const BODY_BYTES_MAX = 1024 * 1024
/** Whoever has so many bytes from a record's start has all of it. */
export const RECORD_BYTES_MAX = RECORD_HEAD_BYTES + BODY_BYTES_MAX

export const RECORD_KINDS = {
  /** The upload is in the index: it was, or is about to be, acknowledged. Again when it comes into the trash or out of it. */
  stored: 1,
  /** The file is deleted, or about to be. */
  deleted: 2,
  /** The upload did not make it into the index: its file is to go. */
  withdrawn: 3,
  /** A small upload about to enter the index, with its content: made again after a crash. */
  upload: 4,
  /** The same without content, where the setting promises the page cache only. */
  intent: 5,
  /** First record of a redo segment. */
  segment: 6,
  /** Another group has the file now: what is left of it at this place is not its copy any more. */
  moved: 7
} as const
export type RecordKind = keyof typeof RECORD_KINDS

const factsTable = {
  application: { tag: 1, type: 'text' },
  user: { tag: 2, type: 'text' },
  file: { tag: 3, type: 'text' },
  generation: { tag: 4, type: 'hex' },
  nonce: { tag: 5, type: 'hex' },
  sizeBytes: { tag: 6, type: 'u64' },
  crc32: { tag: 7, type: 'u32' },
  group: { tag: 8, type: 'text' },
  path: { tag: 9, type: 'text' },
  name: { tag: 10, type: 'text' },
  mediaType: { tag: 11, type: 'text' },
  storedAtMs: { tag: 12, type: 'u64' },
  /**
   * Of `stored`: since this record the file is in the trash, until then; 0: out of it. Absent: nothing is said of that. It
   * is no kind of its own, because a reader that does not know of a trash then has a stored file, and no damage.
   */
  trashedUntilMs: { tag: 14, type: 'u64', optional: true },
  /** When the record was written, UNIX milliseconds: which of two records is the later */
  atMs: { tag: 13, type: 'u64' }
} as const
invariant(Object.keys(factsTable).at(-1) === 'atMs', 'encodeLaterRecord finds the time at the end')
const facts = fieldsCodec(factsTable)
export type RecordFacts = FieldsOf<typeof factsTable>

export interface JournalRecord {
  kind: RecordKind
  facts: RecordFacts
  /** Of `upload` only. A view. */
  content: Buffer
  /** Where the record ends in what was read. */
  end: number
}

const KIND_BY_NUMBER = new Map<number, RecordKind>(
  Object.entries(RECORD_KINDS).map(([name, number]) => [number, name as RecordKind])
)
const NOTHING = Buffer.alloc(0)

export function encodeRecord(
  kind: RecordKind,
  value: RecordFacts,
  cycle = 0,
  content: Buffer = NOTHING
): Buffer {
  const head = encodeRecordHead(kind, value, cycle, content)
  return content.byteLength === 0 ? head : Buffer.concat([head, content])
}

/** A record but for its content, which is to be written right behind: it need not be copied for that. */
export function encodeRecordHead(
  kind: RecordKind,
  value: RecordFacts,
  cycle: number,
  content: Buffer = NOTHING
): Buffer {
  const fieldsBytes = facts.sizeOf(value)
  const head = Buffer.allocUnsafe(RECORD_HEAD_BYTES + 4 + fieldsBytes)
  head.writeUInt32BE(fieldsBytes, RECORD_HEAD_BYTES)
  facts.write(value, head, RECORD_HEAD_BYTES + 4)
  return seal(head, kind, cycle, content)
}

/** The facts of a record made before, as a record of another kind, of `atMs`, that has no content and no cycle. */
export function encodeLaterRecord(head: Buffer, kind: RecordKind, atMs: number): Buffer {
  const record = Buffer.allocUnsafe(head.byteLength)
  head.copy(record)
  writeUint64(record, atMs, record.byteLength - 8)
  return seal(record, kind, 0, NOTHING)
}

function seal(head: Buffer, kind: RecordKind, cycle: number, content: Buffer): Buffer {
  head.writeUInt32BE(MAGIC, 0)
  head.writeUInt32BE(head.byteLength - RECORD_HEAD_BYTES + content.byteLength, 8)
  writeUint64(head, cycle, 12)
  head.writeUInt32BE(RECORD_KINDS[kind] << 24, 20)
  const crc = crc32(head.subarray(8))
  head.writeUInt32BE(content.byteLength === 0 ? crc : crc32(content, crc), 4)
  return head
}

function writeUint64(target: Buffer, value: number, offset: number): void {
  target.writeUInt32BE(Math.floor(value / 0x1_0000_0000), offset)
  target.writeUInt32BE(value % 0x1_0000_0000, offset + 4)
}

/**
 * The record at `offset`, or why there is none: `end` of what was written, or `damaged` bytes.
 *
 * @param cycle Records of another cycle are what an earlier use of the file left behind: the end.
 */
export function decodeRecord(source: Buffer, offset: number, cycle = 0): JournalRecord | 'end' | 'damaged' {
  if (source.byteLength - offset < RECORD_HEAD_BYTES) return 'end'
  const magic = source.readUInt32BE(offset)
  if (magic === 0) return 'end'
  if (magic !== MAGIC) return 'damaged'
  const recordCycle = source.readUInt32BE(offset + 12) * 0x1_0000_0000 + source.readUInt32BE(offset + 16)
  if (recordCycle !== cycle) return 'end'
  const bodyBytes = source.readUInt32BE(offset + 8)
  const end = offset + RECORD_HEAD_BYTES + bodyBytes
  if (bodyBytes < 4 || bodyBytes > BODY_BYTES_MAX) return 'damaged'
  if (end > source.byteLength) return 'damaged'
  if (crc32(source.subarray(offset + 8, end)) !== source.readUInt32BE(offset + 4)) return 'damaged'
  const kind = KIND_BY_NUMBER.get(source[offset + 20]!)
  const fieldsStart = offset + RECORD_HEAD_BYTES + 4
  const fieldsEnd = fieldsStart + source.readUInt32BE(offset + RECORD_HEAD_BYTES)
  if (kind === undefined || fieldsEnd > end) return 'damaged'
  return {
    kind,
    facts: facts.decode(source.subarray(fieldsStart, fieldsEnd)),
    content: source.subarray(fieldsEnd, end),
    end
  }
}

/** Where the next record may begin at or after `offset`, or -1: to go on behind damaged bytes. */
export function nextRecordStart(source: Buffer, offset: number): number {
  return source.indexOf(MAGIC_BYTES, offset)
}

const MAGIC_BYTES = Buffer.from([0x54, 0x72, 0x4a, 0x31])
