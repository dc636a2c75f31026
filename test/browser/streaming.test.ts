import { deepEqual, equal, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { makeFilm } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { difference, pictureOf } from '../testkit/picture.ts'
import { missingPrograms } from '../testkit/service.ts'
import { VideoElement } from '../testkit/video-element.ts'

const skip = missingPrograms(['ffmpeg', 'chromium'])
const run = promisify(execFile)
/** The console's; the workspace has it in one place with everything else. */
const CONSOLE_PLAYER = 'hls.js'
const HLS_JS = fileURLToPath(import.meta.resolve(CONSOLE_PLAYER)).replace(/[^/]*$/, 'hls.js')
const DASH_JS = fileURLToPath(import.meta.resolve('dashjs')).replace(
  /dist\/.*$/,
  'dist/modern/umd/dash.all.min.js'
)
const PAGE = '<!doctype html><title>x</title><video muted playsinline style="width:640px"></video>'
/** Between the film's picture and the screen's lie a scaler and two colour conversions. */
const SAME_MAX = 14

/** What Chromium plays: MP4 as cameras and the web have it, and what comes in other containers. */
const FILMS: { name: string; args: string[]; soundOnly?: boolean }[] = [
  {
    name: 'vp9.webm',
    args: ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-c:a', 'libopus']
  },
  { name: 'av1.mkv', args: ['-c:v', 'libsvtav1', '-preset', '12', '-g', '48', '-c:a', 'flac'] },
  {
    name: 'h264.mkv',
    args: ['-c:v', 'libx264', '-preset', 'veryfast', '-bf', '3', '-g', '48', '-c:a', 'libmp3lame']
  },
  { name: 'late-sound.mp4', args: ['-c:v', 'libx264', '-g', '48', '-af', 'asetpts=PTS+7/TB', '-c:a', 'aac'] },
  {
    name: 'late-picture.mp4',
    args: ['-c:v', 'libx264', '-g', '48', '-vf', 'setpts=PTS+7/TB', '-c:a', 'aac']
  },
  { name: 'sound.mp3', args: ['-vn', '-c:a', 'libmp3lame'], soundOnly: true },
  { name: 'sound.ogg', args: ['-vn', '-c:a', 'libopus'], soundOnly: true }
]
const SECONDS = 20

describe('a packaged film in Chromium', { skip, timeout: 300_000 }, () => {
  let system: PlayableCluster
  let window: BrowserWindow
  let folder: string
  let filmPath: string

  let site: Server

  before(async () => {
    site = createServer((request, response) => {
      const script = { '/hls.js': HLS_JS, '/dash.js': DASH_JS }[request.url!]
      response.setHeader('Content-Type', script === undefined ? 'text/html' : 'text/javascript')
      if (script === undefined) response.end(PAGE)
      else createReadStream(script).pipe(response)
    })
    await new Promise<void>(done => site.listen(0, '127.0.0.1', done))
    folder = await mkdtemp(join(tmpdir(), 'tributary-packaged-'))
    system = await startPlayableCluster()
    filmPath = (await makeFilm({ seconds: 60, kind: 'index-at-end' })).path
    await store('film.mp4', filmPath)
    for (const { name, args } of FILMS) {
      const path = join(folder, name)
      const inputs = [
        '-f',
        'lavfi',
        '-i',
        `testsrc2=size=320x180:rate=24:duration=${SECONDS}`,
        '-f',
        'lavfi',
        '-i',
        `sine=frequency=440:sample_rate=48000:duration=${SECONDS}`
      ]
      await run('ffmpeg', ['-v', 'error', '-nostdin', '-y', ...inputs, '-pix_fmt', 'yuv420p', ...args, path])
      await store(name, path)
    }
    window = await openChromium()
  })
  after(async () => {
    await window?.close()
    site?.close()
    site?.closeAllConnections()
    await system?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  const store = (file: string, path: string): Promise<unknown> =>
    system.client.upload(path, { key: { application: 'media', user: 'public', file } })

  /** A page of somebody else's: its scripts may read what the gateway gives to every site. */
  async function open(file: string, way: 'hls' | 'dash'): Promise<VideoElement> {
    const { page } = window
    await page.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`)
    await page.addScriptTag({ url: way === 'hls' ? '/hls.js' : '/dash.js' })
    const name = way === 'hls' ? 'master.m3u8' : 'manifest.mpd'
    await page.evaluate(
      ([address, how]) => {
        const scope = globalThis as any
        const video = scope.document.querySelector('video')
        scope.troubles = []
        if (how === 'hls') {
          const hls = new scope.Hls({ debug: false })
          hls.on(scope.Hls.Events.ERROR, (_: unknown, data: any) =>
            scope.troubles.push(`${data.type} ${data.details} ${data.error?.message ?? ''}`)
          )
          hls.loadSource(address)
          hls.attachMedia(video)
          scope.hls = hls
        } else {
          const player = scope.dashjs.MediaPlayer().create()
          player.on('error', (event: any) => scope.troubles.push(JSON.stringify(event.error)))
          player.initialize(video, address, false)
        }
      },
      [`${system.url}/${way}/media/public/${file}/${name}`, way] as const
    )
    const video = new VideoElement(page.locator('video'))
    await video
      .until(({ duration }) => duration > 1, 'knew its duration')
      .catch(async error => {
        throw new Error([...(await troubles()), ...window.troubles].join('\n'), { cause: error })
      })
    await video.play()
    return video
  }
  const troubles = (): Promise<string[]> => window.page.evaluate(() => (globalThis as any).troubles)

  for (const way of ['hls', 'dash'] as const) {
    it(`plays, seeks there and back, and shows the right picture (${way})`, async () => {
      const video = await open('film.mp4', way)
      const { duration, videoWidth } = await video.until(
        ({ currentTime, frames }) => currentTime > 1 && frames > 20,
        'began'
      )
      ok(Math.abs(duration - 60) < 0.1, `${duration}`)
      equal(videoWidth, 1280)
      await video.seek(45.5)
      await video.until(({ currentTime }) => currentTime > 46, 'reached 46 s')
      await video.seek(12)
      await video.until(({ currentTime }) => currentTime > 12.5 && currentTime < 20, 'went back to 12 s')
      await video.untilPlayedOn(2)
      const shown = await video.pictureAt(31.5)
      const expected = join(folder, 'expected.png')
      await run('ffmpeg', ['-v', 'error', '-y', '-ss', '31.5', '-i', filmPath, '-frames:v', '1', expected])
      const off = difference(shown, await pictureOf(expected))
      ok(off < SAME_MAX, `the picture differs by ${off}`)
      deepEqual(await troubles(), [])
    })

    for (const { name, soundOnly } of FILMS) {
      // Chromium's MediaSource has no MP3 in MP4, which is what DASH has: HLS gives it bare.
      if (way === 'dash' && name === 'sound.mp3') continue
      it(`plays ${name} (${way})`, async () => {
        const video = await open(name, way)
        const still = name === 'late-picture.mp4'
        const { currentTime: began } = await video.until(
          ({ currentTime, frames }) => currentTime > 1 && (soundOnly === true || frames > (still ? 0 : 10)),
          'began'
        )
        ok(began < 6, `it began at ${began} s`)
        await video.seek(SECONDS - 4)
        await video.until(({ currentTime }) => currentTime > SECONDS - 2, 'came near its end')
        deepEqual(await troubles(), [])
      })
    }
  }
})
