/** Pictures as few numbers, to tell whether two of them show the same. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)
const WIDTH = 64
const HEIGHT = 36
const BYTES = WIDTH * HEIGHT * 3

/** A file's first picture, or the one of a film at `second`: 64×36 points of RGB. */
export async function pictureOf(path: string, second?: number): Promise<Buffer> {
  const { stdout } = await run(
    'ffmpeg',
    [
      '-v error -nostdin'.split(' '),
      second === undefined ? [] : ['-ss', String(second)],
      ['-i', path],
      `-frames:v 1 -vf scale=${WIDTH}:${HEIGHT}:flags=area -f rawvideo -pix_fmt rgb24 -`.split(' ')
    ].flat(),
    { encoding: 'buffer', timeout: 30_000 }
  )
  if (stdout.byteLength !== BYTES) throw new Error(`${path} gave ${stdout.byteLength} bytes of picture`)
  return stdout
}

/** Mean difference of a point's colour: 0 (the same) to 255. */
export function difference(one: Buffer, other: Buffer): number {
  let sum = 0
  for (let at = 0; at < BYTES; at++) sum += Math.abs(one[at]! - other[at]!)
  return sum / BYTES
}

/** How much the colours differ within a picture (standard deviation): about 0 for an empty area, 60 and more for a test card. */
export function liveliness(picture: Buffer): number {
  const mean = picture.reduce((sum, value) => sum + value, 0) / BYTES
  return Math.sqrt(picture.reduce((sum, value) => sum + (value - mean) ** 2, 0) / BYTES)
}
