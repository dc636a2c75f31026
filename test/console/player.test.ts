/** A film on its own page: streamed, with qualities, sound tracks, subtitles and pictures for the seek bar, by keys, on a phone. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { openAsBlob } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import type { Page } from 'playwright-core'
import { overflow, seriousViolations } from '../testkit/accessibility.ts'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { difference, liveliness, pictureOf } from '../testkit/picture.ts'
import { photograph } from '../testkit/screenshot.ts'
import { missingPrograms } from '../testkit/service.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'
import { RunningUp } from '../testkit/up.ts'
import { VideoElement } from '../testkit/video-element.ts'

const run = promisify(execFile)
const skip = missingPrograms(['ffmpeg', 'chromium'])
const SECONDS = 30
/**
 * How far the screen's picture may be from the film's, compared with another picture of it: between them lie a scaler and two colour
 * conversions, which small films without a word about their colours go through in different ways.
 */
const SAME_SHARE_MAX = 0.75
const WITHIN_MS = 60_000

describe('the player of the console', { skip, timeout: 280_000 }, () => {
  let up: RunningUp
  let worker: TributaryProcess
  let window: BrowserWindow
  let page: Page
  let film: string
  let address: string
  /** Paths that were asked for since the page was opened. */
  let asked: string[] = []

  before(async () => {
    up = await RunningUp.start({ flags: ['--storages', '1'] })
    // Renditions are made where somebody asked for them.
    worker = new TributaryProcess(
      [
        ...'worker --name renditions --poll-s 0.2 --profiles 180p:180:200:64 --preset ultrafast'.split(' '),
        '--trackers',
        up.trackers[0]!,
        '--temp-folder',
        join(up.folder, 'temp')
      ],
      { folder: up.folder }
    )
    film = join(up.folder, 'film.mp4')
    await run('ffmpeg', [
      ...'-v error -nostdin -y'.split(' '),
      ...`-f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine=frequency=440 -f lavfi -i sine=frequency=880`.split(
        ' '
      ),
      ...`-map 0 -map 1 -map 2 -t ${SECONDS} -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50 -keyint_min 50`.split(
        ' '
      ),
      ...'-sc_threshold 0 -c:a aac -b:a 64k -metadata:s:a:0 language=eng -metadata:s:a:1 language=zho'.split(
        ' '
      ),
      film
    ])
    await put('film', 'Waves.mp4', film, 'video/mp4')
    address = `${up.httpUrl}/watch/media/public/film`
    window = await openChromium()
    page = window.page
    page.on('request', request => asked.push(new URL(request.url()).pathname))
  })
  after(async () => {
    await window?.close()
    await worker?.stop()
    await up?.close()
  })

  const put = async (file: string, name: string, path: string, type: string): Promise<void> => {
    const url = `${up.urlOf('public', file)}?name=${encodeURIComponent(name)}`
    const answer = await fetch(url, {
      method: 'PUT',
      headers: { 'content-type': type },
      body: await openAsBlob(path)
    })
    equal(answer.status, 201)
  }
  const watch = async (): Promise<VideoElement> => {
    // From the beginning, whatever was watched before; a page that is left still notes how far it was.
    await page.goto(up.httpUrl)
    await page.evaluate(() => (globalThis as any).localStorage.removeItem('tributary-positions'))
    asked = []
    await page.goto(address)
    const video = new VideoElement(page.locator('#stage video'))
    await video.untilPlayedOn(0.3)
    return video
  }
  /** Opens the menu of that name, chooses something in it, and closes it. */
  const choose = async (menu: string, item: string): Promise<void> => {
    const settings = page.locator('media-settings-menu')
    const button = page.locator('media-settings-menu-button')
    await page.locator('#stage').hover()
    await button.click()
    await settings.locator('media-settings-menu-item', { hasText: menu }).first().click()
    await page.locator('media-chrome-menu-item', { hasText: item }).filter({ visible: true }).first().click()
    // Some choices close the menu by themselves, others leave it open.
    await until('the menu is closed', WITHIN_MS, async () => {
      await page.waitForTimeout(400)
      if (await settings.isHidden()) return true
      await button.click()
      return false
    })
  }

  it('is waited for, while the page of jobs tells what is made', async () => {
    await page.goto(`${up.httpUrl}/jobs`)
    await page.locator('#job-list li').filter({ hasText: 'Poster' }).waitFor({ timeout: WITHIN_MS })
    const rendition = page.locator('#job-list li').filter({ hasText: 'Rendition 180p' })
    await rendition.waitFor({ timeout: WITHIN_MS })
    await photograph(page, 'jobs')
    deepEqual(await seriousViolations(page), [])
    equal(await overflow(page), 0)
    await rendition.getByText(/^done/).waitFor({ timeout: WITHIN_MS })
    await page
      .locator('#job-list li')
      .filter({ hasText: 'Preview pictures' })
      .getByText(/^done/)
      .waitFor({ timeout: WITHIN_MS })
    await page.goto(up.httpUrl)
    const poster = page.locator('#film-list img')
    await poster.waitFor()
    await until('the poster is shown', WITHIN_MS, () =>
      poster.evaluate(image => ((image as any).naturalWidth > 0) as boolean)
    )
    await page.getByText('0:30').waitFor()
    await photograph(page, 'library-posters')
  })

  it('streams it in segments, and shows the picture of 17 s after a seek', async () => {
    const video = await watch()
    ok(
      asked.some(path => path.endsWith('/master.m3u8')),
      asked.join('\n')
    )
    ok(!asked.some(path => path.startsWith('/files/')), 'nothing is read past the segments')
    const { duration } = await video.state()
    ok(Math.abs(duration - SECONDS) < 0.2, `${duration}`)
    await video.seek(17)
    await video.until(({ currentTime }) => currentTime > 17.5, 'went on after 17 s')
    await photograph(page, 'player')
    await choose('Quality', '360p')
    await video.until(({ videoHeight }) => videoHeight === 360, 'is sharp')
    await page.locator('#stage').evaluate(element => {
      const stage = element as any
      for (const bar of stage.querySelectorAll('media-control-bar, media-settings-menu'))
        bar.style.display = 'none'
      stage.style.height = `${(stage.clientWidth * 9) / 16}px`
    })
    const shown = await video.pictureAt(17.01)
    ok(liveliness(shown) > 40, 'there is a picture')
    const same = difference(shown, await pictureOf(film, 17))
    const other = difference(shown, await pictureOf(film, 14))
    ok(same < SAME_SHARE_MAX * other, `it is the one of 17 s (${same}; another one: ${other})`)
  })

  it('changes its quality, and goes back to what the line is good for', async () => {
    const video = await watch()
    await choose('Quality', '180p')
    await video.until(({ videoHeight }) => videoHeight === 180, 'has 180 lines')
    await video.untilPlayedOn(0.5)
    await photograph(page, 'player-180p')
    await choose('Quality', '360p')
    await video.until(({ videoHeight }) => videoHeight === 360, 'has 360 lines')
    await choose('Quality', 'Auto')
    await video.untilPlayedOn(0.5)
  })

  it('changes its sound', async () => {
    const video = await watch()
    const before = asked.filter(path => /\.m3u8$/.test(path)).length
    await choose('Audio', '中文')
    await until(
      'another sound is asked for',
      WITHIN_MS,
      async () => asked.filter(path => /\.m3u8$/.test(path)).length > before
    )
    await video.untilPlayedOn(1)
  })

  it('shows subtitles that were added to it', async () => {
    await page.goto(up.httpUrl)
    const subtitles = join(up.folder, 'Waves.zh.srt')
    await writeFile(
      subtitles,
      '1\n00:00:00,000 --> 00:00:25,000\n黎明的<i>大海</i><script>alert(1)</script>\n'
    )
    await page.getByRole('button', { name: 'Actions for Waves' }).click()
    await page.getByRole('menuitem', { name: 'Add subtitles' }).click()
    await page.getByLabel('File (.vtt or .srt)').setInputFiles(subtitles)
    equal(await page.getByLabel('Language of the subtitles').inputValue(), 'zh')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByText('The subtitles are added').waitFor()
    const video = await watch()
    await choose('Subtitles', '中文')
    const cue = (): Promise<string> =>
      video.locator.evaluate(element =>
        [...(element as any).textTracks]
          .filter(track => track.kind === 'subtitles' && track.mode === 'showing')
          .flatMap(track => [...(track.activeCues ?? [])])
          .map(one => one.text)
          .join()
      )
    await until('a line is shown', WITHIN_MS, async () => (await cue()).includes('黎明的'))
    await photograph(page, 'player-subtitles')
    await page.goto(up.httpUrl)
    await page.getByRole('button', { name: 'Actions for Waves' }).click()
    await page.getByRole('menuitem', { name: 'Details' }).click()
    await page.getByRole('dialog').getByText('640 × 360').waitFor()
    await photograph(page, 'details')
    await page.getByRole('dialog').getByRole('button', { name: 'Take 中文 away' }).click()
    await page
      .getByRole('dialog')
      .getByRole('button', { name: 'Take 中文 away' })
      .waitFor({ state: 'detached' })
    await page.keyboard.press('Escape')
  })

  it('shows where it would go, in pictures', async () => {
    const video = await watch()
    await video.pause()
    const bar = (await page.locator('media-time-range').boundingBox())!
    await page.mouse.move(bar.x + bar.width * 0.6, bar.y + bar.height / 2)
    const thumbnail = page.locator('media-preview-thumbnail').first()
    await until(
      'a picture is shown',
      WITHIN_MS,
      async () => ((await thumbnail.boundingBox())?.width ?? 0) > 50
    )
    await photograph(page, 'player-thumbnail')
    ok(asked.some(path => path.endsWith('/thumbnails.jpg')))
    await page.mouse.click(bar.x + bar.width * 0.6, bar.y + bar.height / 2)
    await video.until(({ currentTime }) => Math.abs(currentTime - 0.6 * SECONDS) < 1.5, 'went there')
  })

  it('obeys the keyboard, and changes its speed', async () => {
    const video = await watch()
    await page.keyboard.press('k')
    await until('it stands', WITHIN_MS, async () => (await video.state()).paused)
    const { currentTime } = await video.state()
    await page.keyboard.press('ArrowRight')
    await video.until(state => Math.abs(state.currentTime - currentTime - 10) < 1, 'went 10 s on')
    await page.keyboard.press('ArrowLeft')
    await video.until(state => Math.abs(state.currentTime - currentTime) < 1, 'went 10 s back')
    await page.keyboard.press('m')
    await until('it is silent', WITHIN_MS, () =>
      video.locator.evaluate(element => (element as any).muted as boolean)
    )
    await page.keyboard.press('k')
    await video.untilPlayedOn(0.3)
    await choose('Speed', '2x')
    equal(await video.locator.evaluate(element => (element as any).playbackRate as number), 2)
    deepEqual(await seriousViolations(page), [])
  })

  it('goes on where it was left, or from the start', async () => {
    let video = await watch()
    await video.seek(15)
    await video.until(({ currentTime }) => currentTime > 15.2, 'is past 15 s')
    await video.pause()
    await page.reload()
    video = new VideoElement(page.locator('#stage video'))
    await video.until(({ currentTime }) => currentTime >= 15, 'goes on')
    await page.getByText('Goes on at 0:15').waitFor()
    await photograph(page, 'player-resumed')
    await page.getByRole('button', { name: 'From the start' }).click()
    await video.until(({ currentTime }) => currentTime < 5, 'is at the beginning')
  })

  it('is counted, without anybody being known', async () => {
    const plays = async (): Promise<number> => {
      const answer = await fetch(`${up.httpUrl}/api/v1/films/media/public/film/plays`)
      return ((await answer.json()) as { starts: number }).starts
    }
    const video = await watch()
    await video.untilPlayedOn(2)
    await page.goto(up.httpUrl)
    await until('somebody has watched it', WITHIN_MS, async () => (await plays()) > 0)
  })

  it('plays sound that cannot be packaged as it was stored, and says so', async () => {
    const wave = join(up.folder, 'tone.wav')
    await run('ffmpeg', `-v error -nostdin -y -f lavfi -i sine=frequency=440 -t 5 ${wave}`.split(' '))
    await put('tone', 'Tone.wav', wave, 'audio/wav')
    await page.goto(`${up.httpUrl}/watch/media/public/tone`)
    const sound = page.locator('#stage audio')
    await until('it plays', WITHIN_MS, () =>
      sound.evaluate(element => ((element as any).currentTime > 0.3) as boolean)
    )
    await photograph(page, 'player-sound')
    ok(asked.some(path => path === '/files/media/public/tone'))
    deepEqual(await seriousViolations(page), [])
  })

  it('shows a poster that somebody chose', async () => {
    const picture = join(up.folder, 'poster.png')
    await run(
      'ffmpeg',
      `-v error -nostdin -y -f lavfi -i color=red:size=640x360 -frames:v 1 ${picture}`.split(' ')
    )
    await page.goto(up.httpUrl)
    const card = page.locator('#film-list li').filter({ hasText: 'Waves' })
    const before = await card.locator('img').getAttribute('src')
    await card.getByRole('button', { name: 'Actions for Waves' }).click()
    await page.getByRole('menuitem', { name: 'Replace poster' }).click()
    await page.getByLabel('Picture').setInputFiles(picture)
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByText('The poster is replaced').waitFor()
    await until(
      'another picture is shown',
      WITHIN_MS,
      async () => (await card.locator('img').getAttribute('src')) !== before
    )
    const answer = await fetch(up.httpUrl + (await card.locator('img').getAttribute('src'))!)
    match(answer.headers.get('content-type')!, /^image\//)
  })

  it('works on a phone, held either way', async () => {
    const phone = await openChromium({ width: 360, height: 740, hasTouch: true })
    try {
      await phone.page.goto(address)
      await new VideoElement(phone.page.locator('#stage video')).untilPlayedOn(0.5)
      await phone.page.touchscreen.tap(180, 150)
      await photograph(phone.page, 'player-phone')
      equal(await overflow(phone.page), 0)
      await phone.page.setViewportSize({ width: 740, height: 360 })
      await photograph(phone.page, 'player-phone-wide')
      equal(await overflow(phone.page), 0)
    } finally {
      await phone.close()
    }
  })

  it('has met no error in its console and no request that failed', () => {
    // What a page was about to read when it was left, and a stream that went elsewhere.
    const refused = /(415: .*\/hls\/media\/public\/tone\/master\.m3u8|status of 415)/
    const dropped =
      /^net::ERR_ABORTED: (GET|POST) .*(\/(api\/v1|hls|poster|thumbnails|subtitles)\/|\/about\.json$)/
    deepEqual(
      window.troubles.filter(text => !dropped.test(text) && !refused.test(text)),
      []
    )
  })
})
