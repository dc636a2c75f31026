import type { FileIndex, FileRow } from '@tributary/database'
import type { FileKey } from '@tributary/protocol'
import type { Deletion } from './deletion.ts'
import { databaseError, fileExists } from './index-entry.ts'
import type { UploadLabels } from './upload-record.ts'

/**
 * Looks before a body is asked for. What it misses, the index refuses in the end.
 *
 * @returns The row when this very upload is there already.
 * @throws {RejectedError} FILE_EXISTS
 */
export async function findExisting(
  { index, deletion }: { index: FileIndex; deletion: Deletion },
  key: FileKey,
  labels: UploadLabels,
  sizeBytes: number | undefined
): Promise<FileRow | undefined> {
  let row: FileRow | undefined
  try {
    row = await index.find(key)
    if (row) row = await index.find(key, { causal: true })
  } catch (error) {
    throw databaseError(error)
  }
  if (!row) return undefined
  if (row.state === 'deleting') {
    await deletion.finishNow(row)
    return undefined
  }
  if (row.nonce === labels.nonce && row.state === 'stored' && (sizeBytes ?? row.sizeBytes) === row.sizeBytes)
    return row
  throw fileExists(key)
}
