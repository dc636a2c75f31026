import { wireErrorOf, type FileIndex, type FileRow } from '@tributary/database'
import {
  extension,
  FILE_WIDTH_BYTES,
  RejectedError,
  checkFileKey,
  type ListedFile
} from '@tributary/protocol'

/** A page ends here, whatever its limit, so that it fits what any client takes as one reply. */
export const LIST_REPLY_BYTES_MAX = 200 * 1024
/** Tags, lengths and numbers of one file; its texts come on top. */
const ENTRY_BYTES = 128

export interface ListRequest {
  application: string
  user: string
  /** Files after this id; '' = from the first. */
  after: string
  /** 0 or more than LIST_LIMIT_MAX mean LIST_LIMIT_MAX. */
  limit: number
}

/** @throws {RejectedError} BAD_FIELD */
export function checkListRequest({ application, user, after }: ListRequest): void {
  checkFileKey({ application, user, file: '' }, true)
  if (Buffer.byteLength(after) >= FILE_WIDTH_BYTES) {
    throw new RejectedError('BAD_FIELD', 'the id to go on after is too long')
  }
}

/**
 * Body of the reply to LIST: a page in byte order of the file id.
 *
 * @throws {UnavailableError} DATABASE_UNAVAILABLE
 */
export async function encodeFileListing(
  files: Pick<FileIndex, 'list'>,
  { application, user, after, limit }: ListRequest
): Promise<Buffer> {
  const wanted = limit < 1 ? extension.LIST_LIMIT_MAX : Math.min(limit, extension.LIST_LIMIT_MAX)
  let rows: FileRow[]
  try {
    rows = await files.list({ application, user, limit: wanted + 1, ...(after === '' ? {} : { after }) })
  } catch (error) {
    throw wireErrorOf(error, 'safe')
  }
  const page: ListedFile[] = []
  let bytes = 0
  for (const row of rows.slice(0, wanted)) {
    bytes += ENTRY_BYTES + textBytesOf(row)
    if (page.length > 0 && bytes > LIST_REPLY_BYTES_MAX) break
    page.push(listedFile(row))
  }
  return extension.listReply.encode({ files: page, more: rows.length > page.length })
}

function textBytesOf({ file, name, mediaType, group }: FileRow): number {
  return Buffer.byteLength(file) + Buffer.byteLength(name) + Buffer.byteLength(mediaType) + group.length
}

function listedFile(row: FileRow): ListedFile {
  const { file, generation, sizeBytes, crc32, storedAtMs, mediaType, name, group } = row
  return { file, generation, sizeBytes, crc32, storedAtMs, mediaType, name, group }
}
