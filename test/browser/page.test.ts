import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Locator, Page } from 'playwright-core'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { makeFilm } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { difference, liveliness, pictureOf } from '../testkit/picture.ts'
import { missingPrograms } from '../testkit/service.ts'
import { VideoElement } from '../testkit/video-element.ts'

const run = promisify(execFile)
const skip = missingPrograms(['ffmpeg', 'chromium'])

/** Between the film's picture and the screen's lie a scaler and two colour conversions. */
const SAME_MAX = 14
const ODD_NAME = `<b onclick="x">ünï & 'q' 50% #1 ?.mp4`

describe('the page', { skip, timeout: 170_000 }, () => {
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
  afterEach(() =>
    page.evaluate(() => {
      for (const dialog of (globalThis as any).document.querySelectorAll('dialog[open]')) dialog.close()
    })
  )

  const row = (name: string): Locator => page.locator('#file-list li').filter({ hasText: name })
  const choose = (path: string): Promise<void> => page.locator('#choose').setInputFiles(path)
  const play = async (name: string): Promise<VideoElement> => {
    await page.getByRole('button', { name: `Play ${name}` }).click()
    return new VideoElement(page.locator('#player video'))
  }
  const closePlayer = async (): Promise<void> => {
    await page.locator('#player').getByRole('button', { name: 'Close' }).click()
    await page.locator('#player').waitFor({ state: 'hidden' })
  }

  it('tells a newcomer what to do', async () => {
    await page.getByText('Nothing is stored here yet').waitFor()
    await page.getByRole('button', { name: 'Choose files' }).waitFor()
    await photograph(page, 'empty')
  })

  it('takes a film and lists it', async () => {
    await choose(film)
    await row(basename(film)).waitFor()
    const { size } = await stat(film)
    match(await row(basename(film)).innerText(), new RegExp(`${(size / 1e6).toFixed(1)} MB · Video MP4`))
    await photograph(page, 'listed')
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
      await page.locator('#drop').dispatchEvent(event, { dataTransfer: dropped })
    }
    await photograph(page, 'dragging')
    await page.locator('#drop').dispatchEvent('drop', { dataTransfer: dropped })
    await row(ODD_NAME).waitFor()
    equal(await page.locator('#file-list b').count(), 0)
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
    await photograph(page, 'playing')
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
    await page.getByRole('button', { name: `Copy the link of ${basename(film)}` }).click()
    await page.locator('#said').filter({ hasText: 'Link copied' }).waitFor()
    const link = await copied()
    ok(link.startsWith(`${system.url}/files/media/public/`), link)
    const answer = await fetch(link, { headers: { Range: 'bytes=4-7' } })
    equal(answer.status, 206)
    equal(await answer.text(), 'ftyp')
    await play(ODD_NAME)
    await page.locator('#player').getByRole('button', { name: 'Copy link' }).click()
    await page.getByText('Link copied').waitFor()
    await photograph(page, 'copied')
    ok(await inTopLayer(page.locator('#said')), 'the player does not cover what is told')
    const other = await copied()
    ok(other !== link)
    equal((await fetch(other, { method: 'HEAD' })).status, 200)
    await closePlayer()
  })

  it('saves a file under its name', async () => {
    const saving = page.waitForEvent('download')
    await page.getByRole('link', { name: `Download ${basename(film)}` }).click()
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
      await page.getByRole('button', { name: `Play ${file}` }).click()
      const reason = page.locator('#reason')
      await reason.waitFor()
      match(await reason.innerText(), words)
      await photograph(page, `reason-${file}`)
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
    const upload = page.locator('#upload-list li').filter({ hasText: 'cancelled.mp4' })
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
    await photograph(page, 'uploading')
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
    const upload = page.locator('#upload-list li').filter({ hasText: 'short.mp4' })
    await upload.getByText('stored').waitFor()
    await upload.waitFor({ state: 'detached' })
    await row('short.mp4').waitFor()
  })

  it('plays a film by its name, too', async () => {
    await row('short.mp4').getByText('short.mp4').click()
    await new VideoElement(page.locator('#player video')).untilPlayedOn(0.2)
    await closePlayer()
  })

  it('asks for the write token where there is one, once, and forgets what is cancelled meanwhile', async () => {
    const tokenPath = join(folder, 'token')
    await writeFile(tokenPath, 'sesame-sesame-sesame\n', { mode: 0o600 })
    const url = await system.openGateway({ 'write-token-file': tokenPath })
    const other = await window.context.newPage()
    try {
      await other.goto(url)
      const files = ['one.mp4', 'two.mp4', 'three.mp4'].map(name => join(folder, name))
      for (const path of files) await run('cp', [join(folder, 'short.mp4'), path])
      await other.locator('#choose').setInputFiles(files)
      const dialog = other.locator('#token')
      await dialog.waitFor()
      await other.evaluate(() => {
        const rows = [...(globalThis as any).document.querySelectorAll('#upload-list li')]
        for (const row of rows.slice(1)) row.querySelector('button').click() // a screen reader can, behind a dialog
      })
      await dialog.getByLabel('Token').fill('wrong-wrong-wrong-wrong')
      await dialog.getByRole('button', { name: 'Continue' }).click()
      await dialog.getByText('That was not the token.').waitFor()
      await photograph(other, 'token')
      await dialog.getByLabel('Token').fill('sesame-sesame-sesame')
      await dialog.getByRole('button', { name: 'Continue' }).click()
      await other.locator('#file-list li').filter({ hasText: 'one.mp4' }).waitFor()
      await sleep(500)
      const names = (await stored(system)).files.map(({ name }) => name)
      deepEqual(
        ['one.mp4', 'two.mp4', 'three.mp4'].filter(name => names.includes(name)),
        ['one.mp4']
      )
    } finally {
      await other.close()
    }
  })

  it('fits a phone, dark and light, without scrolling sideways', async () => {
    for (const colorScheme of ['dark', 'light'] as const) {
      await page.emulateMedia({ colorScheme })
      for (const width of [360, 768, 1280]) {
        await page.setViewportSize({ width, height: 780 })
        await page.reload()
        await row(ODD_NAME).waitFor()
        equal(await overflow(page), 0, `${width} px`)
        await photograph(page, `list-${colorScheme}-${width}`)
        const video = await play(ODD_NAME)
        await video.untilPlayedOn(0.2)
        equal(await overflow(page), 0, `${width} px, playing`)
        await photograph(page, `player-${colorScheme}-${width}`)
        await closePlayer()
      }
    }
    await page.setViewportSize({ width: 1280, height: 900 })
  })

  it('deletes for good, after asking', async () => {
    const { files } = await stored(system)
    const { url } = files.find(entry => entry.name === ODD_NAME)!
    const ask = (): Promise<void> =>
      row(ODD_NAME)
        .getByRole('button', { name: /^Delete/ })
        .click()
    await ask()
    await photograph(page, 'confirm')
    await page.locator('#confirm').getByRole('button', { name: 'Keep' }).click()
    equal((await fetch(system.url + url, { method: 'HEAD' })).status, 200)
    await ask()
    await page.locator('#confirm').getByRole('button', { name: 'Delete' }).click()
    await row(ODD_NAME).waitFor({ state: 'detached' })
    equal((await fetch(system.url + url, { method: 'HEAD' })).status, 404)
    await page.reload()
    await row(basename(film)).waitFor()
    equal(await row(ODD_NAME).count(), 0)
  })

  it('has met no error in its console and no request that failed', () => {
    const cancelled = /^net::ERR_ABORTED: POST .*name=cancelled\.mp4$/
    deepEqual(
      window.troubles.filter(text => !cancelled.test(text)),
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

/** How much of the page lies beyond the window's right edge. */
function overflow(page: Page): Promise<number> {
  return page.evaluate(() => {
    const root = (globalThis as any).document.documentElement
    return Math.max(0, root.scrollWidth - root.clientWidth) as number
  })
}

/** Shown above open dialogs, which lie above everything else. */
function inTopLayer(locator: Locator): Promise<boolean> {
  return locator.evaluate(element => (element as any).matches(':popover-open, dialog[open] *') as boolean)
}

/** For people who want to see: TRIBUTARY_SCREENSHOTS names a folder for the pictures. */
async function photograph(page: Page, name: string): Promise<void> {
  const folder = process.env['TRIBUTARY_SCREENSHOTS']
  if (folder) await page.screenshot({ path: join(folder, `${name}.png`) })
}
