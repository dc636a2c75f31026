/** Which page an address is, and which address a page has. Knows no DOM, so that it can be tested without one. */

/** What names a film: as in the API's addresses. */
export interface FilmKey {
  application: string
  user: string
  file: string
}

export type Page =
  | { name: 'library' }
  | { name: 'trash' }
  | { name: 'cluster' }
  | { name: 'jobs' }
  | { name: 'access' }
  | { name: 'login' }
  | ({ name: 'watch' } & FilmKey)
  | ({ name: 'embed' } & FilmKey)
  | { name: 'nowhere' }

export type PlainPageName = 'library' | 'trash' | 'cluster' | 'jobs' | 'access' | 'login'

const PLAIN: Readonly<Record<string, PlainPageName>> = {
  '': 'library',
  trash: 'trash',
  cluster: 'cluster',
  jobs: 'jobs',
  access: 'access',
  login: 'login'
}

/** @param path  of a URL, percent-encoded. */
export function pageOf(path: string): Page {
  const segments = path.replace(/^\//, '').split('/')
  const [first = '', ...rest] = segments
  if (segments.length === 1) {
    const name = PLAIN[first]
    return name ? { name } : { name: 'nowhere' }
  }
  const ids = rest.map(decode)
  if (ids.some(id => id === undefined || id === '')) return { name: 'nowhere' }
  const [application, user, file] = ids as [string, string?, string?]
  if ((first === 'watch' || first === 'embed') && ids.length === 3)
    return { name: first, application, user: user!, file: file! }
  return { name: 'nowhere' }
}

export function addressOf(page: Exclude<Page, { name: 'nowhere' }>): string {
  switch (page.name) {
    case 'library':
      return '/'
    case 'watch':
    case 'embed':
      return `/${page.name}/${keyPath(page)}`
    default:
      return `/${page.name}`
  }
}

/** Where a film is watched; whatever else `key` has is passed over. */
export function watchAddress(key: FilmKey): string {
  return `/watch/${keyPath(key)}`
}

/** `app/user/file`, percent-encoded. */
export function keyPath({ application, user, file }: FilmKey): string {
  return [application, user, file].map(encodeId).join('/')
}

/** An apostrophe is allowed in URLs, but people paste them into command lines between two of them. */
export function encodeId(id: string): string {
  return encodeURIComponent(id).replaceAll("'", '%27')
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}
