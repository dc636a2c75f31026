/**
 * Bodies of the published commands: fixed layouts, byte-exact. Source: docs/PROTOCOL.md, Commands.
 *
 *   join record, 171 bytes                       beat record, 146 bytes
 *   offset  size  field                          offset  size  field
 *        0     7  version                             0    17  group name
 *        7    17  group name                         17   129  host name
 *       24   129  host name
 *      153     2  port        u16               download request, 416 bytes
 *      155     8  start time  i64, UNIX s            0   400  file key
 *      163     8  join time   i64, UNIX s          400     8  offset  i64
 *                                                  408     8  size    i64, 0 = to the end
 */
import { decodeAddressList, encodeAddressList, type Address } from './address.ts'
import { BEAT_BYTES, DOWNLOAD_BYTES, ID_KEY_BYTES_MAX, JOIN_BYTES, UPLOAD_HEAD_BYTES } from './commands.ts'
import { RejectedError } from './errors.ts'
import {
  decodeFileKey,
  encodeFileKey,
  FILE_KEY_BYTES,
  GROUP_WIDTH_BYTES,
  isGroupName,
  type FileKey
} from './file-key.ts'
import { invariant } from './invariant.ts'
import { checkRecordBytes, readTextField, writeTextField } from './text-field.ts'

const VERSION_WIDTH_BYTES = 7
const HOST_WIDTH_BYTES = 129
export const HOST_NAME_BYTES_MAX = HOST_WIDTH_BYTES - 1

export interface JoinRecord {
  /** ASCII; what is longer than 6 characters is cut. */
  version: string
  group: string
  hostName: string
  port: number
  /** UNIX seconds */
  startedAtS: number
  joinedAtS: number
}
export interface BeatRecord {
  group: string
  hostName: string
}

/** @throws {RejectedError} BAD_FIELD: port 0, an empty host name, a bad group name, an unterminated field. */
export function decodeJoin(body: Buffer): JoinRecord {
  checkRecordBytes(body, 0, JOIN_BYTES, 'join record')
  const version = readTextField(body, 0, VERSION_WIDTH_BYTES, 'version')
  const { group, hostName } = readMember(body, VERSION_WIDTH_BYTES)
  const port = body.readUInt16BE(153)
  if (port === 0) throw new RejectedError('BAD_FIELD', 'port is 0')
  return { version, group, hostName, port, startedAtS: readTime(body, 155), joinedAtS: readTime(body, 163) }
}

export function encodeJoin(join: JoinRecord): Buffer {
  const body = Buffer.alloc(JOIN_BYTES)
  writeTextField(body, 0, VERSION_WIDTH_BYTES, join.version.slice(0, VERSION_WIDTH_BYTES - 1))
  writeTextField(body, 7, GROUP_WIDTH_BYTES, join.group)
  writeTextField(body, 24, HOST_WIDTH_BYTES, join.hostName)
  body.writeUInt16BE(join.port, 153)
  body.writeBigInt64BE(BigInt(join.startedAtS), 155)
  body.writeBigInt64BE(BigInt(join.joinedAtS), 163)
  return body
}

/** @throws {RejectedError} BAD_FIELD, as decodeJoin. */
export function decodeBeat(body: Buffer): BeatRecord {
  checkRecordBytes(body, 0, BEAT_BYTES, 'beat record')
  return readMember(body, 0)
}

export function encodeBeat({ group, hostName }: BeatRecord): Buffer {
  const body = Buffer.alloc(BEAT_BYTES)
  writeTextField(body, 0, GROUP_WIDTH_BYTES, group)
  writeTextField(body, GROUP_WIDTH_BYTES, HOST_WIDTH_BYTES, hostName)
  return body
}

/** Body of the reply to SADDRS: group name, 17 bytes, then the address list text and its NUL. */
export function encodeAddressesReply(group: string, addresses: readonly Address[]): Buffer {
  const name = Buffer.alloc(GROUP_WIDTH_BYTES)
  writeTextField(name, 0, GROUP_WIDTH_BYTES, group)
  return Buffer.concat([name, encodeAddressList(addresses)])
}

/** @throws {RejectedError} BAD_FIELD: shorter than a group name, or no address list behind it. */
export function decodeAddressesReply(body: Buffer): { group: string; addresses: Address[] } {
  if (body.byteLength < GROUP_WIDTH_BYTES) throw new RejectedError('BAD_FIELD', 'address reply is cut short')
  return {
    group: readTextField(body, 0, GROUP_WIDTH_BYTES, 'group name'),
    addresses: decodeAddressList(body.subarray(GROUP_WIDTH_BYTES))
  }
}

/** Key at the ID server: up to its first NUL, or the whole body. @throws {RejectedError} BAD_FIELD: empty. */
export function decodeIdKey(body: Buffer): string {
  const end = body.indexOf(0)
  const key = body.toString('latin1', 0, end < 0 ? body.byteLength : end)
  if (key === '') throw new RejectedError('BAD_FIELD', 'key is empty')
  if (key.length >= ID_KEY_BYTES_MAX) throw new RejectedError('BAD_FIELD', 'key is longer than 64 bytes')
  return key
}

/** With a NUL behind it, as existing clients send it. */
export function encodeIdKey(key: string): Buffer {
  const bytes = Buffer.from(`${key}\0`, 'latin1')
  invariant(key !== '' && bytes.byteLength <= ID_KEY_BYTES_MAX, 'an id key has 1 to 64 bytes')
  invariant(decodeIdKey(bytes) === key, 'an id key is Latin-1 without NUL')
  return bytes
}

export interface UploadHead {
  key: FileKey
  sizeBytes: number
}

/**
 * The 408 bytes in front of the content of an UPLOAD.
 *
 * @param contentBytes What the frame's length leaves for the content; the size field must say the same.
 * @throws {RejectedError} SIZE_MISMATCH or BAD_FIELD.
 */
export function decodeUploadHead(head: Buffer, contentBytes: number): UploadHead {
  checkRecordBytes(head, 0, UPLOAD_HEAD_BYTES, 'upload head')
  const sizeBytes = head.readBigInt64BE(FILE_KEY_BYTES)
  if (sizeBytes !== BigInt(contentBytes)) {
    throw new RejectedError(
      'SIZE_MISMATCH',
      `the size field says ${sizeBytes} bytes, the frame carries ${contentBytes}`
    )
  }
  return { key: decodeFileKey(head), sizeBytes: contentBytes }
}

export function encodeUploadHead({ key, sizeBytes }: UploadHead): Buffer {
  const head = Buffer.allocUnsafe(UPLOAD_HEAD_BYTES)
  encodeFileKey(key, head)
  head.writeBigInt64BE(BigInt(sizeBytes), FILE_KEY_BYTES)
  return head
}

export interface DownloadRequest {
  key: FileKey
  offset: number
  /** 0 = to the end */
  sizeBytes: number
}

/** @throws {RejectedError} BAD_RANGE for a negative or absurd offset or size; BAD_FIELD for a bad key. */
export function decodeDownload(body: Buffer): DownloadRequest {
  checkRecordBytes(body, 0, DOWNLOAD_BYTES, 'download request')
  const key = decodeFileKey(body)
  return {
    key,
    offset: readRangeNumber(body, FILE_KEY_BYTES, 'offset'),
    sizeBytes: readRangeNumber(body, FILE_KEY_BYTES + 8, 'size')
  }
}

export function encodeDownload({ key, offset, sizeBytes }: DownloadRequest): Buffer {
  const body = Buffer.allocUnsafe(DOWNLOAD_BYTES)
  encodeFileKey(key, body)
  body.writeBigInt64BE(BigInt(offset), FILE_KEY_BYTES)
  body.writeBigInt64BE(BigInt(sizeBytes), FILE_KEY_BYTES + 8)
  return body
}

/**
 * Bytes that a DOWNLOAD of (offset, size) yields from a file of `fileBytes`; size 0 means "to the end".
 *
 * @throws {RejectedError} BAD_RANGE: outside 0 <= offset <= fileBytes, or offset + size > fileBytes.
 */
export function resolveDownload(offset: number, sizeBytes: number, fileBytes: number): number {
  if (offset > fileBytes) {
    throw new RejectedError('BAD_RANGE', `offset ${offset} is beyond the file's ${fileBytes} bytes`)
  }
  if (sizeBytes === 0) return fileBytes - offset
  if (sizeBytes > fileBytes - offset) {
    throw new RejectedError(
      'BAD_RANGE',
      `${sizeBytes} bytes from offset ${offset} exceed the file's ${fileBytes} bytes`
    )
  }
  return sizeBytes
}

export function encodeInt64(value: number | bigint): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeBigInt64BE(BigInt(value), 0)
  return bytes
}

/** @throws {RejectedError} BAD_FIELD: not 8 bytes, or negative. */
export function decodeInt64(body: Buffer): bigint {
  if (body.byteLength !== 8) throw new RejectedError('BAD_FIELD', `${body.byteLength} bytes are no int64`)
  const value = body.readBigInt64BE(0)
  if (value < 0n) throw new RejectedError('BAD_FIELD', `${value} is negative`)
  return value
}

function readMember(body: Buffer, offset: number): BeatRecord {
  const group = readTextField(body, offset, GROUP_WIDTH_BYTES, 'group name')
  const hostName = readTextField(body, offset + GROUP_WIDTH_BYTES, HOST_WIDTH_BYTES, 'host name')
  if (!isGroupName(group)) throw new RejectedError('BAD_FIELD', `invalid group name: '${group}'`)
  if (hostName === '') throw new RejectedError('BAD_FIELD', 'host name is empty')
  return { group, hostName }
}

/** Times come from other people's clocks: anything that is no plausible number reads as 0. */
function readTime(body: Buffer, offset: number): number {
  const seconds = body.readBigInt64BE(offset)
  return seconds < 0n || seconds > 0xff_ffff_ffffn ? 0 : Number(seconds)
}

function readRangeNumber(body: Buffer, offset: number, what: string): number {
  const high = body.readInt32BE(offset)
  if (high < 0 || high > 0x1f_ffff) {
    throw new RejectedError('BAD_RANGE', `${what} ${body.readBigInt64BE(offset)} is out of range`)
  }
  return high * 0x1_0000_0000 + body.readUInt32BE(offset + 4)
}
