// Films for the tests: real ones, made once by ffmpeg and kept in .cache/films of the repository.
import { execFile } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { constants, copyFile, mkdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const FILMS_DIR = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), '.cache', 'films')
/** A minute of film takes about 25 s of one core. */
const ENCODE_MS_PER_FILM_SECOND = 5_000
const ENCODE_MS_MIN = 60_000

/**
 * faststart: the index stands before the content, as for the web.
 * index-at-end: behind it, as a camera writes it; a player must seek before it can begin.
 * bframes: pictures are stored in another order than they are shown.
 * vfr: the time between pictures varies.
 */
export type FilmKind = 'faststart' | 'index-at-end' | 'bframes' | 'vfr'

export interface FilmOptions {
  /** Where to put it (a copy); without one, `path` is in the cache itself, and not to be changed. */
  dir?: string
  /** Length, 1 to 3,600. */
  seconds?: number
  kind?: FilmKind
}

export interface Film {
  path: string
  bytes: number
  seconds: number
  kind: FilmKind
}

/**
 * A film of 1280×720 at 30 pictures a second (a test card with a running clock) and a tone of 440 Hz: H.264 and AAC in MP4, a
 * key picture every 2 s. Made at the first call, then taken from the cache; callers at the same time do not disturb each other.
 *
 * @throws ffmpeg is missing or failed
 */
export async function makeFilm({ dir, seconds = 60, kind = 'faststart' }: FilmOptions = {}): Promise<Film> {
  // The same pictures in another order of the file: copied, not encoded once more.
  const args =
    kind === 'index-at-end'
      ? copyArgs((await makeFilm({ seconds, kind: 'faststart' })).path)
      : encoderArgs(seconds, kind)
  const key = createHash('sha256')
    .update(JSON.stringify(args.map(arg => basename(arg))))
    .digest('hex')
    .slice(0, 12)
  const cached = join(FILMS_DIR, `${kind}-${seconds}s-${key}.mp4`)
  const bytes = (await sizeOf(cached)) ?? (await encode(args, seconds, cached))
  let path = cached
  if (dir !== undefined) {
    path = join(dir, `${kind}-${seconds}s.mp4`)
    await copyFile(cached, path, constants.COPYFILE_FICLONE)
  }
  return { path, bytes, seconds, kind }
}

async function encode(args: string[], seconds: number, target: string): Promise<number> {
  await mkdir(dirname(target), { recursive: true })
  const making = join(dirname(target), `.${randomUUID()}.mp4`)
  try {
    await run('ffmpeg', [...args, making], {
      timeout: Math.max(ENCODE_MS_MIN, seconds * ENCODE_MS_PER_FILM_SECOND)
    })
    await rename(making, target) // whoever looks sees a whole film or none
  } finally {
    await rm(making, { force: true })
  }
  return (await stat(target)).size
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch {
    return undefined // not made yet
  }
}

function encoderArgs(seconds: number, kind: FilmKind): string[] {
  const source = (description: string) => ['-f', 'lavfi', '-i', description]
  // veryfast uses B-frames of its own: only the film that is about them keeps them
  const bframes = kind === 'bframes' ? 3 : 0
  // drops every third picture of every other second, and keeps the times of the rest
  const vfr = ['-vf', `select='not(eq(mod(n,3),1)*eq(mod(floor(t),2),1))'`, '-fps_mode', 'vfr']
  const video = ['-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p', '-bf', String(bframes)]
  const keyPictures = ['-g', '60', '-keyint_min', '60', '-sc_threshold', '0']
  return [
    ...QUIETLY,
    ...source('testsrc2=size=1280x720:rate=30'),
    ...source('sine=frequency=440:sample_rate=48000'),
    ...(kind === 'vfr' ? vfr : []),
    ...video,
    ...keyPictures,
    '-t',
    String(seconds),
    '-c:a',
    'aac',
    '-b:a',
    '128k',
    '-movflags',
    '+faststart'
  ]
}

const QUIETLY = ['-hide_banner', '-loglevel', 'error', '-nostdin', '-y']

/** Without faststart ffmpeg writes the index last. */
function copyArgs(path: string): string[] {
  return [...QUIETLY, '-i', path, '-c', 'copy']
}
