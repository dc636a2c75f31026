/** What the bench stores: bytes that generator and servers' files can be checked against, made from their position. */
import { crc32 } from 'node:zlib'

export const SMALL_BYTES = 4_096
export const HOT_FILES = 64
export const APPLICATION = 'media'
export const USER = 'public'
export const BIG_FILE = 'big'

/** Not a power of two, so that a piece at the wrong place shows. */
const PATTERN_BYTES = 1024 * 1024 - 3
/** Buffers are sent from the pattern and what follows it, so that a piece never ends at its edge. */
const PIECE_BYTES = 1024 * 1024

const pattern = makePattern()

export function hotFile(index: number): string {
  return `hot${String(index).padStart(2, '0')}`
}

/** The whole content of a small file. */
export function smallContent(index: number): Buffer {
  return pattern.subarray(index * 512, index * 512 + SMALL_BYTES)
}

/** Bytes of a large file from `offset` on, at most a piece; a view. */
export function bigPiece(offset: number, bytesMax: number): Buffer {
  const at = offset % PATTERN_BYTES
  return pattern.subarray(at, at + Math.min(bytesMax, PIECE_BYTES))
}

/** Checksum of a large file. */
export function bigCrc32(bytes: number): number {
  let crc = 0
  for (let offset = 0; offset < bytes;) {
    const piece = bigPiece(offset, bytes - offset)
    crc = crc32(piece, crc)
    offset += piece.byteLength
  }
  return crc
}

/** The pattern twice in a row: xorshift, no randomness, the same in every process. */
function makePattern(): Buffer {
  const bytes = Buffer.allocUnsafeSlow(2 * PATTERN_BYTES)
  let state = 0x9e3779b9
  for (let at = 0; at < PATTERN_BYTES; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[at] = state & 0xff
  }
  bytes.copy(bytes, PATTERN_BYTES, 0, PATTERN_BYTES)
  return bytes
}
