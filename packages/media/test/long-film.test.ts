import { equal, ok } from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { AAC, ffmpeg, packageFilm, packets, picture, sound, temporaryFolder, writeTrack } from './films.ts'

const MINUTES = 60
const RATE_HZ = 11_025
/** Pictures of a rate whose period is no whole number of anything, and a sample rate that 1000 does not divide. */
const ARGS = [
  ...picture(MINUTES * 60, 0, '32x18').map(arg => arg.replace('rate=0', 'rate=2997/1001')),
  ...sound(MINUTES * 60, 440, RATE_HZ),
  '-c:v',
  'libx264',
  '-preset',
  'ultrafast',
  '-pix_fmt',
  'yuv420p',
  '-g',
  '12',
  '-bf',
  '2',
  ...AAC
]

describe('an hour of film', { timeout: 300_000 }, () => {
  it('keeps sound and picture together to its end, as MP4 and as MKV', async t => {
    const folder = await temporaryFolder(t)
    const first = join(folder, 'film.mp4')
    await ffmpeg(...ARGS, first)
    const second = join(folder, 'film.mkv')
    await ffmpeg('-i', first, '-c', 'copy', second)
    for (const path of [first, second]) {
      const packaged = await packageFilm(t, path)
      const { boundaries, durationS, tracks } = packaged.index.head
      ok(Math.abs(durationS - MINUTES * 60) < 0.5, `${durationS} s`)
      const [shown, heard] = tracks
      // The sound may end before the last picture comes.
      ok(heard!.starts.length >= boundaries.length - 1)
      for (const [index, boundary] of boundaries.slice(0, heard!.starts.length).entries()) {
        const pictureS = Math.max(0, shown!.starts[index]! / shown!.timescale)
        const soundS = Math.max(0, heard!.starts[index]! / heard!.timescale)
        ok(index === 0 || Math.abs(pictureS - boundary) < 1e-6)
        const off = soundS - boundary
        ok(off < 1024 / RATE_HZ + 0.001 && off >= -0.001, `segment ${index}: ${off} s`)
      }
      for (const [track, stream] of [
        [shown!, '0:v:0'],
        [heard!, '0:a:0']
      ] as const) {
        const out = join(folder, `${track.id}.mp4`)
        await writeTrack(packaged, track, out)
        const expected = await packets(path, stream)
        const made = await packets(out, '0:0')
        equal(made.length, expected.length)
        let offMax = 0
        for (const [index, { seconds, hash }] of expected.entries()) {
          equal(made[index]!.hash, hash)
          // The first picture stands from the film's beginning, where the sound begins before it.
          if (index === 0 && stream === '0:v:0') equal(made[0]!.seconds, 0)
          else offMax = Math.max(offMax, Math.abs(made[index]!.seconds - seconds))
        }
        ok(offMax < 0.0011, `${stream} is off by ${offMax} s at the most`)
      }
    }
  })
})
