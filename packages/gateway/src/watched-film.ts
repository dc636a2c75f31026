import { RejectedError, type FileKey } from '@tributary/protocol'
import type { FileService } from './file-service.ts'
import type { WatchedFilm } from './watch-page.ts'

/**
 * What there is to say of a film. Where the index has no library (a tracker of before), its name is all.
 *
 * @throws there is none, or it cannot be asked for now.
 */
export async function lookUpFilm(
  files: Pick<FileService, 'index' | 'stat'>,
  key: FileKey
): Promise<WatchedFilm> {
  try {
    const { film } = await files.index('library.film', key)
    if (film.trashedUntilMs > 0) throw new RejectedError('FILE_NOT_FOUND', 'the film is in the trash')
    return {
      key,
      title: film.title,
      width: film.width || undefined,
      height: film.height || undefined,
      durationS: film.durationMs > 0 ? film.durationMs / 1_000 : undefined,
      hasPoster: film.poster !== undefined
    }
  } catch (error) {
    if (error instanceof RejectedError && error.code === 'FILE_NOT_FOUND') throw error
    const { name } = await files.stat(key)
    return { key, title: name, hasPoster: false }
  }
}
