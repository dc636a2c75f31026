import type { FileKey } from '@tributary/protocol'
import type { FileService } from './file-service.ts'

/** An answer does not wait longer for it: the tracker comes by anyway. */
const NOTE_WAIT_MS = 1_000

/** Has the library show what was just stored or deleted, so that whoever lists next finds it so. Never rejects. */
export async function noteInLibrary(
  files: Pick<FileService, 'index'>,
  { application, user, file }: FileKey
): Promise<void> {
  try {
    await files.index(
      'library.note',
      { application, user, file },
      { signal: AbortSignal.timeout(NOTE_WAIT_MS) }
    )
  } catch {
    // It is listed a little later.
  }
}
