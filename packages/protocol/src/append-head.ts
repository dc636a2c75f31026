/**
 * What precedes the content of a PART_APPEND, 72 bytes. Source: docs/PROTOCOL.md, PART_APPEND.
 *
 *   offset  size  field
 *        0    16  id         of the upload
 *       16     8  offset     i64, where in the upload the content begins: so much is acknowledged
 *       24     8  fence      i64, the token that the sender saw last; 0: whichever it is
 *       32     1  algorithm  0 none, 1 crc32, 2 md5, 3 sha1, 4 sha256: of the content
 *       33    32  digest     of the algorithm's length, then zeros
 *       65     7  zeros
 */
import { APPEND_HEAD_BYTES } from './commands.ts'
import { RejectedError } from './errors.ts'
import { invariant } from './invariant.ts'

/** Checksums by their number, and the bytes that each has; append only. */
export const APPEND_ALGORITHMS = {
  crc32: { number: 1, bytes: 4 },
  md5: { number: 2, bytes: 16 },
  sha1: { number: 3, bytes: 20 },
  sha256: { number: 4, bytes: 32 }
} as const
export type AppendAlgorithm = keyof typeof APPEND_ALGORITHMS

export interface AppendChecksum {
  algorithm: AppendAlgorithm
  digest: Buffer
}

export interface AppendHead {
  /** 32 hex digits. */
  id: string
  offsetBytes: number
  fence: number
  /** The content counts as a whole, or not at all. */
  checksum?: AppendChecksum | undefined
}

const DIGEST_AT = 33

export function encodeAppendHead({ id, offsetBytes, fence, checksum }: AppendHead): Buffer {
  const head = Buffer.alloc(APPEND_HEAD_BYTES)
  head.write(id, 0, 16, 'hex')
  head.writeBigInt64BE(BigInt(offsetBytes), 16)
  head.writeBigInt64BE(BigInt(fence), 24)
  if (checksum) {
    const { number, bytes } = APPEND_ALGORITHMS[checksum.algorithm]
    invariant(checksum.digest.byteLength === bytes, 'a digest has the length of its algorithm')
    head[32] = number
    checksum.digest.copy(head, DIGEST_AT)
  }
  return head
}

/** @throws {RejectedError} BAD_FIELD: a negative or absurd number, an algorithm that is not known. */
export function decodeAppendHead(head: Buffer): AppendHead {
  return {
    id: head.toString('hex', 0, 16),
    offsetBytes: numberAt(head, 16, 'offset'),
    fence: numberAt(head, 24, 'fence'),
    checksum: checksumOf(head)
  }
}

function numberAt(head: Buffer, at: number, what: string): number {
  const value = head.readBigInt64BE(at)
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER))
    throw new RejectedError('BAD_FIELD', `${what} ${value} is out of bounds`)
  return Number(value)
}

function checksumOf(head: Buffer): AppendChecksum | undefined {
  const number = head[32]!
  if (number === 0) return undefined
  for (const [algorithm, known] of Object.entries(APPEND_ALGORITHMS)) {
    if (known.number !== number) continue
    const digest = Buffer.from(head.subarray(DIGEST_AT, DIGEST_AT + known.bytes))
    return { algorithm: algorithm as AppendAlgorithm, digest }
  }
  throw new RejectedError('BAD_FIELD', `checksum algorithm ${number} is not known`)
}
