import { invariant } from './invariant.ts'
import { REGION_BYTES_MAX } from './routes.ts'
import type { FileKey, FileRow, FileState } from './file-index.ts'

/** Numbers on disk; append only. */
export const FILE_STATES: readonly FileState[] = ['stored', 'trashed', 'deleting']
export const STATE_STORED = 0
export const STATE_TRASHED = 1
export const STATE_DELETING = 2

export const USER_BYTES_MAX = 255
export const FILE_BYTES_MAX = 127
/** The columns' width on MySQL, in bytes of UTF-8. */
export const NAME_BYTES_MAX = 1024
export const MEDIA_TYPE_BYTES_MAX = 255
export const PATH_BYTES_MAX = 255
export const GROUP_BYTES_MAX = 16

const APPLICATION = /^[A-Za-z0-9]{1,15}$/
const HEX_32 = /^[0-9a-f]{32}$/
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Keys come parsed from the protocol: a wrong one here is our own bug. */
export function assertFileKey(key: FileKey): void {
  invariant(APPLICATION.test(key.application), 'an application name is [A-Za-z0-9]{1,15}')
  assertUser(key.user)
  assertText(key.file, 1, FILE_BYTES_MAX, 'file id')
}

export function assertApplication(name: string): void {
  invariant(APPLICATION.test(name), 'an application name is [A-Za-z0-9]{1,15}')
}

export function assertUser(user: string): void {
  assertText(user, 1, USER_BYTES_MAX, 'user id')
}

export function assertGroup(name: string): void {
  assertText(name, 1, GROUP_BYTES_MAX, 'group name')
}

export function assertRegion(region: string): void {
  assertText(region, 0, REGION_BYTES_MAX, 'region')
}

export function assertFileRow(row: FileRow): void {
  assertFileKey(row)
  invariant(HEX_32.test(row.generation), 'a generation is 32 hex digits')
  invariant(HEX_32.test(row.nonce), 'a nonce is 32 hex digits')
  invariant(FILE_STATES.includes(row.state), 'a state is one of FILE_STATES')
  assertInteger(row.trashedUntilMs, Number.MAX_SAFE_INTEGER, 'trashedUntilMs')
  assertInteger(row.sizeBytes, Number.MAX_SAFE_INTEGER, 'sizeBytes')
  assertInteger(row.crc32, 0xffff_ffff, 'crc32')
  assertGroup(row.group)
  invariant(UUID.test(row.store), 'a store is a lower-case UUID')
  assertText(row.path, 1, PATH_BYTES_MAX, 'path')
  assertText(row.name, 0, NAME_BYTES_MAX, 'name')
  assertText(row.mediaType, 0, MEDIA_TYPE_BYTES_MAX, 'media type')
  assertInteger(row.storedAtMs, Number.MAX_SAFE_INTEGER, 'storedAtMs')
}

/** A page's length, 1..max. */
export function assertLimit(limit: number, max: number): void {
  invariant(Number.isInteger(limit) && limit >= 1 && limit <= max, `a limit is 1..${max}`)
}

function assertText(text: string, bytesMin: number, bytesMax: number, what: string): void {
  // One UTF-16 unit is at most three bytes: most texts need no counting.
  const fits = text.length * 3 <= bytesMax || Buffer.byteLength(text) <= bytesMax
  invariant(text.length >= bytesMin && fits, `a ${what} has ${bytesMin}..${bytesMax} bytes`)
  invariant(!text.includes('\0'), `a ${what} has no NUL`)
}

function assertInteger(value: number, max: number, what: string): void {
  invariant(Number.isInteger(value) && value >= 0 && value <= max, `${what} is an integer, 0..${max}`)
}

export function uuidOfHex(hex: string): string {
  const [a, b, c, d] = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)]
  return `${a}-${b}-${c}-${d}-${hex.slice(20)}`
}

export function hexOfUuid(uuid: string): string {
  return uuid.replaceAll('-', '')
}

/** A whole number as the drivers give it. @throws outside 0..2^53-1, where a rounded one would be wrong. */
export function safeIntegerOf(value: number | bigint | string): number {
  const number = Number(value)
  if (!Number.isSafeInteger(number)) throw new RangeError(`the database holds ${value}, past 2^53`)
  return number
}
