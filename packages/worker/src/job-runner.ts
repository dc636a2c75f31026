/** Does one job that was claimed, and says how it ended. */
import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { LibraryDerived, LibraryFilm, NewIndexJob } from '@tributary/calls'
import { FilmIndex, type ByteSource, type FilmFacts } from '@tributary/media'
import {
  derivedKey,
  OutcomeUnknownError,
  RejectedError,
  UnavailableError,
  type FileKey
} from '@tributary/protocol'
import type { Log } from '@tributary/runtime'
import { FfmpegError, runFfmpeg, type FfmpegLimits } from './ffmpeg-run.ts'
import { demuxerOf } from './ffmpeg-input.ts'
import type { FfmpegProgram, Tools } from './ffmpeg-program.ts'
import { FilmAccess, type Cluster } from './film-access.ts'
import { pictureOf, playsEverywhere, toneMapping } from './film-picture.ts'
import type { FilmServer } from './film-server.ts'
import { JobLostError, type HeldJob } from './held-job.ts'
import { inspectFilm, type Findings } from './inspection.ts'
import {
  ImpossibleJobError,
  INDEX_FILE,
  POSTER_FILE,
  renditionIndexFile,
  THUMBNAILS_FILE,
  type JobWork,
  type PictureWork
} from './job-work.ts'
import { makePoster } from './poster.ts'
import { profilesFor, type Profile } from './profile.ts'
import { makeRendition, NoRoomError } from './rendition.ts'
import type { TempFolder } from './temp-folder.ts'
import { makeThumbnails } from './thumbnails.ts'

export interface JobRunnerParts {
  cluster: Cluster
  films: FilmServer
  temp: TempFolder
  program: FfmpegProgram
  /** As they were found last. */
  tools: () => Pick<Tools, 'toneMapping'>
  limits: FfmpegLimits
  profiles: readonly Profile[]
  preset: string
  renditionBytesMax: number
  log: Log
}

/** How a job ended for this worker; `lost`: another one has it now, or nobody. */
export type JobEnd = 'done' | 'failed' | 'later' | 'gone' | 'back' | 'lost'

export class JobRunner {
  readonly #parts: JobRunnerParts

  constructor(parts: JobRunnerParts) {
    this.#parts = parts
  }

  /** Never rejects. @param stopping the worker stops: the job is given back. */
  async run(held: HeldJob, stopping: AbortSignal): Promise<JobEnd> {
    const { log } = this.#parts
    const { job } = held
    const fields = {
      job: job.id,
      kind: job.kind,
      profile: job.profile,
      file: job.file,
      generation: job.generation
    }
    held.keep()
    const cut = new AbortController()
    const signal = AbortSignal.any([held.lost, stopping, cut.signal])
    try {
      await this.#work(held, signal)
      const isOurs = await held.finish()
      if (isOurs) log.info(fields, 'a job is done')
      return isOurs ? 'done' : 'lost'
    } catch (error) {
      if (held.lost.aborted || error instanceof JobLostError) {
        log.info({ ...fields, why: (held.lost.reason as Error | undefined)?.message }, 'a job is dropped')
        await held.fail('back', '')
        return 'lost'
      }
      if (stopping.aborted) {
        await held.fail('back', '')
        return 'back'
      }
      const { end, failure, message } = judge(error)
      log[end === 'failed' ? 'warn' : 'info'](
        { ...fields, ...(message === undefined && { err: error }), attempt: job.attempts },
        `a job did not succeed: ${message ?? 'an unforeseen failure'}`
      )
      const isOurs = await held.fail(failure, message ?? 'an unforeseen failure; the worker’s log has it')
      return isOurs ? end : 'lost'
    } finally {
      cut.abort()
    }
  }

  async #work(held: HeldJob, signal: AbortSignal): Promise<void> {
    const { cluster } = this.#parts
    const { job } = held
    const key = keyOf(job)
    const { film, facts, derived } = await cluster.index('library.film', key, { signal })
    if (film.generation !== job.generation) throw new GoneError('the film was replaced')
    if (film.trashedUntilMs > 0) throw new GoneError('the film is in the trash')
    const access = new FilmAccess(
      { key, generation: film.generation, sizeBytes: film.sizeBytes },
      cluster,
      signal
    )
    const work: JobWork = {
      job,
      film,
      derived,
      access,
      signal,
      progress: done => held.progress(done),
      store: (what, source, mediaType) => this.#store(held, film, { what, source, mediaType }, signal),
      made: what => this.#made(film, what, signal)
    }
    if (job.kind === 'inspect') return this.#inspect(work)
    if (derived.some(({ what }) => what === lastFileOf(job))) return
    if (facts === undefined)
      throw new ImpossibleJobError('nothing is known of the film: it has to be inspected first')
    await this.#withPicture(work, JSON.parse(facts) as FilmFacts)
  }

  async #inspect(work: JobWork): Promise<void> {
    const { cluster, profiles } = this.#parts
    const { film, signal } = work
    const { findings, facts, isPackaged } = await inspectFilm(work)
    const key = keyOf(film)
    const of = { ...key, generation: film.generation }
    const picture = facts && demuxerOf(facts) !== undefined ? pictureOf(facts) : undefined
    const jobs: NewIndexJob[] = []
    if (picture) {
      jobs.push(
        { ...of, kind: 'poster', title: film.title },
        { ...of, kind: 'thumbnails', title: film.title }
      )
      const wanted = isPackaged
        ? profilesFor(profiles, { ...picture, playsEverywhere: playsEverywhere(picture.track) })
        : []
      jobs.push(
        ...wanted.map(({ name }) => ({ ...of, kind: 'rendition' as const, profile: name, title: film.title }))
      )
    }
    // In this order: a film whose facts are there has the jobs that it needs.
    if (jobs.length > 0) await cluster.index('jobs.add', { jobs }, { signal })
    await cluster.index('library.setFacts', { ...of, ...findings }, { signal })
    if (facts) await this.#tellReady(film, findings, signal)
  }

  /** Whoever asked to be told hears that the film is known; once, however often it is looked into. */
  async #tellReady(film: LibraryFilm, findings: Findings, signal: AbortSignal): Promise<void> {
    const { cluster, log } = this.#parts
    const { application, user, file, generation } = film
    const id = createHash('sha256')
      .update(`ready ${application}/${user}/${file} ${generation}`)
      .digest('hex')
      .slice(0, 32)
    const { kind, durationMs, width, height } = findings
    const facts = { user, file, generation, kind, durationMs, width, height }
    const body = JSON.stringify({ id, event: 'ready', at: new Date().toISOString(), application, ...facts })
    try {
      await cluster.index('events.tell', { id, event: 'ready', application, body }, { signal })
    } catch (err) {
      log.warn({ err, file, generation }, 'webhooks were not told that a film is ready')
    }
  }

  async #withPicture(work: JobWork, facts: FilmFacts): Promise<void> {
    const { films, temp, program, limits, tools } = this.#parts
    const { job, access, signal } = work
    const demuxer = demuxerOf(facts)
    if (demuxer === undefined)
      throw new ImpossibleJobError(`no pictures are made of ${facts.container} files`)
    const track = pictureOf(facts)?.track
    const folder = await temp.folder()
    const served = films.serve(access)
    const picture: PictureWork = {
      ...work,
      facts,
      folder,
      input: { url: served.url, demuxer },
      toneMapping: track && tools().toneMapping ? toneMapping(track) : '',
      reached: () => served.reached,
      ffmpeg: async run => {
        try {
          return await runFfmpeg(program, limits, { ...run, folder, signal })
        } catch (error) {
          // What ffmpeg says of a film that it could not read to the end is not the reason.
          if (!signal.aborted && access.failure) throw access.failure
          throw error
        }
      }
    }
    try {
      if (job.kind === 'poster') await makePoster(picture)
      else if (job.kind === 'thumbnails') await makeThumbnails(picture, await this.#boundaries(work))
      else await this.#rendition(picture)
    } finally {
      served.close()
      await rm(folder, { recursive: true, force: true })
    }
  }

  async #rendition(work: PictureWork): Promise<void> {
    const { profiles, preset, limits, temp, renditionBytesMax } = this.#parts
    const profile = profiles.find(({ name }) => name === work.job.profile)
    if (!profile) throw new ImpossibleJobError(`this worker has no profile ${work.job.profile}`)
    const boundaries = await this.#boundaries(work)
    if (!boundaries) throw new ImpossibleJobError('the film cannot be packaged, and so not its renditions')
    const { threads } = limits
    const freeBytes = await temp.freeBytes()
    await makeRendition(work, {
      profile,
      preset,
      threads,
      boundaries,
      bytesMax: renditionBytesMax,
      freeBytes
    })
  }

  /** Seconds at which the film's segments begin; undefined: it cannot be packaged. */
  async #boundaries(work: JobWork): Promise<readonly number[] | undefined> {
    const source = await work.made(INDEX_FILE)
    return source && (await FilmIndex.open(source)).head.boundaries
  }

  async #store(
    held: HeldJob,
    film: LibraryFilm,
    { what, source, mediaType }: { what: string; source: Uint8Array | string; mediaType: string },
    signal: AbortSignal
  ): Promise<boolean> {
    await held.assertHeld()
    const key = derivedKey(film, film.generation, what)
    try {
      await this.#parts.cluster.upload(source, {
        key,
        beside: keyOf(film),
        name: film.file,
        mediaType,
        signal
      })
      return true
    } catch (error) {
      if (error instanceof RejectedError && error.code === 'FILE_EXISTS') return false
      throw error
    }
  }

  async #made(film: LibraryFilm, what: string, signal: AbortSignal): Promise<ByteSource | undefined> {
    const { cluster } = this.#parts
    const { derived } = await cluster.index('library.film', keyOf(film), { signal })
    const found: LibraryDerived | undefined = derived.find(file => file.what === what)
    if (!found) return undefined
    const { generation, sizeBytes } = found
    return new FilmAccess(
      { key: derivedKey(film, film.generation, what), generation, sizeBytes },
      cluster,
      signal
    )
  }
}

/** There is nothing to do any more. */
class GoneError extends Error {
  override readonly name = 'GoneError'
}

/** What is stored last: with it, the job is done. */
function lastFileOf({ kind, profile }: { kind: string; profile: string }): string {
  return kind === 'poster'
    ? POSTER_FILE
    : kind === 'thumbnails'
      ? THUMBNAILS_FILE
      : renditionIndexFile(profile)
}

/** Codes of what is nobody's fault but the moment's. */
const NOT_TRANSIENT = new Set(['CHECKSUM_MISMATCH', 'INTERNAL'])

function judge(error: unknown): {
  end: JobEnd
  failure: 'retry' | 'later' | 'final' | 'gone'
  /** undefined: a bug, or what nobody foresaw. */
  message: string | undefined
} {
  const { message } = error as Error
  if (error instanceof GoneError) return { end: 'gone', failure: 'gone', message }
  if (error instanceof ImpossibleJobError) return { end: 'failed', failure: 'final', message }
  if (error instanceof NoRoomError) return { end: 'later', failure: 'later', message }
  if (error instanceof FfmpegError && error.kind === 'missing')
    return { end: 'later', failure: 'later', message }
  if (error instanceof FfmpegError)
    return { end: 'failed', failure: error.kind === 'bound' ? 'final' : 'retry', message }
  if (error instanceof RejectedError) {
    const isGone = error.code === 'FILE_NOT_FOUND' || error.code === 'GENERATION_MISMATCH'
    return isGone
      ? { end: 'gone', failure: 'gone', message: 'the film is gone' }
      : { end: 'failed', failure: 'retry', message }
  }
  if (error instanceof UnavailableError || error instanceof OutcomeUnknownError) {
    return NOT_TRANSIENT.has(error.code)
      ? { end: 'failed', failure: 'retry', message }
      : { end: 'later', failure: 'later', message }
  }
  return { end: 'failed', failure: 'retry', message: undefined }
}

function keyOf({ application, user, file }: FileKey): FileKey {
  return { application, user, file }
}
