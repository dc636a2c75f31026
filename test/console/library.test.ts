import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Locator, Page } from 'playwright-core'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { makeFilm } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { overflow } from '../testkit/accessibility.ts'
import { difference, liveliness, pictureOf } from '../testkit/picture.ts'
import { missingPrograms } from '../testkit/service.ts'
import { photograph } from '../testkit/screenshot.ts'
import { VideoElement } from '../testkit/video-element.ts'

const run = promisify(execFile)
const skip = missingPrograms(['ffmpeg', 'chromium'])

/** Between the film's picture and the screen's lie a scaler and two colour conversions. */
const SAME_MAX = 14
const ODD_NAME = `<b onclick="x">ünï & 'q' 50% #1 ?.mp4`

describe('the library of the console', { skip, timeout: 170_000 }, () => {
  let system: PlayableCluster
  let folder: string
  let window: BrowserWindow
  let page: Page
  let film: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-page-'))
    film = (await makeFilm({ dir: folder })).path
    system = await startPlayableCluster()
    window = await openChromium()
    page = window.page
    await window.context.grantPermissions(['clipboard-read', 'clipboard-write'])
    await page.goto(system.url)
  })
  after(async () => {
    await window?.close()
    await system?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  // What a test that failed left open stands in nobody's way.
  afterEach(async () => {
    if (page.url() !== `${system.url}/` || (await page.getByRole('dialog').count()) > 0)
      await page.goto(system.url)
  })

  const row = (name: string): Locator => page.locator('#film-list li').filter({ hasText: titleOf(name) })
  const choose = (path: string): Promise<void> => page.locator('#choose').setInputFiles(path)
  /** Something from the menu of a film. */
  const act = async (name: string, action: string): Promise<void> => {
    await row(name)
      .getByRole('button', { name: `Actions for ${titleOf(name)}` })
      .click()
    await page.getByRole('menuitem', { name: action }).click()
  }
  const play = async (name: string): Promise<VideoElement> => {
    await page.getByRole('link', { name: `Play ${titleOf(name)}` }).click()
    return new VideoElement(page.locator('#stage video'))
  }
  const closePlayer = async (): Promise<void> => {
    await page.getByRole('link', { name: 'Library', exact: true }).click()
    await page.locator('#stage').waitFor({ state: 'detached' })
    await page.locator('#film-list li').first().waitFor()
  }

  it('tells a newcomer what to do', async () => {
    await page.getByText('Nothing is stored here yet').waitFor()
    await page.getByRole('button', { name: 'Upload' }).waitFor()
    await photograph(page, 'library-empty')
  })

  it('takes a film and lists it', async () => {
    await choose(film)
    await row(basename(film)).waitFor()
    const { size } = await stat(film)
    const facts = new RegExp(`${(size / 1e6).toFixed(1)} MB · Video MP4`)
    await row(basename(film)).getByText(facts).waitFor()
    await photograph(page, 'library-listed')
  })

  it('takes a dropped one, whatever its name', async () => {
    const { path } = await makeFilm({ seconds: 6, kind: 'bframes' })
    const dropped = await page.evaluateHandle(
      ([base64, name]) => {
        const here = globalThis as any
        const bytes = Uint8Array.from(here.atob(base64), (letter: any) => letter.charCodeAt(0))
        const transfer = new here.DataTransfer()
        transfer.items.add(new here.File([bytes], name, { type: 'video/mp4' }))
        return transfer
      },
      [(await readFile(path)).toString('base64'), ODD_NAME] as const
    )
    for (const event of ['dragenter', 'dragover']) {
      await page.locator('#content').dispatchEvent(event, { dataTransfer: dropped })
    }
    await photograph(page, 'library-dragging')
    await page.locator('#content').dispatchEvent('drop', { dataTransfer: dropped })
    await row(ODD_NAME).waitFor()
    equal(await page.locator('#film-list b').count(), 0)
    const video = await play(ODD_NAME)
    await video.untilPlayedOn(0.5)
    await closePlayer()
  })

  it('plays it, and shows the picture of 42 s after a seek', async () => {
    const video = await play(basename(film))
    await video.untilPlayedOn(0.5)
    deepEqual([(await video.state()).videoWidth, (await video.state()).videoHeight], [1280, 720])
    await video.seek(42)
    await video.until(({ currentTime }) => currentTime > 42.5, 'went on after 42 s')
    await photograph(page, 'library-playing')
    await showPictureAlone(page)
    const shown = await video.pictureAt(42.01)
    ok(liveliness(shown) > 40, 'there is a picture')
    const same = difference(shown, await pictureOf(film, 42))
    const other = difference(shown, await pictureOf(film, 39))
    ok(same < SAME_MAX && same < other, `it is the one of 42 s (${same}; another one: ${other})`)
    await closePlayer()
  })

  it('plays on and seeks while each storage server is killed in turn', async () => {
    await page.reload()
    const video = await play(basename(film))
    await video.untilPlayedOn(0.5)
    for (const [index, seekTo] of [42, 15].entries()) {
      const member = system.members[index]!
      await member.kill()
      await video.untilPlayedOn(0.7)
      await video.seek(seekTo)
      await video.until(({ currentTime }) => currentTime > seekTo + 0.5, `went on after ${seekTo} s`)
      await video.pause() // a start may take longer than what is left of the film
      await member.start()
      await video.play()
    }
    await closePlayer()
  })

  it('copies the link that plays', async () => {
    const copied = (): Promise<string> =>
      page.evaluate(() => (globalThis as any).navigator.clipboard.readText() as Promise<string>)
    await act(basename(film), 'Copy link')
    await page.getByText('Link copied').waitFor()
    const link = await copied()
    ok(link.startsWith(`${system.url}/watch/media/public/`), link)
    await page.goto(link)
    await new VideoElement(page.locator('#stage video')).untilPlayedOn(0.3)
    await page.getByRole('button', { name: 'Copy', exact: true }).click()
    await page.getByText('Link copied').waitFor()
    await photograph(page, 'library-copied')
    const direct = await copied()
    ok(direct.startsWith(`${system.url}/files/media/public/`), direct)
    const answer = await fetch(direct, { headers: { Range: 'bytes=4-7' } })
    equal(answer.status, 206)
    equal(await answer.text(), 'ftyp')
    await closePlayer()
  })

  it('saves a file under its name', async () => {
    const saving = page.waitForEvent('download')
    await act(basename(film), 'Download')
    const download = await saving
    equal(download.suggestedFilename(), basename(film))
    ok((await readFile(await download.path())).equals(await readFile(film)))
  })

  const UNPLAYABLE: [what: string, file: string, encoder: string, words: RegExp][] = [
    ['MPEG-2 in AVI', 'old.avi', '-c:v mpeg2video -c:a mp2', /cannot play this file.*AVI.*VLC and mpv/s],
    [
      'MPEG-2 in MKV',
      'tape.mkv',
      '-c:v mpeg2video -c:a ac3',
      /cannot play this file.*Matroska.*VLC and mpv/s
    ],
    [
      'HEVC in MP4, without sound',
      'silent.mp4',
      '-an -c:v libx265 -x265-params log-level=none -tag:v hvc1',
      /cannot play this file.*HEVC.*VLC and mpv/s
    ],
    [
      'HEVC in MP4, with sound',
      'phone.mp4',
      '-c:a aac -c:v libx265 -x265-params log-level=none -tag:v hvc1',
      /cannot.*picture.*HEVC|cannot play this file.*HEVC/s
    ]
  ]
  for (const [what, file, encoder, words] of UNPLAYABLE) {
    it(`says in words why it cannot play ${what}`, async () => {
      const path = join(folder, file)
      const source = '-f lavfi -i testsrc2=size=320x180:rate=25 -f lavfi -i sine=frequency=440 -t 2'
      await run('ffmpeg', `-v error -nostdin -y ${source} ${encoder} ${path}`.split(' '))
      await choose(path)
      await row(file).waitFor()
      await page.getByRole('link', { name: `Play ${titleOf(file)}` }).click()
      const reason = page.locator('#reason')
      await reason.waitFor()
      match(await reason.innerText(), words)
      await photograph(page, `library-reason-${file}`)
      await closePlayer()
    })
  }

  it('shows how an upload gets on, and leaves nothing of one that is cancelled', async () => {
    const session = await window.context.newCDPSession(page)
    await session.send('Network.enable')
    const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 3_000_000 }
    await session.send('Network.emulateNetworkConditions', slow)
    const path = join(folder, 'cancelled.mp4')
    await run('cp', [film, path])
    const before = await stored(system)
    await choose(path)
    const upload = page.locator('.upload-list li').filter({ hasText: 'cancelled.mp4' })
    const megabytes = ((await stat(film)).size / 1e6).toFixed(1)
    await upload.getByText(new RegExp(`MB of ${megabytes} MB · .*/s · .* left`)).waitFor()
    const facts = await upload.innerText()
    const value = Number(
      await upload
        .locator('progress')
        .getAttribute('value')
        .catch(() => '0')
    )
    ok(value >= 0 && value < 1, facts)
    await photograph(page, 'library-uploading')
    await upload.getByRole('button', { name: 'Cancel the upload of cancelled.mp4' }).click()
    await upload.getByText('cancelled', { exact: true }).waitFor()
    await session.send('Network.emulateNetworkConditions', { ...slow, uploadThroughput: -1 })
    await session.detach()
    await sleep(500)
    deepEqual(await stored(system), before)
    await page.getByRole('button', { name: 'Clear finished' }).click()
    equal(await page.locator('#uploads').isVisible(), false)
  })

  it('clears away what is stored, and keeps what failed', async () => {
    const path = join(folder, 'short.mp4')
    await run('cp', [(await makeFilm({ seconds: 6, kind: 'bframes' })).path, path])
    await choose(path)
    const upload = page.locator('.upload-list li').filter({ hasText: 'short.mp4' })
    await upload.getByText('stored').waitFor()
    await upload.waitFor({ state: 'detached' })
    await row('short.mp4').waitFor()
  })

  it('plays a film by its name, too', async () => {
    await row('short.mp4').getByText('short', { exact: true }).click()
    await new VideoElement(page.locator('#stage video')).untilPlayedOn(0.2)
    await closePlayer()
  })

  it('fits a phone, dark and light, without scrolling sideways', async () => {
    for (const colorScheme of ['dark', 'light'] as const) {
      await page.emulateMedia({ colorScheme })
      for (const width of [360, 768, 1280]) {
        await page.setViewportSize({ width, height: 780 })
        await page.reload()
        await row(ODD_NAME).waitFor()
        equal(await overflow(page), 0, `${width} px`)
        await photograph(page, `library-list-${colorScheme}-${width}`)
        const video = await play(ODD_NAME)
        await video.untilPlayedOn(0.2)
        equal(await overflow(page), 0, `${width} px, playing`)
        await photograph(page, `library-player-${colorScheme}-${width}`)
        await closePlayer()
      }
    }
    await page.setViewportSize({ width: 1280, height: 900 })
  })

  it('is searched, sorted and filtered, by an address that can be kept', async () => {
    const titles = (): Promise<string[]> => page.locator('#film-list h3').allInnerTexts()
    const shows = (...wanted: string[]): Promise<void> =>
      until(async () => JSON.stringify(await titles()) === JSON.stringify(wanted), wanted.join(', '))
    // Slow enough that it is asked for after each letter: whoever types goes on typing.
    await page.getByRole('searchbox').pressSequentially('pho', { delay: 400 })
    await shows('phone')
    ok(page.url().endsWith('/?q=pho'), page.url())
    await page.reload()
    await shows('phone')
    equal(await page.getByRole('searchbox').inputValue(), 'pho')
    await page.getByRole('searchbox').fill('nothing like it')
    await page.getByText('No film matches').waitFor()
    await photograph(page, 'library-nothing-found')
    await page.getByRole('button', { name: 'Clear filters' }).click()
    await page.getByLabel('Sort').selectOption('title')
    await until(async () => {
      const all = await titles()
      return (
        all.length > 4 &&
        all.indexOf('old') < all.indexOf('phone') &&
        all.indexOf('phone') < all.indexOf('tape')
      )
    }, 'is sorted by title')
    await page.getByRole('button', { name: 'Audio' }).click()
    await page.getByText('No film matches').waitFor()
    await page.getByRole('button', { name: 'All', exact: true }).click()
    await page.getByLabel('Application').fill('media')
    await page.getByLabel('Application').press('Enter')
    await page.getByLabel('User').fill('nobody')
    await page.getByLabel('User').press('Enter')
    await page.getByText('No film matches').waitFor()
    await page.getByRole('button', { name: 'Clear filters' }).first().click()
    await row(ODD_NAME).waitFor()
    await page.getByRole('button', { name: 'List', exact: true }).click()
    await page.locator('#film-list.as-list').waitFor()
    await photograph(page, 'library-list')
    await page.getByRole('button', { name: 'Posters' }).click()
  })

  it('gives a film another title', async () => {
    await act('tape', 'Rename')
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Title').fill('<i>A tape</i> of ’85')
    await photograph(page, 'library-rename')
    await dialog.getByRole('button', { name: 'Save' }).click()
    await row('<i>A tape</i> of ’85').waitFor()
    equal(await page.locator('#film-list i').count(), 0)
    await page.reload()
    await row('<i>A tape</i> of ’85').waitFor()
  })

  it('tells all about a film', async () => {
    await act('phone', 'Details')
    const dialog = page.getByRole('dialog')
    await dialog.getByText('phone.mp4').first().waitFor()
    await photograph(page, 'library-details')
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'detached' })
  })

  it('deletes into the trash, undoes it at once, and restores later', async () => {
    const url = await contentOf(system, ODD_NAME)
    await act(ODD_NAME, 'Delete')
    await row(ODD_NAME).waitFor({ state: 'detached' })
    await photograph(page, 'library-trashed')
    equal((await fetch(url, { method: 'HEAD' })).status, 404)
    await page.getByRole('button', { name: 'Undo' }).click()
    await row(ODD_NAME).waitFor()
    equal((await fetch(url, { method: 'HEAD' })).status, 200)
    await act(ODD_NAME, 'Delete')
    await row(ODD_NAME).waitFor({ state: 'detached' })
    await page.getByRole('link', { name: 'Trash' }).click()
    const trashed = page.locator('#trash-list li').filter({ hasText: titleOf(ODD_NAME) })
    await trashed.getByText(/goes for good in 6 days/).waitFor()
    equal(await page.locator('#trash-list b').count(), 0)
    await photograph(page, 'trash')
    await trashed.getByRole('button', { name: `Restore ${titleOf(ODD_NAME)}` }).click()
    await trashed.waitFor({ state: 'detached' })
    await page.getByRole('link', { name: 'Library', exact: true }).click()
    await row(ODD_NAME).waitFor()
    equal((await fetch(url, { method: 'HEAD' })).status, 200)
  })

  it('deletes for good, after asking, and empties the trash', async () => {
    const url = await contentOf(system, ODD_NAME)
    for (const name of [ODD_NAME, 'old', 'silent']) {
      await act(name, 'Delete')
      await row(name).waitFor({ state: 'detached' })
    }
    await page.getByRole('link', { name: 'Trash' }).click()
    const trashed = page.locator('#trash-list li').filter({ hasText: titleOf(ODD_NAME) })
    const ask = (): Promise<void> =>
      trashed.getByRole('button', { name: `Delete ${titleOf(ODD_NAME)} for good` }).click()
    await ask()
    await photograph(page, 'trash-confirm')
    await page.getByRole('dialog').getByRole('button', { name: 'Keep' }).click()
    equal(await page.locator('#trash-list li').count(), 3)
    await ask()
    await page.getByRole('dialog').getByRole('button', { name: 'Delete for good' }).click()
    await trashed.waitFor({ state: 'detached' })
    equal((await fetch(url, { method: 'HEAD' })).status, 404)
    await page.getByRole('button', { name: 'Empty the trash' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Empty the trash' }).click()
    await page.getByText('The trash is empty.').waitFor()
    await page.getByRole('link', { name: 'Library', exact: true }).click()
    await row(basename(film)).waitFor()
    for (const name of [ODD_NAME, 'old', 'silent']) equal(await row(name).count(), 0)
  })

  it('has met no error in its console and no request that failed', () => {
    // What was cancelled, and what a page was about to read when it was left.
    const dropped = /^net::ERR_ABORTED: (PATCH .*\/uploads\/.*|(GET|POST) .*\/api\/v1\/.*|GET .*\/hls\/.*)$/
    // What cannot be packaged is asked for in segments first, and refused.
    const refused = /(^415: .*\/hls\/|status of 415)/
    deepEqual(
      window.troubles.filter(text => !dropped.test(text) && !refused.test(text)),
      []
    )
  })
})

interface Listing {
  files: { url: string; name: string; file: string }[]
}

async function stored(system: PlayableCluster): Promise<Listing> {
  return (await (await fetch(`${system.url}/files/media/public`)).json()) as Listing
}

/** As the library calls a file that nobody has given a title. */
function titleOf(name: string): string {
  return name.replace(/\.(mp4|mkv|avi)$/, '')
}

async function contentOf(system: PlayableCluster, name: string): Promise<string> {
  const { files } = await stored(system)
  return system.url + files.find(entry => entry.name === name)!.url
}

/** Without the controls over it, and the black beside it. */
async function showPictureAlone(page: Page): Promise<void> {
  // What was just stored is still told.
  await until(async () => (await page.locator('.tray, .saying').count()) === 0, 'nothing more is told')
  await page.locator('#stage').evaluate(element => {
    const stage = element as any
    for (const bar of stage.querySelectorAll('media-control-bar')) bar.style.display = 'none'
    stage.style.height = `${(stage.clientWidth * 9) / 16}px`
  })
}

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + 15_000
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`never: ${what}`)
    await sleep(100)
  }
}
