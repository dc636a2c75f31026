/** Media type of a file: what its uploader said, else by its name, else by its first bytes. */
import { fileTypeFromBuffer } from 'file-type'
import mime from 'mime'

/** So much of a file's beginning is looked at. */
export const SAMPLE_BYTES = 4_100
export const MEDIA_TYPE_BYTES_MAX = 255
const MEDIA_TYPE = /^[A-Za-z0-9!#$&^_.+-]+\/[A-Za-z0-9!#$&^_.+-]+(?:\s*;[\x20-\x7e]*)?$/

/** What was said, if it can be one; '' otherwise. Generic types say nothing. */
export function saidMediaType(said: string | undefined, name: string): string {
  if (
    said &&
    said.length <= MEDIA_TYPE_BYTES_MAX &&
    MEDIA_TYPE.test(said) &&
    said !== 'application/octet-stream'
  )
    return said
  // A bare name is no extension: 'f' is not Fortran.
  return name.includes('.') ? (mime.getType(name) ?? '') : ''
}

/** By content; '' where nobody knows. */
export async function foundMediaType(sample: Buffer): Promise<string> {
  return (await fileTypeFromBuffer(sample).catch(() => undefined))?.mime ?? ''
}
