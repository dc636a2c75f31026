/** The films that the library shows, and what they were asked for by. */
import { computed, signal } from '@preact/signals'
import type { Film, FilmKind, FilmSort } from '@tributary/gateway/contract'
import { call } from '../api/api.ts'
import { sentenceOf } from '../parts/failure.ts'
import { follow, page, query } from '../place.ts'
import type { FilmKey } from '../router.ts'
import { read, write } from '../settings.ts'
import { readWish, type Wish } from './wish.ts'

export type View = 'posters' | 'list'

const PAGE_FILMS = 60

export const films = signal<readonly Film[]>([])
export const hasMore = signal(false)
export const isLoading = signal(true)
export const trouble = signal('')
export const view = signal<View>(read('view') === 'list' ? 'list' : 'posters')
/** Whose films are uploaded where nothing else is chosen; the server has said it. */
export const home = signal<{ application: string; user: string } | undefined>(undefined)
export const wish = computed(() => readWish(query.value))
/** Where uploads go. */
export const place = computed(() => ({
  application: wish.value.application || home.value?.application || '',
  user: (wish.value.application ? wish.value.user : '') || home.value?.user || ''
}))

let next: string | null = null
let loading: AbortController | undefined

/** From the beginning, by what the address asks for. What is shown stays until there is something else. */
export async function loadFilms(): Promise<void> {
  loading?.abort()
  next = null
  await load(true)
}

export async function loadMore(): Promise<void> {
  if (!isLoading.value && next !== null) await load(false)
}

async function load(fromStart: boolean): Promise<void> {
  const abort = (loading = new AbortController())
  isLoading.value = true
  trouble.value = ''
  try {
    const answer = await call('GET /api/v1/films', {
      query: { ...questionOf(wish.value), limit: PAGE_FILMS, ...(next !== null && { after: next }) },
      signal: abort.signal
    })
    const kept = fromStart ? [] : films.value
    const known = new Set(kept.map(keyOf))
    films.value = [...kept, ...answer.films.filter(film => !known.has(keyOf(film)))]
    next = answer.next
    hasMore.value = next !== null
  } catch (error) {
    if (!abort.signal.aborted) trouble.value = sentenceOf(error)
  } finally {
    if (loading === abort) isLoading.value = false
  }
}

function questionOf({ search, sort, reverse, application, user, kind }: Wish) {
  return {
    sort: sort satisfies FilmSort,
    ...(reverse && { reverse }),
    ...(search !== '' && { search }),
    ...(kind !== '' && { kind: kind satisfies FilmKind }),
    ...(application !== '' && { application }),
    ...(application !== '' && user !== '' && { user })
  }
}

/** Asks for other films, by the address: it can be kept and sent. Empty values take a wish away. */
export function ask(changes: Record<string, string>): void {
  const asked = new URLSearchParams(query.value)
  for (const [name, value] of Object.entries(changes)) {
    if (value === '') asked.delete(name)
    else asked.set(name, value)
  }
  const search = asked.toString()
  if (page.value.name === 'library') follow(search === '' ? '/' : `/?${search}`, { replace: true })
}

export function show(how: View): void {
  view.value = how
  write('view', how)
}

export function change(film: Film): void {
  films.value = films.value.map(other => (keyOf(other) === keyOf(film) ? film : other))
}

export function takeOut(film: FilmKey): void {
  films.value = films.value.filter(other => keyOf(other) !== keyOf(film))
}

export function keyOf({ application, user, file }: FilmKey): string {
  return JSON.stringify([application, user, file])
}
