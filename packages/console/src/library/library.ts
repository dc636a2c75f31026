/** The films that the library shows, and what they were asked for by. */
import { computed, signal } from '@preact/signals'
import { listFilms, type Film } from '../api/films.ts'
import { sentenceOf } from '../parts/failure.ts'
import { follow, page, query } from '../place.ts'
import type { FilmKey } from '../router.ts'
import { read, write } from '../settings.ts'

export type View = 'posters' | 'list'

const PAGE_FILMS = 60

export const films = signal<readonly Film[]>([])
export const hasMore = signal(false)
export const isLoading = signal(false)
export const trouble = signal('')
export const view = signal<View>(read('view') === 'list' ? 'list' : 'posters')
/** Where uploads go, and what is listed: known when the server has said its own. */
export const home = signal<{ application: string; user: string } | undefined>(undefined)

export const place = computed(() => {
  const asked = new URLSearchParams(query.value)
  return {
    application: asked.get('app') || home.value?.application || '',
    user: asked.get('user') || home.value?.user || ''
  }
})

let next: string | null = null
let loading: AbortController | undefined

/** From the beginning, by what the address asks for. */
export async function loadFilms(): Promise<void> {
  loading?.abort()
  films.value = []
  next = null
  await loadMore(true)
}

export async function loadMore(fromStart = false): Promise<void> {
  if (!fromStart && (isLoading.value || next === null)) return
  const abort = (loading = new AbortController())
  isLoading.value = true
  trouble.value = ''
  try {
    const answer = await listFilms({ ...place.value, after: next ?? '', limit: PAGE_FILMS }, abort.signal)
    const known = new Set(films.value.map(keyOf))
    films.value = [...films.value, ...answer.films.filter(film => !known.has(keyOf(film)))]
    next = answer.next
    hasMore.value = next !== null
  } catch (error) {
    if (!abort.signal.aborted) trouble.value = sentenceOf(error)
  } finally {
    if (loading === abort) isLoading.value = false
  }
}

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

/** What has just been stored is seen first, whatever the order. */
export function putFirst(film: Film): void {
  films.value = [film, ...films.value.filter(other => keyOf(other) !== keyOf(film))]
}

export function takeOut(film: FilmKey): void {
  films.value = films.value.filter(other => keyOf(other) !== keyOf(film))
}

function keyOf({ application, user, file }: FilmKey): string {
  return JSON.stringify([application, user, file])
}
