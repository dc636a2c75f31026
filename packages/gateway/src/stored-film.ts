import type { FileKey } from '@tributary/protocol'
import type { ApiOptions } from './api/api.ts'
import type { Exchange } from './exchange.ts'
import type { FileService } from './file-service.ts'
import { HttpProblem } from './problem.ts'

/**
 * What was made of a film is there for readers as long as the film is: not in the trash, and not replaced.
 *
 * @throws {RejectedError} FILE_NOT_FOUND. {HttpProblem} 404: another film has its address by now.
 */
export async function checkStored(
  files: Pick<FileService, 'stat'>,
  film: FileKey,
  generation: string
): Promise<void> {
  const stored = await files.stat(film)
  if (stored.generation !== generation) {
    throw new HttpProblem(404, 'the film was replaced; its new one has a new address')
  }
}

/** What was deleted is to be seen by those who could put it back. @throws {HttpProblem} 429, 503 */
export async function maySeeTrash(
  authorize: ApiOptions['authorize'],
  exchange: Exchange,
  { application, user }: FileKey
): Promise<boolean> {
  try {
    await authorize(exchange, 'write', { application, user })
    return true
  } catch (error) {
    if (error instanceof HttpProblem && (error.status === 401 || error.status === 403)) return false
    throw error
  }
}
