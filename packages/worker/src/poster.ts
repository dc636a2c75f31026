/** A frame that shows something, as a JPEG. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inputArgs } from './ffmpeg-input.ts'
import { ffmpegOptions } from './ffmpeg-options.ts'
import { pictureOf } from './film-picture.ts'
import { ImpossibleJobError, POSTER_FILE, type PictureWork } from './job-work.ts'

const SIDE_PX_MAX = 640
/** Where in the film, in turn, until a frame shows enough. Films begin in black, and end with names. */
const PLACES = [0.1, 0.25, 0.4, 0.6, 0.02, 0]
/** Of so many frames the one that is most like the others is taken: no flash, no half of a cross-fade. */
const FRAMES_COMPARED = 24
const TRY_TIMEOUT_MS = 120_000
const POSTER_BYTES_MAX = 4 * 1024 * 1024
const SAMPLE = { width: 32, height: 18 }
/** Of the brightness, 0 to 255: below it is black, or as good as. */
const MEAN_MIN = 28
/** How much it varies: below it is a plain area. */
const DEVIATION_MIN = 12

export async function makePoster(work: PictureWork): Promise<void> {
  const picture = pictureOf(work.facts)
  if (!picture) throw new ImpossibleJobError('the film has no picture')
  const durationS = work.facts.durationS ?? 0
  const places = durationS > 1 ? PLACES : [0]
  let best: { bytes: Buffer; deviation: number } | undefined
  let failure: Error | undefined
  for (const [at, place] of places.entries()) {
    let tried: Awaited<ReturnType<typeof frameAt>>
    try {
      tried = await frameAt(work, picture.ordinal, place * durationS)
    } catch (error) {
      work.signal.throwIfAborted()
      // A film may be damaged at one place and whole at the next.
      failure = error as Error
      continue
    }
    work.progress((at + 1) / (places.length + 1))
    if (!tried) continue
    if (!best || tried.deviation > best.deviation) best = tried
    if (tried.mean >= MEAN_MIN && tried.deviation >= DEVIATION_MIN) break
  }
  if (!best) throw failure ?? new ImpossibleJobError('no frame of the film could be decoded')
  await work.store(POSTER_FILE, best.bytes, 'image/jpeg')
}

async function frameAt(
  work: PictureWork,
  ordinal: number,
  startS: number
): Promise<{ bytes: Buffer; mean: number; deviation: number } | undefined> {
  const { url, demuxer } = work.input
  const path = join(work.folder, POSTER_FILE)
  const graph =
    `[0:v:${ordinal}]thumbnail=${FRAMES_COMPARED},scale=w='trunc(iw*sar/2)*2':h=ih,setsar=1,` +
    `scale=w='min(${SIDE_PX_MAX},iw)':h='min(${SIDE_PX_MAX},ih)':force_original_aspect_ratio=decrease:force_divisible_by=2,` +
    `${work.toneMapping}format=yuvj420p,split[frame][copy];[copy]scale=${SAMPLE.width}:${SAMPLE.height},format=gray[sample]`
  const sample = await work.ffmpeg({
    args: [
      ...inputArgs(url, demuxer, 1, startS > 0 ? { ss: startS.toFixed(3) } : {}),
      ...ffmpegOptions({ filter_complex: graph, an: true, sn: true, dn: true }),
      ...ffmpegOptions({ map: '[frame]', 'frames:v': 1, 'c:v': 'mjpeg', 'q:v': 4, f: 'image2', update: 1 }),
      path,
      ...ffmpegOptions({ map: '[sample]', 'frames:v': 1, f: 'rawvideo' }),
      'pipe:1'
    ],
    timeoutMs: TRY_TIMEOUT_MS,
    outputBytesMax: POSTER_BYTES_MAX
  })
  // Behind its last frame a film gives none, and ffmpeg is content with that.
  if (sample.byteLength !== SAMPLE.width * SAMPLE.height) return undefined
  const mean = sample.reduce((sum, value) => sum + value, 0) / sample.byteLength
  const variance = sample.reduce((sum, value) => sum + (value - mean) ** 2, 0) / sample.byteLength
  return { bytes: await readFile(path), mean, deviation: Math.sqrt(variance) }
}
