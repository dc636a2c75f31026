/**
 * The frame that every message travels in, and the error reply. Big endian, unpadded.
 * Source: docs/PROTOCOL.md, Frame.
 *
 *   offset  size  field
 *        0     8  bodyBytes  i64  what follows the header; negative is an error
 *        8     1  command    u8   see commands.ts
 *        9     1  status     i8   0 = success or request; otherwise the body is an error
 *
 *   error body
 *        0     2  errno      i16  -1 where no better number exists
 *        2   ..1024  text         UTF-8, NUL-terminated; may be missing altogether
 */
import { errorFromWire, ERRORS, type ErrorCode, type TributaryError } from './errors.ts'
import { invariant } from './invariant.ts'

export const HEADER_BYTES = 10
/** What existing servers send as status of an error reply. */
export const STATUS_ERROR = -3
export const ERRNO_UNSPECIFIED = -1
/** Longest text of an error reply, without its NUL. */
export const ERROR_TEXT_BYTES_MAX = 1023
export const ERROR_BODY_BYTES_MAX = 2 + ERROR_TEXT_BYTES_MAX + 1

const TWO_POW_32 = 0x1_0000_0000

/** Writes a header into `target` at `offset`; fields are our own, so a wrong one is our bug. */
export function writeHeader(
  target: Buffer,
  offset: number,
  bodyBytes: number,
  command: number,
  status = 0
): void {
  invariant(Number.isSafeInteger(bodyBytes) && bodyBytes >= 0, 'bodyBytes was measured')
  invariant(command >>> 8 === 0 && status >= -128 && status <= 127, 'the setters would wrap silently')
  target.writeUInt32BE(Math.floor(bodyBytes / TWO_POW_32), offset)
  target.writeUInt32BE(bodyBytes % TWO_POW_32, offset + 4)
  target[offset + 8] = command
  target.writeInt8(status, offset + 9)
}

/** A whole frame in one buffer: header, then the given parts of the body. */
export function encodeFrame(command: number, ...parts: readonly Uint8Array[]): Buffer {
  let bodyBytes = 0
  for (const part of parts) bodyBytes += part.byteLength
  const frame = Buffer.allocUnsafe(HEADER_BYTES + bodyBytes)
  writeHeader(frame, 0, bodyBytes, command)
  let offset = HEADER_BYTES
  for (const part of parts) {
    frame.set(part, offset)
    offset += part.byteLength
  }
  return frame
}

/** Only the header, for bodies that are streamed after it. */
export function encodeHeader(bodyBytes: number, command: number, status = 0): Buffer {
  const header = Buffer.allocUnsafe(HEADER_BYTES)
  writeHeader(header, 0, bodyBytes, command, status)
  return header
}

/**
 * Body length of the header at `offset`, as the peer claims it. Never allocate by it.
 *
 * @returns Bytes; -1 for any negative length; Infinity above 2^53 - 1, which no limit admits.
 */
export function readBodyBytes(source: Buffer, offset: number): number {
  const high = source.readInt32BE(offset)
  if (high < 0) return -1
  if (high > 0x1f_ffff) return Infinity
  return high * TWO_POW_32 + source.readUInt32BE(offset + 4)
}

/**
 * An error reply frame.
 *
 * @param replyCommand 100, 101 or 102 by the role that answers.
 * @param errno        A number of the ERRORS table, or ERRNO_UNSPECIFIED for legacy peers.
 */
export function encodeErrorReply(replyCommand: number, errno: number, text: string): Buffer {
  const cut = cutUtf8(text.replaceAll('\0', ' '), ERROR_TEXT_BYTES_MAX)
  const bodyBytes = 2 + cut.byteLength + 1
  const frame = Buffer.allocUnsafe(HEADER_BYTES + bodyBytes)
  writeHeader(frame, 0, bodyBytes, replyCommand, STATUS_ERROR)
  frame.writeInt16BE(errno, HEADER_BYTES)
  frame.set(cut, HEADER_BYTES + 2)
  frame[frame.byteLength - 1] = 0
  return frame
}

/** The error that an error reply's body carries; tolerates a body of 2 bytes, or none. */
export function decodeErrorBody(body: Buffer): TributaryError {
  if (body.byteLength < 2) return errorFromWire(ERRNO_UNSPECIFIED, '')
  const end = body.indexOf(0, 2)
  return errorFromWire(body.readInt16BE(0), body.toString('utf8', 2, end < 0 ? body.byteLength : end))
}

export function wireNumberOf(code: ErrorCode): number {
  return ERRORS[code].wire
}

/** UTF-8 of `text`, at most `bytesMax` long, cut between characters. */
function cutUtf8(text: string, bytesMax: number): Buffer {
  const bytes = Buffer.from(text, 'utf8')
  if (bytes.byteLength <= bytesMax) return bytes
  let end = bytesMax
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--
  return bytes.subarray(0, end)
}
