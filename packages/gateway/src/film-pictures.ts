/** Pictures that were made from a film: its poster, and the thumbnails of its seek bar. */
import { derivedKey, RejectedError, type FileKey } from '@tributary/protocol'
import { markPrivate } from './access/private-answers.ts'
import type { Exchange } from './exchange.ts'
import type { FileReader } from './file-reader.ts'
import type { FileService } from './file-service.ts'
import { FILES_PREFIX, parseTarget } from './file-target.ts'
import { HttpProblem } from './problem.ts'
import { checkStored } from './stored-film.ts'

export const POSTER_PREFIX = '/poster/'
export const THUMBNAILS_PREFIX = '/thumbnails/'
const GENERATION = /^[0-9a-f]{32}$/
/** Also the names of the derived files. */
const THUMBNAILS = new Set(['thumbnails.vtt', 'thumbnails.jpg'])

export class FilmPictures {
  readonly #files: Pick<FileService, 'stat' | 'index'>
  readonly #reader: FileReader
  readonly #maySeeTrash: (exchange: Exchange, film: FileKey) => Promise<boolean>

  constructor(
    files: Pick<FileService, 'stat' | 'index'>,
    reader: FileReader,
    maySeeTrash: (exchange: Exchange, film: FileKey) => Promise<boolean>
  ) {
    this.#files = files
    this.#reader = reader
    this.#maySeeTrash = maySeeTrash
  }

  /** `/poster/{application}/{user}/{file}`: of the film that has this address now. */
  async poster(exchange: Exchange): Promise<number> {
    const film = filmOf(pathOf(exchange).slice(POSTER_PREFIX.length))
    const generation = await this.#generationOf(exchange, film)
    return this.#answer(exchange, derivedKey(film, generation, 'poster.jpg'), 'the film has no poster')
  }

  /** `/thumbnails/{application}/{user}/{file}/{generation}/thumbnails.vtt`, and the sprite `.jpg` that it names. */
  async thumbnails(exchange: Exchange): Promise<number> {
    const segments = pathOf(exchange).slice(THUMBNAILS_PREFIX.length).split('/')
    const what = segments.pop() ?? ''
    const generation = segments.pop() ?? ''
    const film = filmOf(segments.join('/'))
    if (!THUMBNAILS.has(what) || !GENERATION.test(generation))
      throw new HttpProblem(404, 'expected …/{generation}/thumbnails.vtt or thumbnails.jpg')
    await checkStored(this.#files, film, generation)
    return this.#answer(exchange, derivedKey(film, generation, what), 'the film has no thumbnails')
  }

  async #generationOf(exchange: Exchange, film: FileKey): Promise<string> {
    try {
      return (await this.#files.stat(film)).generation
    } catch (error) {
      if (!isMissing(error) || !(await this.#maySeeTrash(exchange, film))) throw error
      // Of a film in the trash only the library tells.
      markPrivate(exchange.request)
      return (await this.#files.index('library.film', film)).film.generation
    }
  }

  async #answer(exchange: Exchange, key: FileKey, missing: string): Promise<number> {
    try {
      const isHead = exchange.request.method === 'HEAD'
      return await (isHead ? this.#reader.head(exchange, key, '') : this.#reader.get(exchange, key, ''))
    } catch (error) {
      if (isMissing(error) && !exchange.response.headersSent) throw new HttpProblem(404, missing)
      throw error
    }
  }
}

function pathOf({ request }: Exchange): string {
  return request.url!.split('?', 1)[0]!
}

/** @param path `{application}/{user}/{file}`, percent-encoded */
function filmOf(path: string): FileKey {
  if (path.split('/').length !== 3)
    throw new HttpProblem(404, 'expected {application}/{user}/{file}; a / within an id is written %2F')
  const { application, user, file } = parseTarget(`${FILES_PREFIX}${path}`, { application: '', user: '' })
  if (file === undefined) throw new HttpProblem(404, 'a file id is expected')
  return { application, user, file }
}

function isMissing(error: unknown): boolean {
  return error instanceof RejectedError && error.code === 'FILE_NOT_FOUND'
}
