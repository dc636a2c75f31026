/** Films as the API shows them. */
import { languageName } from '@tributary/media'
import type { FileKey } from '@tributary/protocol'
import type { LibraryDerived, LibraryFilm } from '@tributary/calls'
import type { DerivedFile, Film, Subtitles } from '../contract/index.ts'
import { pathOf } from '../file-target.ts'
import { contentTypeOf } from '../media-type.ts'

/** Media that players get in pieces: what HLS and DASH are offered for. */
const STREAMED = new Set(['video', 'audio'])

export function filmOf(film: LibraryFilm): Film {
  const { application, user, file, generation, title, name, kind, sizeBytes, durationMs } = film
  const place = placeOf(film)
  const streamed = STREAMED.has(kind) && film.factsState !== 'none'
  return {
    application,
    user,
    file,
    generation,
    title,
    name,
    kind,
    mediaType: contentTypeOf(film.mediaType, name, file),
    sizeBytes,
    crc32: film.crc32.toString(16).padStart(8, '0'),
    storedAt: new Date(film.storedAtMs).toISOString(),
    durationS: durationMs > 0 ? durationMs / 1_000 : null,
    width: film.width || null,
    height: film.height || null,
    facts: film.factsState,
    trashedUntil: film.trashedUntilMs > 0 ? new Date(film.trashedUntilMs).toISOString() : null,
    links: {
      file: pathOf(film),
      watch: `/watch${place}`,
      hls: streamed ? `/hls${place}/master.m3u8` : null,
      dash: streamed ? `/dash${place}/manifest.mpd` : null,
      // Its generation is there for caches: a new poster has a new address.
      poster: film.poster === undefined ? null : `/poster${place}?v=${film.poster.slice(0, 8)}`
    }
  }
}

/** `/{application}/{user}/{file}`, percent-encoded. */
export function placeOf(key: FileKey): string {
  return pathOf(key).slice('/files'.length)
}

export function derivedOf({ what, sizeBytes, storedAtMs }: LibraryDerived): DerivedFile {
  return { what, sizeBytes, storedAt: new Date(storedAtMs).toISOString() }
}

const SUBTITLES = /^subtitles-([a-z]{2,3}(?:-[a-z0-9]{2,8}){0,3})\.vtt$/

/** The subtitles among a film's derived files, one of each language. */
export function subtitlesOf(
  film: FileKey & { generation: string },
  derived: readonly LibraryDerived[]
): Subtitles[] {
  return derived.flatMap(({ what }) => {
    const [, language] = SUBTITLES.exec(what) ?? []
    if (language === undefined) return []
    const url = `/subtitles${placeOf(film)}/${film.generation}/${language}.vtt`
    return [{ id: language, language, label: languageName(language), url }]
  })
}

/** `rendition-720p.mp4` → 720p */
export function renditionOf({ what }: { what: string }): string | undefined {
  return /^rendition-([a-z0-9]+)\.mp4$/.exec(what)?.[1]
}
