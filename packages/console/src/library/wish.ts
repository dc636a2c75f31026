/** What films a visitor asks for, in the library's address. */
import type { FilmKind, FilmSort } from '@tributary/gateway/contract'

export interface Wish {
  search: string
  sort: FilmSort
  reverse: boolean
  /** Empty: all. */
  application: string
  /** Only together with `application`. */
  user: string
  kind: FilmKind | ''
}

/** Value in the address → what the API is asked for; the first is what is meant without one. */
export const SORTS = {
  newest: { sort: 'newest', reverse: false },
  oldest: { sort: 'newest', reverse: true },
  title: { sort: 'title', reverse: false },
  largest: { sort: 'size', reverse: false },
  longest: { sort: 'duration', reverse: false }
} as const satisfies Record<string, { sort: FilmSort; reverse: boolean }>
export type SortName = keyof typeof SORTS

export const KINDS: readonly FilmKind[] = ['video', 'audio', 'image', 'text', 'other']
const SEARCH_LENGTH_MAX = 200

/** @param search  of a URL. */
export function readWish(search: string): Wish {
  const asked = new URLSearchParams(search)
  const kind = asked.get('kind') as FilmKind
  return {
    search: (asked.get('q') ?? '').slice(0, SEARCH_LENGTH_MAX),
    ...SORTS[sortOf(search)],
    application: asked.get('app') ?? '',
    user: asked.get('user') ?? '',
    kind: KINDS.includes(kind) ? kind : ''
  }
}

export function sortOf(search: string): SortName {
  const name = new URLSearchParams(search).get('sort') ?? ''
  return Object.hasOwn(SORTS, name) ? (name as SortName) : 'newest'
}

/** Whether films are left out that are there. */
export function isFiltered({ search, application, kind }: Wish): boolean {
  return search !== '' || application !== '' || kind !== ''
}
