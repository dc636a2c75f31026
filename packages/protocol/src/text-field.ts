/**
 * Text in a fixed-width field: UTF-8 up to the first NUL. What follows the NUL may be garbage (existing
 * clients do not clear it). A field of width N carries at most N-1 bytes; one without any NUL is an error.
 */
import { RejectedError } from './errors.ts'
import { invariant } from './invariant.ts'

/** @throws {RejectedError} BAD_FIELD: no NUL within the field, or bytes that are not UTF-8. */
export function readTextField(source: Buffer, offset: number, widthBytes: number, what: string): string {
  let end = offset
  const limit = offset + widthBytes
  let high = 0
  while (end < limit) {
    const byte = source[end]!
    if (byte === 0) break
    high |= byte
    end++
  }
  if (end === limit) throw new RejectedError('BAD_FIELD', `${what} has no end within its ${widthBytes} bytes`)
  if (high < 0x80) return source.toString('latin1', offset, end)
  return readUtf8(source, offset, end, what)
}

/** @throws {RejectedError} BAD_FIELD: the bytes are not UTF-8. */
export function readUtf8(source: Buffer, start: number, end: number, what: string): string {
  const text = source.toString('utf8', start, end)
  // A replacement character that was not sent means the bytes were not UTF-8: two such ids would collide.
  if (text.includes('\ufffd') && !Buffer.from(text, 'utf8').equals(source.subarray(start, end))) {
    throw new RejectedError('BAD_FIELD', `${what} is not UTF-8`)
  }
  return text
}

/** Writes `text` and fills the rest of the field with zeros. */
export function writeTextField(target: Buffer, offset: number, widthBytes: number, text: string): void {
  target.fill(0, offset, offset + widthBytes)
  const bytes = Buffer.byteLength(text, 'utf8')
  invariant(bytes < widthBytes && !text.includes('\0'), `text fits its field of ${widthBytes} bytes`)
  target.write(text, offset, bytes, 'utf8')
}

/** Servers check the length of a frame's body; this holds where a record comes from elsewhere. */
export function checkRecordBytes(source: Buffer, offset: number, recordBytes: number, what: string): void {
  if (source.byteLength - offset < recordBytes) {
    throw new RejectedError('BAD_FIELD', `${what} is cut short: ${recordBytes} bytes are expected`)
  }
}
