import { RejectedError } from '@tributary/protocol'
import { saidMediaType } from './media-type.ts'
import type { UploadLabels } from './upload-record.ts'

/** A file's original name; longer ones are refused. */
const NAME_BYTES_MAX = 255
const NONCE = /^[0-9a-f]{32}$/

/** @throws {RejectedError} BAD_FIELD */
export function labelsOf(said: {
  nonce: string
  name?: string | undefined
  mediaType?: string | undefined
}): UploadLabels {
  const { nonce, name = '', mediaType } = said
  if (!NONCE.test(nonce)) throw new RejectedError('BAD_FIELD', 'a nonce has 16 bytes')
  if (Buffer.byteLength(name) > NAME_BYTES_MAX || name.includes('\0')) {
    throw new RejectedError('BAD_FIELD', `a file name has at most ${NAME_BYTES_MAX} bytes`)
  }
  return { nonce, name, mediaType: saidMediaType(mediaType, name) }
}
