/** Films for the bench: a minute, and two hours of it. */
import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Client } from '@tributary/client'
import { APPLICATION, USER } from './content.ts'
import type { Target } from './task.ts'

const execute = promisify(execFile)
const LONG_FILM = 'two-hours'
const CLIP_S = 60
/** Two hours at 4.5 Mbit/s, sound included: 4 GB. */
const LOOPS = 119
const KBITS = 4_400

/** A film of one minute at a constant rate. @returns its path */
export async function makeClip(folder: string): Promise<string> {
  const path = join(folder, 'clip.mp4')
  const rate = `${KBITS}k`
  const inputs = '-f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine=sample_rate=48000'
  await execute(
    'ffmpeg',
    [
      `-v error -nostdin -y ${inputs} -t ${CLIP_S}`,
      '-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50 -sc_threshold 0',
      `-b:v ${rate} -minrate ${rate} -maxrate ${rate} -bufsize ${rate} -x264-params nal-hrd=cbr`,
      '-c:a aac -b:a 128k -movflags +faststart'
    ]
      .join(' ')
      .split(' ')
      .concat(path)
  )
  return path
}

/** The film of two hours, stored. @returns the path of its first playlist */
export async function storeLongFilm(parent: string, tracker: Target): Promise<string> {
  const folder = join(parent, 'long-film')
  await mkdir(folder)
  const client = new Client({ trackers: [tracker] })
  try {
    const long = join(folder, 'long.mp4')
    const clip = await makeClip(folder)
    const loop = ['-stream_loop', String(LOOPS), '-i', clip, '-c', 'copy', '-movflags', '+faststart']
    await execute('ffmpeg', ['-v', 'error', '-nostdin', '-y', ...loop, long])
    await client.upload(long, { key: { application: APPLICATION, user: USER, file: LONG_FILM } })
  } finally {
    await rm(folder, { recursive: true, force: true })
    client.close()
  }
  return `/hls/${APPLICATION}/${USER}/${LONG_FILM}/master.m3u8`
}
