/**
 * What belongs to a film and has its address (streams, poster, thumbnails, subtitles): whoever may not read the film gets
 * nothing of it, whichever route has it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { signedPath } from '@tributary/client'
import type { Door } from './access/door.ts'
import { makePrivate } from './access/private-answers.ts'
import type { Answering } from './answering.ts'
import { sendWhole } from './exchange.ts'
import { CORS_HEADERS } from './file-headers.ts'
import { filmOfTree, isFilmTree, isPlaylistTree } from './file-target.ts'

export class FilmGuard {
  readonly #door: Door
  readonly #answering: Answering

  constructor(door: Door, answering: Answering) {
    this.#door = door
    this.#answering = answering
  }

  /**
   * @param signed where the address had its signature, which has been taken off it
   * @param serve  the routes, for who may read the film
   * @returns whether the request is taken care of; if not, it is the routes' all the same
   */
  guard(
    signed: 'path' | 'query' | undefined,
    request: IncomingMessage,
    response: ServerResponse,
    serve: (request: IncomingMessage, response: ServerResponse) => void
  ): boolean {
    if (!isFilmTree(request.url!) || request.method === 'OPTIONS') return false
    const door = this.#door
    const exchange = this.#answering.exchange('other', request, response)
    exchange.errorHeaders = CORS_HEADERS
    try {
      const film = filmOfTree(request.url!)
      if (film === undefined || door.isOpen(film.application)) return false
      door.admitRead(exchange, film).then(
        () => {
          if (door.isPrivate(film.application)) makePrivate(request, response)
          const signature = door.signatureOf(request)
          // Relative addresses of a playlist lose a parameter, and keep what is in front of the path.
          if (signed === 'query' && isPlaylistTree(request.url!)) {
            const location = signedPath(signature!, request.url!)
            sendWhole(exchange, 307, ['Location', location, 'Cache-Control', 'no-store', ...CORS_HEADERS])
            this.#answering.done(exchange, 307)
          } else serve(request, response)
        },
        error => this.#answering.fail(exchange, error)
      )
    } catch (error) {
      this.#answering.fail(exchange, error)
    }
    return true
  }
}
