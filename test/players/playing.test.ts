import { deepEqual, doesNotMatch, equal, match, ok } from 'node:assert/strict'
import { openAsBlob } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { makeFilm, type FilmKind } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { Mpv } from '../testkit/mpv.ts'
import { runProgram } from '../testkit/program.ts'
import { missingPrograms } from '../testkit/service.ts'
import { playInVlc } from '../testkit/vlc.ts'

const skip = missingPrograms(['ffmpeg', 'ffprobe', 'mpv'])

const FRAMES_PER_S = 30

const FILMS: { kind: FilmKind; seconds: number; byLibrary: boolean }[] = [
  { kind: 'faststart', seconds: 60, byLibrary: false },
  { kind: 'index-at-end', seconds: 60, byLibrary: true },
  { kind: 'bframes', seconds: 6, byLibrary: false },
  { kind: 'vfr', seconds: 6, byLibrary: true }
]

describe('a film played over HTTP', { skip, timeout: 150_000 }, () => {
  let system: PlayableCluster
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-playing-'))
    system = await startPlayableCluster()
    for (const { kind, seconds, byLibrary } of FILMS) {
      const { path } = await makeFilm({ seconds, kind })
      if (byLibrary) {
        await system.client.upload(path, { key: { application: 'media', user: 'public', file: kind } })
        continue
      }
      const body = await openAsBlob(path, { type: 'video/mp4' })
      equal((await fetch(system.urlOf(kind), { method: 'PUT', body })).status, 201)
    }
  })
  after(async () => {
    await system?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  for (const { kind, seconds, byLibrary } of FILMS) {
    describe(`${kind}, uploaded ${byLibrary ? 'by the client library' : 'over HTTP'}`, () => {
      const seekTo = seconds === 60 ? 42 : 4

      it('has the media type of a film', async () => {
        const { headers } = await fetch(system.urlOf(kind), { method: 'HEAD' })
        equal(headers.get('content-type'), 'video/mp4')
        equal(headers.get('accept-ranges'), 'bytes')
      })

      it('shows ffprobe its streams and its length', async () => {
        const { stdout, stderr } = await runProgram('ffprobe', [
          '-v',
          'error',
          '-show_entries',
          'stream=codec_name,width,height,has_b_frames:format=duration',
          '-of',
          'json',
          system.urlOf(kind)
        ])
        equal(stderr, '')
        const { streams, format } = JSON.parse(stdout)
        deepEqual(
          streams.map(({ codec_name }: { codec_name: string }) => codec_name),
          ['h264', 'aac']
        )
        equal(streams[0].width, 1280)
        equal(streams[0].height, 720)
        equal(streams[0].has_b_frames > 0, kind === 'bframes')
        ok(Math.abs(Number(format.duration) - seconds) < 0.2, format.duration)
      })

      it(`gives ffmpeg every picture after a seek to ${seekTo} s`, async () => {
        const input = `-v error -nostdin -ss ${seekTo} -t 1 -i ${system.urlOf(kind)}`
        const output = '-fps_mode passthrough -f framehash -map 0:v -'
        const { stdout, stderr } = await runProgram('ffmpeg', `${input} ${output}`.split(' '))
        equal(stderr, '')
        const hashes = stdout.split('\n').filter(line => line && !line.startsWith('#'))
        if (kind === 'vfr') ok(hashes.length > 15 && hashes.length <= 31, `${hashes.length}`)
        else ok(Math.abs(hashes.length - FRAMES_PER_S) <= 1, `${hashes.length}`)
        const distinct = new Set(hashes.map(line => line.slice(line.lastIndexOf(',') + 1)))
        equal(distinct.size, hashes.length)
      })

      it(`goes on in mpv after a seek to ${seekTo} s`, async t => {
        const mpv = await playInMpv(t, system.urlOf(kind), folder)
        await mpv.until('time-pos', value => value > 0.2)
        await mpv.until('estimated-frame-number', value => value > 5)
        const before = system.requests.length
        await mpv.command('seek', seekTo, 'absolute', 'exact')
        const from = await mpv.until('time-pos', value => value >= seekTo - 0.1 && value < seekTo + 3)
        const fromFrame = await mpv.until(
          'estimated-frame-number',
          value => value >= (seekTo - 1) * FRAMES_PER_S * 0.8
        )
        await mpv.until('time-pos', value => value > from + 0.7)
        await mpv.until('estimated-frame-number', value => value > fromFrame + 15)
        // A short film fits into what mpv has read already.
        if (seconds === 60) {
          const asked = system.requests.slice(before).map(({ rangeStart = 0 }) => rangeStart)
          ok(
            asked.some(start => start > 12_000_000),
            `the seek reached the server: ${asked.join(' ')}`
          )
        }
      })
    })
  }

  it('takes mpv back and forth without losing its place', async t => {
    const mpv = await playInMpv(t, system.urlOf('faststart'), folder)
    await mpv.until('time-pos', value => value > 0)
    for (const second of [50, 3, 29.5, 57, 0.5]) {
      await mpv.command('seek', second, 'absolute', 'exact')
      const reached = await mpv.until('time-pos', value => Math.abs(value - second) < 1.5)
      await mpv.until('time-pos', value => value > reached + 0.2)
    }
  })

  it('plays to its end in mpv', async t => {
    const mpv = await playInMpv(t, system.urlOf('bframes'), folder)
    await mpv.until('time-pos', value => value > 5.8)
    await mpv.until('estimated-frame-number', value => value >= 178)
  })

  for (const kind of ['faststart', 'index-at-end'] as const) {
    it(
      `${kind} shows its first picture in VLC after a start at 30 s`,
      { skip: missingPrograms(['vlc']) },
      async () => {
        const before = system.requests.length
        const said = await playInVlc(system.urlOf(kind), { flags: ['--start-time=30', '--stop-time=32'] })
        match(said, /Received first picture/)
        doesNotMatch(said, /main input error|mp4 demux error/)
        ok(system.requests.slice(before).some(({ rangeStart = 0 }) => rangeStart > 8_000_000))
      }
    )
  }
})

async function playInMpv(t: TestContext, url: string, folder: string): Promise<Mpv> {
  const mpv = await Mpv.play(url, folder)
  t.after(() => mpv.quit())
  return mpv
}
