/** Subtitles of a film as files of their own: `/subtitles/{application}/{user}/{file}/{generation}/{language}.vtt`. */
import { checkFileKey, derivedKey, RejectedError } from '@tributary/protocol'
import type { Exchange } from './exchange.ts'
import type { FileReader } from './file-reader.ts'
import type { FileService } from './file-service.ts'
import { HttpProblem } from './problem.ts'
import { checkStored } from './stored-film.ts'

export const SUBTITLES_PREFIX = '/subtitles/'
const GENERATION = /^[0-9a-f]{32}$/
const LANGUAGE_FILE = /^([a-z0-9-]{1,40})\.vtt$/

/** @returns the status that was answered. */
export async function sendSubtitles(
  exchange: Exchange,
  files: Pick<FileService, 'stat'>,
  reader: FileReader
): Promise<number> {
  const { request } = exchange
  const [path = ''] = request.url!.split('?', 1)
  const segments = path.slice(SUBTITLES_PREFIX.length).split('/').map(decoded)
  const [application = '', user = '', file = '', generation = '', name = ''] = segments
  const [, language] = LANGUAGE_FILE.exec(name) ?? []
  if (segments.length !== 5 || !GENERATION.test(generation) || language === undefined) {
    throw new HttpProblem(404, 'expected /subtitles/{application}/{user}/{file}/{generation}/{language}.vtt')
  }
  const film = checkFileKey({ application, user, file })
  await checkStored(files, film, generation)
  const key = derivedKey(film, generation, `subtitles-${language}.vtt`)
  try {
    return await (request.method === 'HEAD' ? reader.head(exchange, key, '') : reader.get(exchange, key, ''))
  } catch (error) {
    const missing = error instanceof RejectedError && error.code === 'FILE_NOT_FOUND'
    if (missing && !exchange.response.headersSent)
      throw new HttpProblem(404, `the film has no subtitles in ${language}`)
    throw error
  }
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw new HttpProblem(400, 'the URL is not percent-encoded UTF-8')
  }
}
