import { deepEqual, equal, ok } from 'node:assert/strict'
import { openAsBlob } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { makeFilm, type FilmKind } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { difference, liveliness, pictureOf } from '../testkit/picture.ts'
import { missingPrograms } from '../testkit/service.ts'
import { VideoElement } from '../testkit/video-element.ts'

const skip = missingPrograms(['ffmpeg', 'chromium'])

/** Between the film's picture and the screen's lie a scaler and two colour conversions. */
const SAME_MAX = 14

const FILMS: { kind: FilmKind; seconds: number }[] = [
  { kind: 'faststart', seconds: 60 },
  { kind: 'index-at-end', seconds: 60 },
  { kind: 'bframes', seconds: 6 },
  { kind: 'vfr', seconds: 6 }
]

describe("a film's link opened in Chromium", { skip, timeout: 150_000 }, () => {
  let system: PlayableCluster
  let window: BrowserWindow
  const paths = new Map<FilmKind, string>()

  before(async () => {
    system = await startPlayableCluster()
    for (const { kind, seconds } of FILMS) {
      const { path } = await makeFilm({ kind, seconds })
      paths.set(kind, path)
      const answer = await fetch(system.urlOf(kind), { method: 'PUT', body: await openAsBlob(path) })
      equal(answer.status, 201)
    }
    window = await openChromium()
  })
  after(async () => {
    await window?.close()
    await system?.stop()
  })

  let opened = 0
  const open = async (kind: FilmKind): Promise<VideoElement> => {
    // Each time as if for the first time: nothing comes from the browser's cache.
    await window.page.goto(`${system.urlOf(kind)}?${opened++}`, { waitUntil: 'commit' })
    const video = new VideoElement(window.page.locator('video'))
    await video.until(({ currentTime, frames }) => currentTime > 0.3 && frames > 5, 'began')
    return video
  }

  for (const { kind, seconds } of FILMS) {
    const seekTo = seconds === 60 ? 42 : 4
    it(`plays, and shows the picture of ${seekTo} s after a seek: ${kind}`, async () => {
      const video = await open(kind)
      const { videoWidth, videoHeight, duration } = await video.state()
      deepEqual([videoWidth, videoHeight], [1280, 720])
      ok(Math.abs(duration - seconds) < 0.2, `${duration}`)
      await video.seek(seekTo)
      const { currentTime } = await video.until(state => state.currentTime >= seekTo, `reached ${seekTo} s`)
      ok(currentTime < seekTo + 2)
      await video.untilPlayedOn(0.7)
      const shown = await video.pictureAt(seekTo + 0.01)
      ok(liveliness(shown) > 40, 'there is a picture')
      const same = difference(shown, await pictureOf(paths.get(kind)!, seekTo))
      const other = difference(shown, await pictureOf(paths.get(kind)!, seekTo - 3))
      ok(same < SAME_MAX && same < other, `it is the one of ${seekTo} s (${same}; another one: ${other})`)
    })
  }

  it('jumps there and back many times', async () => {
    const video = await open('index-at-end')
    for (const second of [55, 2, 30, 58, 10, 45]) {
      await video.seek(second)
      await video.until(({ currentTime }) => currentTime > second + 0.2, `went on after ${second} s`)
    }
  })

  it('plays on and seeks while each storage server is killed in turn', async () => {
    const video = await open('faststart')
    for (const [index, seekTo] of [42, 15].entries()) {
      const member = system.members[index]!
      await member.kill()
      await video.untilPlayedOn(1)
      const before = system.requests.length
      await video.seek(seekTo)
      await video.until(({ currentTime }) => currentTime > seekTo + 0.5, `went on after ${seekTo} s`)
      if (index === 0) ok(system.requests.length > before, 'the seek reached the server')
      await video.pause() // a start may take longer than what is left of the film
      await member.start()
      await video.play()
    }
  })

  it('leaves no error behind', () => {
    // The media viewer is Chromium's own page; it asks for an icon of the site.
    deepEqual(
      window.troubles.filter(text => !text.includes('favicon')),
      []
    )
  })
})
