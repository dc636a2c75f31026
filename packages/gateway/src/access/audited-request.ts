/** Which requests the audit log has, and what it calls them. */
import type { IncomingMessage } from 'node:http'
import type { AuditEntry } from '@tributary/calls'
import { FILES_PREFIX, filmOfApi, filmOfTree, isFilmTree, parseTarget, type Owner } from '../file-target.ts'

type Audited = Pick<AuditEntry, 'what' | 'application' | 'user' | 'file' | 'outcome'>

const CHANGING = new Set(['PUT', 'POST', 'DELETE', 'PATCH'])
const DENIED = new Set([401, 403, 429])
const BELOW_FILM = /^\/api\/v1\/films\/[^/]+\/[^/]+\/[^/]+(\/.*)?$/
/** Reports of players, and pieces of uploads whose beginning is noted, would be all that one sees. */
const TOO_MANY = /^(?:PATCH \/uploads|POST \/api\/v1\/plays)/

/** @returns undefined: nothing was changed, and nothing refused. */
export function auditedOf(
  { method = '', url = '' }: IncomingMessage,
  status: number,
  owner: Owner
): Audited | undefined {
  const denied = DENIED.has(status)
  if (!denied && !CHANGING.has(method)) return undefined
  const [path = ''] = url.split('?', 1)
  if (!denied && TOO_MANY.test(`${method} ${path}`)) return undefined
  const outcome = denied ? 'denied' : status < 400 ? 'done' : 'failed'
  return { ...placeOf(method, path, owner), outcome }
}

function placeOf(method: string, path: string, owner: Owner): Omit<Audited, 'outcome'> {
  try {
    if (path.startsWith(FILES_PREFIX)) {
      const { application, user, file = '' } = parseTarget(path, owner)
      return { what: `${method} /files`, application, user, file }
    }
    if (isFilmTree(path)) {
      const film = filmOfTree(path)
      if (film) return { what: `${method} /${path.split('/')[1]}`, ...film }
    }
    const film = filmOfApi(path)
    if (film) return { what: `${method} /api/v1/films…${BELOW_FILM.exec(path)?.[1] ?? ''}`, ...film }
  } catch {
    // It could not be read: that it was refused is what counts.
  }
  // An id of a share opens a film, one of an upload goes on with it: the log is not to hold them.
  return {
    what: `${method} ${path.replace(/^(\/api\/v1\/shares\/|\/uploads\/)[^/]+/, '$1…')}`,
    application: '',
    user: '',
    file: ''
  }
}
