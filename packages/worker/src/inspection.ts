/** What a file is: its facts for the library, and the index that packaging works with. Needs no ffmpeg. */
import { FACTS_LENGTH_MAX, type FilmKind } from '@tributary/calls'
import {
  makeIndex,
  openFilm,
  readIndex,
  UnpackageableError,
  type Film,
  type FilmFacts
} from '@tributary/media'
import { INDEX_FILE, type JobWork } from './job-work.ts'

/** What the library is told of a film; `facts` absent: it is none that can be read. */
export interface Findings {
  facts?: string
  kind?: FilmKind
  durationMs?: number
  width?: number
  height?: number
  title?: string
}

export interface Inspected {
  findings: Findings
  /** undefined: it is no film. */
  facts: FilmFacts | undefined
  /** Whether it can be packaged, and so renditions of it can be cut as it is cut. */
  isPackaged: boolean
}

const TITLE_LENGTH_MAX = 250
const PIXELS_MAX = 1_000_000

export async function inspectFilm(work: JobWork): Promise<Inspected> {
  let film: Film
  try {
    film = await openFilm(work.access)
  } catch (error) {
    if (!(error instanceof UnpackageableError)) throw error
    // A source that failed may look like a film that is damaged.
    if (work.access.failure) throw work.access.failure
    return { findings: {}, facts: undefined, isPackaged: false }
  }
  work.progress(0.2)
  let { facts } = film
  let notPackageable: string | undefined
  try {
    const index = await makeIndex(film)
    work.progress(0.8)
    await work.store(INDEX_FILE, index, 'application/octet-stream')
    // Only who looked at every sample knows how long it is, and how many there are in a second.
    facts = (await readIndex(index)).head.facts
  } catch (error) {
    if (!(error instanceof UnpackageableError)) throw error
    if (work.access.failure) throw work.access.failure
    notPackageable = error.message
  }
  return { findings: findingsOf(facts, notPackageable), facts, isPackaged: notPackageable === undefined }
}

function findingsOf(facts: FilmFacts, notPackageable: string | undefined): Findings {
  const pictures = facts.tracks.filter(({ kind }) => kind === 'video')
  const picture = pictures.find(({ default: first }) => first) ?? pictures[0]
  const sound = facts.tracks.some(({ kind }) => kind === 'audio')
  const kind: FilmKind | undefined = picture ? 'video' : sound ? 'audio' : undefined
  const title = facts.title?.slice(0, TITLE_LENGTH_MAX).toWellFormed()
  return {
    facts: factsText(facts, notPackageable),
    ...(kind && { kind }),
    durationMs: Math.min(Number.MAX_SAFE_INTEGER, Math.round((facts.durationS ?? 0) * 1_000)),
    width: Math.min(PIXELS_MAX, picture?.width ?? 0),
    height: Math.min(PIXELS_MAX, picture?.height ?? 0),
    ...(title && { title })
  }
}

/** Within what the library keeps: tags go first, then tracks from the end. */
function factsText(facts: FilmFacts, notPackageable: string | undefined): string {
  let kept = {
    ...facts,
    ...(notPackageable !== undefined && { notPackageable: notPackageable.slice(0, 500) })
  }
  for (;;) {
    const text = JSON.stringify(kept)
    if (text.length <= FACTS_LENGTH_MAX) return text
    kept =
      Object.keys(kept.tags).length > 0
        ? { ...kept, tags: {} }
        : { ...kept, tracks: kept.tracks.slice(0, -1) }
  }
}
