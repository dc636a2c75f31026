import type { IndexJob, LibraryDerived, LibraryFilm } from '@tributary/calls'
import type { ByteSource, FilmFacts } from '@tributary/media'
import type { FilmAccess } from './film-access.ts'
import type { FfmpegRun } from './ffmpeg-run.ts'

/** What somebody who does a job is given. */
export interface JobWork {
  readonly job: IndexJob
  readonly film: LibraryFilm
  /** What was made from it before. */
  readonly derived: readonly LibraryDerived[]
  readonly access: FilmAccess
  /** Aborts when the job is to be dropped: cancelled, lost, or the worker stops. */
  readonly signal: AbortSignal

  /** 0 to 1. */
  progress(done: number): void

  /**
   * Stores what was made under its name. The job is asked for once more before: who lost it stores nothing.
   *
   * @param source bytes, or the path of a file
   * @returns false: somebody stored it meanwhile, and that one stays
   */
  store(what: string, source: Uint8Array | string, mediaType: string): Promise<boolean>

  /** What was made before, to be read; undefined: it is not there. */
  made(what: string): Promise<ByteSource | undefined>
}

/** What is more, where ffmpeg works on the film. */
export interface PictureWork extends JobWork {
  readonly facts: FilmFacts
  /** For this job alone; its content is removed after it. */
  readonly folder: string
  /** Where ffmpeg reads the film, and as what. */
  readonly input: { url: string; demuxer: string }
  /** Filters that its picture has to go through, each with a comma behind it; mostly none. */
  readonly toneMapping: string
  /** How far ffmpeg has read, 0 to 1. */
  reached(): number
  ffmpeg(run: Pick<FfmpegRun, 'args' | 'timeoutMs' | 'outputBytesMax' | 'onTime'>): Promise<Buffer>
}

/** The job cannot be done, however often it is tried; the message says why, for people. */
export class ImpossibleJobError extends Error {
  override readonly name = 'ImpossibleJobError'
}

/** What a job makes; the last of them is there only once all are. */
export const INDEX_FILE = 'index'
export const POSTER_FILE = 'poster.jpg'
export const SPRITE_FILE = 'thumbnails.jpg'
export const THUMBNAILS_FILE = 'thumbnails.vtt'
export function renditionFile(profile: string): string {
  return `rendition-${profile}.mp4`
}
/** Of the rendition, cut where the film is cut. */
export function renditionIndexFile(profile: string): string {
  return `rendition-${profile}.index`
}
