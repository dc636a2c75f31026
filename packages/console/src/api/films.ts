/** The library, as the API tells it. */
import type { About, FileEntry, FilePage } from '@tributary/gateway/contract'
import { kindOf } from '../playability.ts'
import { encodeId, keyPath, type FilmKey } from '../router.ts'
import { ask } from './http.ts'

/** A film as pages show it. */
export interface Film extends FilmKey {
  /** What it is called: its title, else the name of its file, else its id. */
  title: string
  name: string
  /** Path of its content. */
  url: string
  sizeBytes: number
  mediaType: string
  generation: string
  /** ISO 8601; empty where it is not known. */
  storedAt: string
  kind: 'video' | 'audio' | 'image' | 'text' | 'other'
  /** 0: not known. */
  durationS: number
  /** Path of its poster; undefined where it has none. */
  poster: string | undefined
}

export interface FilmQuery {
  application: string
  user: string
  after: string
  limit: number
}

export function readAbout(): Promise<About> {
  return ask<About>('/about.json')
}

export async function listFilms(
  { application, user, after, limit }: FilmQuery,
  signal?: AbortSignal
): Promise<{ films: Film[]; next: string | null }> {
  const path = `/files/${application}/${encodeId(user)}`
  const page = await ask<FilePage>(path, { query: { after, limit }, ...(signal && { signal }) })
  return { films: page.files.map(filmOf), next: page.next }
}

export async function deleteFilm(film: FilmKey): Promise<void> {
  await ask<unknown>(`/files/${keyPath(film)}`, { method: 'DELETE' })
}

export function filmOf(entry: FileEntry): Film {
  const { application, user, file, url, name, sizeBytes, mediaType, generation, storedAt } = entry
  return {
    application,
    user,
    file,
    url,
    name,
    title: name || file,
    sizeBytes,
    mediaType,
    generation,
    storedAt,
    kind: kindOf({ mediaType, name, file }),
    durationS: 0,
    poster: undefined
  }
}
