/** Films: pages, one film, titles, the trash, posters and subtitles. */
import { deletedEvent, type LibraryDerived, type LibraryFilm } from '@tributary/calls'
import { languageName, subtitlesToWebVtt, UnpackageableError } from '@tributary/media'
import { derivedKey, RejectedError, type FileKey } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import type { EventTeller } from '../access/event-teller.ts'
import type { Quotas } from '../access/quotas.ts'
import type { FilmDetails, Subtitles } from '../contract/index.ts'
import type { Exchange } from '../exchange.ts'
import type { FileService } from '../file-service.ts'
import { noteInLibrary } from '../library-note.ts'
import { HttpProblem } from '../problem.ts'
import { maySeeTrash } from '../stored-film.ts'
import type { ApiHandlers, ApiOptions } from './api.ts'
import { readContent } from './content.ts'
import { derivedOf, filmOf, placeOf, renditionOf, subtitlesOf } from './film-view.ts'
import { imageTypeOf } from './image-type.ts'
import { mediaOf } from './media-view.ts'

export interface LibraryOptions {
  files: FileService
  clock: Clock
  /** How long a film stays in the trash. */
  trashMs: number
  authorize: ApiOptions['authorize']
  events: EventTeller
  quotas: Quotas
}

const LIMIT_DEFAULT = 60
const POSTER_BYTES_MAX = 8 * 1024 * 1024
const SUBTITLES_BYTES_MAX = 8 * 1024 * 1024
const LANGUAGE = /^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}$/
/** Films that one request takes out of the trash for good. */
const EMPTIED_MAX = 100

type LibraryEndpoint = Extract<
  keyof ApiHandlers,
  `${string} /api/v1/${'films' | 'trash' | 'owners' | 'usage'}${string}`
>
type Handled = Exclude<LibraryEndpoint, `${string}/${'jobs' | 'shares' | 'signature' | 'plays'}`>

export function libraryHandlers(options: LibraryOptions): Pick<ApiHandlers, Handled> {
  const { files, clock, trashMs, authorize, events, quotas } = options

  const film = (key: FileKey) => files.index('library.film', key)

  /** The film as it is after a change. */
  const changed = async (key: FileKey) => filmOf((await film(key)).film)

  /** Derived files are never written over: the old one goes, the new one comes. */
  async function replaceDerived(
    { film: { generation, ...key }, derived }: { film: LibraryFilm; derived: readonly LibraryDerived[] },
    what: string,
    content: Buffer,
    mediaType: string
  ): Promise<void> {
    const old = derived.find(file => file.what === what)
    const target = derivedKey(key, generation, what)
    if (old) await files.deleteGeneration(target, old.generation).catch(ignoreGone)
    await files.upload(content, { key: target, beside: keyOf(key), name: key.file, mediaType })
  }

  /**
   * What a person gives a film: short, and within the quotas, which are asked before it is read.
   *
   * @param take stores what of it is to be stored, and returns its size
   */
  async function receive<T>(
    exchange: Exchange,
    { application, user }: FileKey,
    bytesMax: number,
    take: (content: Buffer) => Promise<{ storedBytes: number; reply: T }>
  ): Promise<T> {
    const length = exchange.request.headers['content-length']
    const room = await quotas.reserve(application, user, length === undefined ? undefined : Number(length))
    let storedBytes: number | undefined
    try {
      const content = await readContent(exchange, Math.min(bytesMax, room?.roomBytes ?? bytesMax))
      const taken = await take(content)
      storedBytes = taken.storedBytes
      return taken.reply
    } finally {
      room?.settle(storedBytes)
    }
  }

  async function removeDerived(key: FileKey, what: string, missing: string): Promise<void> {
    const { film: found, derived } = await film(key)
    const old = derived.find(file => file.what === what)
    if (!old) throw new HttpProblem(404, missing)
    await files.deleteGeneration(derivedKey(key, found.generation, what), old.generation).catch(ignoreGone)
  }

  return {
    async 'GET /api/v1/films'({ query, exchange }) {
      // What was deleted is its owners' to see.
      if (query.trashed) await authorize(exchange, 'write', query)
      const { limit = LIMIT_DEFAULT, sort = 'newest', ...filter } = query
      const page = await files.index('library.page', { ...filter, sort, limit })
      return { films: page.films.map(filmOf), next: page.next ?? null }
    },

    async 'GET /api/v1/films/{application}/{user}/{file}'({ parameters, exchange }): Promise<FilmDetails> {
      const { film: found, facts, derived } = await film(parameters)
      if (found.trashedUntilMs > 0 && !(await maySeeTrash(authorize, exchange, found)))
        throw new RejectedError('FILE_NOT_FOUND', 'the film is in the trash')
      const { media, notStreamable } = mediaOf(facts, found.factsState)
      const hasThumbnails = derived.some(({ what }) => what === 'thumbnails.vtt')
      return {
        film: filmOf(found),
        media,
        notStreamable,
        subtitles: subtitlesOf(found, derived),
        thumbnails: hasThumbnails ? `/thumbnails${placeOf(found)}/${found.generation}/thumbnails.vtt` : null,
        renditions: derived.flatMap(file => {
          const profile = renditionOf(file)
          return profile === undefined ? [] : [{ profile, sizeBytes: file.sizeBytes }]
        }),
        derived: derived.map(derivedOf)
      }
    },

    async 'PATCH /api/v1/films/{application}/{user}/{file}'({ parameters, body }) {
      const { film: found } = await film(parameters)
      const title = body.title.trim()
      if (title === '') throw new HttpProblem(400, 'a title is not empty')
      await files.index('library.setTitle', { ...keyOf(found), generation: found.generation, title })
      return changed(parameters)
    },

    async 'DELETE /api/v1/films/{application}/{user}/{file}'({ parameters, query }) {
      const { film: found } = await film(parameters)
      if (query.forever) await files.deleteGeneration(keyOf(found), found.generation)
      else if (found.trashedUntilMs === 0) {
        const untilMs = Math.round(clock.nowMs() + trashMs)
        await files.trash(keyOf(found), found.generation, untilMs)
        // That it goes for good is no news then.
        events.tell(deletedEvent(found, new Date(untilMs).toISOString()))
      }
      await noteInLibrary(files, found)
    },

    async 'POST /api/v1/films/{application}/{user}/{file}/restore'({ parameters }) {
      const { film: found } = await film(parameters)
      if (found.trashedUntilMs > 0) await files.trash(keyOf(found), found.generation, 0)
      await noteInLibrary(files, found)
      return changed(parameters)
    },

    async 'DELETE /api/v1/trash'({ query }) {
      const { films, next } = await files.index('library.page', {
        ...query,
        trashed: true,
        sort: 'newest',
        limit: EMPTIED_MAX
      })
      for (const found of films) {
        await files.deleteGeneration(keyOf(found), found.generation, { fromTrash: true }).catch(ignoreGone)
        await noteInLibrary(files, found)
      }
      return { files: films.length, more: next !== undefined }
    },

    async 'PUT /api/v1/films/{application}/{user}/{file}/poster'({ parameters, exchange }) {
      const found = await film(parameters)
      await receive(exchange, found.film, POSTER_BYTES_MAX, async content => {
        const type = imageTypeOf(content)
        if (!type) throw new HttpProblem(415, 'a poster is a JPEG, PNG or WebP picture')
        await replaceDerived(found, 'poster.jpg', content, type)
        return { storedBytes: content.byteLength, reply: undefined }
      })
    },

    'DELETE /api/v1/films/{application}/{user}/{file}/poster': ({ parameters }) =>
      removeDerived(parameters, 'poster.jpg', 'the film has no poster'),

    async 'PUT /api/v1/films/{application}/{user}/{file}/subtitles/{language}'({
      parameters,
      query,
      exchange
    }): Promise<Subtitles> {
      const language = languageOf(parameters.language)
      const found = await film(keyOf(parameters))
      return receive(exchange, found.film, SUBTITLES_BYTES_MAX, async content => {
        let text: Buffer
        try {
          text = Buffer.from(subtitlesToWebVtt(content))
        } catch (error) {
          if (!(error instanceof UnpackageableError)) throw error
          throw new HttpProblem(415, `these are no subtitles in WebVTT or SubRip: ${error.message}`)
        }
        await replaceDerived(found, `subtitles-${language}.vtt`, text, 'text/vtt')
        const url = `/subtitles${placeOf(found.film)}/${found.film.generation}/${language}.vtt`
        const reply = { id: language, language, label: query.label ?? languageName(language), url }
        return { storedBytes: text.byteLength, reply }
      })
    },

    'DELETE /api/v1/films/{application}/{user}/{file}/subtitles/{language}': ({ parameters }) => {
      const language = languageOf(parameters.language)
      const missing = `the film has no subtitles in ${language}`
      return removeDerived(keyOf(parameters), `subtitles-${language}.vtt`, missing)
    },

    'GET /api/v1/owners': () => files.index('library.owners', {}),

    'GET /api/v1/usage': ({ query }) => files.index('library.usage', query)
  }
}

function keyOf({ application, user, file }: FileKey): FileKey {
  return { application, user, file }
}

/** Somebody else was faster. */
function ignoreGone(error: unknown): void {
  if (!(error instanceof RejectedError && error.code === 'FILE_NOT_FOUND')) throw error
}

/** As it stands in a derived file's id. */
function languageOf(text: string): string {
  if (!LANGUAGE.test(text))
    throw new HttpProblem(400, `'${text}' is no language as BCP 47 writes it, such as en or zh-Hans`)
  return text.toLowerCase()
}
