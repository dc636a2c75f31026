/** Which file, or whose files, a URL under /files/ names. Ids are byte-exact UTF-8; a `/` in one is %2F. */
import { checkFileKey, isDerivedFileId, type FileKey } from '@tributary/protocol'
import { HttpProblem } from './problem.ts'

export interface Owner {
  application: string
  user: string
}

/** `file` undefined: the folder of a user. */
export interface Target extends Owner {
  file: string | undefined
  /** Without `?`; empty where there is none. */
  query: string
}

export const FILES_PREFIX = '/files/'
/** RFC 9112 §3.2.2: what is in front of the path where a client took us for a proxy. */
export const ABSOLUTE_FORM = /^https?:\/\/[^/?#]*/i
const PRINTABLE = /^[\x21-\x7e]*$/

/**
 * Reads a request target: `/files/{file}`, `/files/{application}/{user}` or `/files/{application}/{user}/{file}`.
 *
 * @param fallback  whose file `/files/{file}` is.
 * @throws {HttpProblem} 400: not a URL, 404: nothing can be there. {RejectedError} BAD_FIELD: an id too long or empty.
 */
export function parseTarget(requestTarget: string, fallback: Owner): Target {
  let path = requestTarget.startsWith('/') ? requestTarget : requestTarget.replace(ABSOLUTE_FORM, '')
  let query = ''
  const queryAt = path.indexOf('?')
  if (queryAt >= 0) {
    query = path.slice(queryAt + 1)
    path = path.slice(0, queryAt)
  }
  if (!PRINTABLE.test(path) || path.includes('#')) {
    throw new HttpProblem(400, 'the URL holds characters that must be percent-encoded')
  }
  const segments = path.slice(FILES_PREFIX.length).split('/')
  const ids = segments.map(decodeId)
  if (ids.length > 3) {
    throw new HttpProblem(404, 'expected /files/{application}/{user}/{file}; a / within an id is written %2F')
  }
  if (ids.at(-1) !== undefined && isDerivedFileId(ids.at(-1)!))
    throw new HttpProblem(404, 'files made from a film have addresses of their own')
  const [first, second, third] = ids as [string, string?, string?]
  if (second === undefined) {
    checkFileKey({ ...fallback, file: first })
    return { application: fallback.application, user: fallback.user, file: first, query }
  }
  checkFileKey({ application: first, user: second, file: third ?? '' }, third === undefined)
  return { application: first, user: second, file: third, query }
}

/** The URL's path of a file. */
export function pathOf({ application, user, file }: FileKey): string {
  return `${FILES_PREFIX}${application}/${encodeId(user)}/${encodeId(file)}`
}

/** An apostrophe is allowed in URLs, but people paste them into command lines between two of them. */
function encodeId(id: string): string {
  return encodeURIComponent(id).replaceAll("'", '%27')
}

/** `.` and `..` cannot be addressed: every client folds them away before it sends. */
export function isAddressable(file: string): boolean {
  return file !== '.' && file !== '..'
}

function decodeId(segment: string): string {
  const id = segment.includes('%') ? decodeSegment(segment) : segment
  if (!isAddressable(id)) throw new HttpProblem(404, `an id '${id}' cannot be addressed in a URL`)
  return id
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw new HttpProblem(400, 'the URL is not percent-encoded UTF-8')
  }
}

/** Below these everything belongs to the film whose ids follow. */
const FILM_TREES = ['/hls/', '/dash/', '/poster/', '/thumbnails/', '/subtitles/'] as const

export function isFilmTree(requestTarget: string): boolean {
  return FILM_TREES.some(tree => requestTarget.startsWith(tree))
}

/** Its playlists name what is below them by relative addresses. */
export function isPlaylistTree(requestTarget: string): boolean {
  return requestTarget.startsWith('/hls/') || requestTarget.startsWith('/dash/')
}

/**
 * The film that an address of such a tree is about.
 *
 * @returns undefined: it names none, and nothing can be there.
 * @throws {HttpProblem} 400, 404. {RejectedError} BAD_FIELD
 */
export function filmOfTree(requestTarget: string): FileKey | undefined {
  const [path = ''] = requestTarget.split('?', 1)
  if (!PRINTABLE.test(path) || path.includes('#')) {
    throw new HttpProblem(400, 'the URL holds characters that must be percent-encoded')
  }
  const [application, user, file] = path.split('/').slice(2, 5).map(decodeId)
  if (application === undefined || user === undefined || file === undefined) return undefined
  return checkFileKey({ application, user, file })
}

const API_FILM = /^\/api\/v1\/films\/([^/?]+)\/([^/?]+)\/([^/?]+)/

/** The film that an address of the API is about; undefined: it is about none, or not about one that can be. */
export function filmOfApi(requestTarget: string): FileKey | undefined {
  const [, application, user, file] = API_FILM.exec(requestTarget) ?? []
  if (application === undefined || user === undefined || file === undefined) return undefined
  try {
    return checkFileKey({ application: decodeId(application), user: decodeId(user), file: decodeId(file) })
  } catch {
    return undefined
  }
}
