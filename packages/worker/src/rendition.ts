/** The film again, smaller: H.264 and AAC in MP4, with a key frame wherever the film is cut into segments. */
import { join } from 'node:path'
import { makeIndex, openFilm, UnpackageableError, type ByteSource } from '@tributary/media'
import { FileSource } from './file-source.ts'
import { inputArgs } from './ffmpeg-input.ts'
import { ffmpegOptions } from './ffmpeg-options.ts'
import { pictureOf } from './film-picture.ts'
import { ImpossibleJobError, renditionFile, renditionIndexFile, type PictureWork } from './job-work.ts'
import { sizeFor, type Profile } from './profile.ts'

const TIMEOUT_MS_MIN = 10 * 60_000
/** Twenty times slower than it plays is slower than any machine that should do this. */
const TIMEOUT_MS_PER_S = 20_000
/** Of one argument, by the kernel; some is left for the rest of it. */
const KEY_FRAMES_LENGTH_MAX = 120_000
/** Constant rate factor: as good as it needs to be, and no more bits than the profile has. */
const QUALITY = 22
/** A rendition takes what its profile says, and this much more at most: containers, peaks. */
const SIZE_SLACK = 1.5
const SIZE_SLACK_BYTES = 16 * 1024 * 1024

export interface RenditionOptions {
  profile: Profile
  preset: string
  threads: number
  /** Seconds at which the film's segments begin. */
  boundaries: readonly number[]
  bytesMax: number
  /** Room where it is made. */
  freeBytes: number
}

/** @throws {NoRoomError} there is no room to make it now */
export async function makeRendition(work: PictureWork, options: RenditionOptions): Promise<void> {
  const { profile, bytesMax, freeBytes } = options
  const picture = pictureOf(work.facts)
  if (!picture) throw new ImpossibleJobError('the film has no picture')
  const durationS = work.facts.durationS ?? 0
  const name = renditionFile(profile.name)
  const made = await work.made(name)
  if (made) return storeIndex(work, options, made)
  const path = join(work.folder, name)
  const expectedBytes =
    ((profile.videoKbit + profile.audioKbit) * 1_000 * durationS * SIZE_SLACK) / 8 + SIZE_SLACK_BYTES
  const outputBytesMax = Math.ceil(Math.min(bytesMax, expectedBytes))
  if (freeBytes < outputBytesMax) {
    throw new NoRoomError(
      `${Math.ceil(outputBytesMax / 1e6)} MB may be needed to make it, and there are ${Math.floor(freeBytes / 1e6)}`
    )
  }
  await work.ffmpeg({
    args: renditionArgs(work, options, path),
    timeoutMs: TIMEOUT_MS_MIN + durationS * TIMEOUT_MS_PER_S,
    outputBytesMax,
    onTime: seconds => work.progress(durationS > 0 ? Math.min(0.95, (seconds / durationS) * 0.95) : 0)
  })
  const source = await FileSource.open(path)
  try {
    const isOurs = await work.store(name, path, 'video/mp4')
    await storeIndex(work, options, isOurs ? source : ((await work.made(name)) ?? source))
  } finally {
    await source.close()
  }
}

/** Always of the bytes that are stored: an index of other ones, however alike the films, would lead astray. */
async function storeIndex(
  work: PictureWork,
  { profile, boundaries }: RenditionOptions,
  rendition: ByteSource
): Promise<void> {
  let index: Buffer
  try {
    index = await makeIndex(await openFilm(rendition), { boundaries })
  } catch (error) {
    if (!(error instanceof UnpackageableError)) throw error
    throw new ImpossibleJobError(`the rendition does not fit the film: ${error.message}`, { cause: error })
  }
  await work.store(renditionIndexFile(profile.name), index, 'application/octet-stream')
}

export class NoRoomError extends Error {
  override readonly name = 'NoRoomError'
}

function renditionArgs(
  { input: { url, demuxer }, facts, toneMapping }: PictureWork,
  { profile, preset, threads, boundaries }: RenditionOptions,
  path: string
): string[] {
  const picture = pictureOf(facts)!
  const { width, height } = sizeFor(profile, picture)
  const sounds = facts.tracks.filter(({ kind }) => kind === 'audio')
  const sound = sounds.find(({ default: first }) => first) ?? sounds[0]
  const soundOptions = sound && {
    map: `0:a:${sounds.indexOf(sound)}`,
    'c:a': 'aac',
    'b:a': `${profile.audioKbit}k`,
    ac: 2,
    ar: 48_000,
    'metadata:s:a:0': `language=${sound.language}`
  }
  return [
    ...inputArgs(url, demuxer, threads),
    ...ffmpegOptions({
      map: `0:v:${picture.ordinal}`,
      sn: true,
      dn: true,
      map_metadata: -1,
      map_chapters: -1,
      vf: `scale=${width}:${height}:flags=bicubic,setsar=1,${toneMapping}format=yuv420p`,
      // Frames keep their times, to the tick: what is cut at the same frame is cut at the same time.
      fps_mode: 'passthrough',
      enc_time_base: -1,
      'c:v': 'libx264',
      preset,
      'profile:v': 'high',
      crf: QUALITY,
      maxrate: `${profile.videoKbit}k`,
      bufsize: `${profile.videoKbit * 2}k`,
      // No key frame but those, and nothing refers across them.
      force_key_frames: keyFramesAt(boundaries),
      'x264-params': 'scenecut=0:keyint=infinite:open-gop=0',
      threads
    }),
    ...ffmpegOptions(soundOptions ?? { an: true }),
    ...ffmpegOptions({ movflags: '+faststart', f: 'mp4', progress: 'pipe:1' }),
    path
  ]
}

/** ffmpeg takes the first frame that is not before a time: its clock and ours may differ by a few ticks. */
const ROUNDING_S = 0.004

/** Where the segments begin; of a film with too many of them for one argument, wherever it has a key frame itself. */
function keyFramesAt(boundaries: readonly number[]): string {
  const times = boundaries.slice(1).map(seconds => (seconds - ROUNDING_S).toFixed(6))
  const text = ['0', ...times].join(',')
  return text.length <= KEY_FRAMES_LENGTH_MAX ? text : 'source'
}
