/** Small pictures for the seek bar: all in one sprite, and a WebVTT file that says which is whose. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inputArgs } from './ffmpeg-input.ts'
import { ffmpegOptions } from './ffmpeg-options.ts'
import { pictureOf } from './film-picture.ts'
import { ImpossibleJobError, SPRITE_FILE, THUMBNAILS_FILE, type PictureWork } from './job-work.ts'

const COLUMNS = 10
/** 16 by 9; other films fit into that size of tile, in proportion. */
const TILE_PX = 160
const COUNT_MAX = 240
/** Closer together they tell nothing more. */
const INTERVAL_S_MIN = 2
const SPRITE_BYTES_MAX = 16 * 1024 * 1024
const TIMEOUT_MS_MIN = 10 * 60_000
/** The whole film is read, its key frames are decoded. */
const TIMEOUT_MS_PER_S = 500

export interface ThumbnailPlan {
  count: number
  intervalS: number
  columns: number
  rows: number
  /** Of one tile, in pixels; even numbers. */
  width: number
  height: number
}

/** A function of the film alone, so that whoever makes one of the two files, they belong together. */
export function planThumbnails(durationS: number, picture: { width: number; height: number }): ThumbnailPlan {
  const intervalS = Math.max(INTERVAL_S_MIN, Math.ceil((durationS * 10) / COUNT_MAX) / 10)
  const count = Math.max(1, Math.min(COUNT_MAX, Math.round(durationS / intervalS)))
  const scale = TILE_PX / Math.max(picture.width, picture.height)
  const even = (pixels: number): number => Math.max(2, Math.round((pixels * scale) / 2) * 2)
  return {
    count,
    intervalS,
    columns: Math.min(COLUMNS, count),
    rows: Math.ceil(count / COLUMNS),
    width: even(picture.width),
    height: even(picture.height)
  }
}

/** WebVTT whose cues are places in the sprite beside it, as players expect them. */
export function thumbnailCues(plan: ThumbnailPlan, durationS: number): string {
  const { count, intervalS, columns, width, height } = plan
  const cues = Array.from({ length: count }, (_, at) => {
    const end = at === count - 1 ? Math.max(durationS, at * intervalS + 0.001) : (at + 1) * intervalS
    const x = (at % columns) * width
    const y = Math.floor(at / columns) * height
    return `${timeText(at * intervalS)} --> ${timeText(end)}\n${SPRITE_FILE}#xywh=${x},${y},${width},${height}\n`
  })
  return `WEBVTT\n\n${cues.join('\n')}`
}

/** @param boundaries seconds at which segments begin: of a film that has few, every frame is decoded. */
export async function makeThumbnails(
  work: PictureWork,
  boundaries: readonly number[] | undefined
): Promise<void> {
  const picture = pictureOf(work.facts)
  if (!picture) throw new ImpossibleJobError('the film has no picture')
  const durationS = work.facts.durationS ?? 0
  if (durationS <= 0) throw new ImpossibleJobError('how long the film is, is not known')
  const plan = planThumbnails(durationS, picture)
  if (!work.derived.some(({ what }) => what === SPRITE_FILE)) {
    const byKeys = boundaries !== undefined && boundaries.length >= plan.count / 3
    await work.store(
      SPRITE_FILE,
      await makeSprite(work, plan, picture.ordinal, durationS, byKeys),
      'image/jpeg'
    )
  }
  await work.store(THUMBNAILS_FILE, Buffer.from(thumbnailCues(plan, durationS)), 'text/vtt')
}

async function makeSprite(
  work: PictureWork,
  { intervalS, columns, rows, width, height }: ThumbnailPlan,
  ordinal: number,
  durationS: number,
  byKeys: boolean
): Promise<Buffer> {
  const { url, demuxer } = work.input
  const path = join(work.folder, SPRITE_FILE)
  // The last picture also fills what is left of the last row, and stands for those that a film lacks at its end.
  const tiles = columns * rows
  const graph =
    `fps=fps=1/${intervalS}:start_time=0:round=near:eof_action=pass,tpad=stop=${tiles}:stop_mode=clone,` +
    `scale=${width}:${height},setsar=1,${work.toneMapping}format=yuvj420p,tile=layout=${columns}x${rows}`
  const watch = setInterval(() => work.progress(work.reached() * 0.95), 500)
  try {
    await work.ffmpeg({
      args: [
        ...inputArgs(url, demuxer, 1, byKeys ? { skip_frame: 'nokey', 'discard:v': 'nokey' } : {}),
        ...ffmpegOptions({ map: `0:v:${ordinal}`, an: true, sn: true, dn: true, vf: graph }),
        ...ffmpegOptions({ 'frames:v': 1, 'c:v': 'mjpeg', 'q:v': 5, f: 'image2', update: 1 }),
        path
      ],
      timeoutMs: TIMEOUT_MS_MIN + durationS * TIMEOUT_MS_PER_S,
      outputBytesMax: SPRITE_BYTES_MAX
    })
    return await readFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new ImpossibleJobError('no frame of the film could be decoded', { cause: error })
  } finally {
    clearInterval(watch)
  }
}

function timeText(seconds: number): string {
  const ms = Math.round(seconds * 1_000)
  const part = (value: number, digits = 2): string => String(Math.floor(value)).padStart(digits, '0')
  return `${part(ms / 3_600_000)}:${part((ms / 60_000) % 60)}:${part((ms / 1_000) % 60)}.${part(ms % 1_000, 3)}`
}
