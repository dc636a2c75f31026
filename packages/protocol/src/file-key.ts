/**
 * Who a file belongs to and what it is called: (application, user, file). Ids compare byte for byte.
 *
 *   offset  size  field
 *        0    16  application  [A-Za-z0-9]+, at most 15 bytes
 *       16   256  user         any non-empty UTF-8, at most 255 bytes
 *      272   128  file         the same, at most 127 bytes; empty only in SADDRS
 */
import { RejectedError } from './errors.ts'
import { checkRecordBytes, readTextField, writeTextField } from './text-field.ts'

export const APPLICATION_WIDTH_BYTES = 16
export const USER_WIDTH_BYTES = 256
export const FILE_WIDTH_BYTES = 128
export const FILE_KEY_BYTES = APPLICATION_WIDTH_BYTES + USER_WIDTH_BYTES + FILE_WIDTH_BYTES
export const GROUP_WIDTH_BYTES = 17

const USER_OFFSET = APPLICATION_WIDTH_BYTES
const FILE_OFFSET = USER_OFFSET + USER_WIDTH_BYTES
const NAME_PATTERN = /^[A-Za-z0-9]+$/

export interface FileKey {
  readonly application: string
  readonly user: string
  readonly file: string
}

/** One string per key, for maps: NUL cannot occur in an id. */
export function mapKeyOf({ application, user, file }: FileKey): string {
  return `${application}\0${user}\0${file}`
}

export function formatFileKey({ application, user, file }: FileKey): string {
  return `${application}/${user}/${file}`
}

/**
 * Reads the 400 bytes at `offset`.
 *
 * @throws {RejectedError} BAD_FIELD: a field without NUL, not UTF-8, an empty id, or a bad application id.
 */
export function decodeFileKey(source: Buffer, offset = 0, fileMayBeEmpty = false): FileKey {
  checkRecordBytes(source, offset, FILE_KEY_BYTES, 'file key')
  const application = readTextField(source, offset, APPLICATION_WIDTH_BYTES, 'application id')
  const user = readTextField(source, offset + USER_OFFSET, USER_WIDTH_BYTES, 'user id')
  const file = readTextField(source, offset + FILE_OFFSET, FILE_WIDTH_BYTES, 'file id')
  if (!isName(application)) throw new RejectedError('BAD_FIELD', `invalid application id: '${application}'`)
  if (user === '') throw new RejectedError('BAD_FIELD', 'user id is empty')
  if (file === '' && !fileMayBeEmpty) throw new RejectedError('BAD_FIELD', 'file id is empty')
  return { application, user, file }
}

export function encodeFileKey(key: FileKey, target = Buffer.allocUnsafe(FILE_KEY_BYTES), offset = 0): Buffer {
  writeTextField(target, offset, APPLICATION_WIDTH_BYTES, key.application)
  writeTextField(target, offset + USER_OFFSET, USER_WIDTH_BYTES, key.user)
  writeTextField(target, offset + FILE_OFFSET, FILE_WIDTH_BYTES, key.file)
  return target
}

/**
 * Checks a key that a person or a program of ours made, before it is encoded.
 *
 * @throws {RejectedError} BAD_FIELD with the reason in words.
 */
export function checkFileKey(key: FileKey, fileMayBeEmpty = false): FileKey {
  if (!isName(key.application) || key.application.length >= APPLICATION_WIDTH_BYTES) {
    throw new RejectedError(
      'BAD_FIELD',
      `invalid application id '${key.application}': 1 to 15 letters or digits are expected`
    )
  }
  checkId(key.user, USER_WIDTH_BYTES - 1, 'user id', false)
  checkId(key.file, FILE_WIDTH_BYTES - 1, 'file id', fileMayBeEmpty)
  return key
}

/** Application ids and group names: letters and digits only. */
export function isName(text: string): boolean {
  return NAME_PATTERN.test(text)
}

export function isGroupName(text: string): boolean {
  return isName(text) && text.length < GROUP_WIDTH_BYTES
}

function checkId(id: string, bytesMax: number, what: string, mayBeEmpty: boolean): void {
  if (id === '' && !mayBeEmpty) throw new RejectedError('BAD_FIELD', `${what} is empty`)
  if (id.includes('\0')) throw new RejectedError('BAD_FIELD', `${what} contains a NUL`)
  if (!id.isWellFormed()) throw new RejectedError('BAD_FIELD', `${what} is not well-formed Unicode`)
  const bytes = Buffer.byteLength(id, 'utf8')
  if (bytes > bytesMax)
    throw new RejectedError('BAD_FIELD', `${what} has ${bytes} bytes, ${bytesMax} are allowed`)
}
