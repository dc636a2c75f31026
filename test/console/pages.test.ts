/** Every page of the console, in both languages, light and dark, from a phone to a wall: it fits, and nobody is kept out. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, describe, it } from 'node:test'
import type { Page } from 'playwright-core'
import { overflow, seriousViolations } from '../testkit/accessibility.ts'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { makeFilm } from '../testkit/film.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { photograph } from '../testkit/screenshot.ts'
import { missingPrograms } from '../testkit/service.ts'
import { VideoElement } from '../testkit/video-element.ts'

const skip = missingPrograms(['ffmpeg', 'chromium'])

const LONG = 'The Sea and What Lives Beneath It, a Rather Long Title That Needs More Than One Line Anywhere'
const PAGES: Readonly<Record<string, string>> = {
  library: '/',
  watch: '/watch/media/public/sea',
  trash: '/trash',
  cluster: '/cluster',
  jobs: '/jobs',
  access: '/access',
  login: '/login',
  share: '/watch/media/public/sea?share=aaaaaaaaaaaaaaaa',
  nowhere: '/watch/media'
}
const SCREENS = [
  { name: 'phone', width: 360, height: 740 },
  { name: 'desktop', width: 1280, height: 800 },
  { name: 'wall', width: 3840, height: 2160 }
]

describe('the pages of the console', { skip, timeout: 280_000 }, () => {
  let system: PlayableCluster
  let window: BrowserWindow
  let page: Page

  before(async () => {
    system = await startPlayableCluster()
    const film = await readFile((await makeFilm({ seconds: 6, kind: 'bframes' })).path)
    const put = async (
      user: string,
      file: string,
      name: string,
      type: string,
      body: Buffer
    ): Promise<void> => {
      const url = `${system.url}/files/media/${user}/${encodeURIComponent(file)}?name=${encodeURIComponent(name)}`
      equal(
        (await fetch(url, { method: 'PUT', headers: { 'content-type': type }, body: new Uint8Array(body) }))
          .status,
        201
      )
    }
    await put('public', 'sea', `${LONG}.mp4`, 'video/mp4', film)
    await put('public', 'zh', '海边的一天，和一个很长很长的标题.mp4', 'video/mp4', film)
    await put('anna', 'notes', 'notes.txt', 'text/plain', Buffer.from('hello'))
    await put('anna', 'gone', 'gone.mp4', 'video/mp4', film)
    const gone = `${system.url}/api/v1/films/media/anna/gone`
    equal((await fetch(gone, { method: 'DELETE' })).status, 204)
    window = await openChromium()
    page = window.page
  })
  after(async () => {
    await window?.close()
    await system?.stop()
  })

  const settle = async (name: string): Promise<void> => {
    const marks: Readonly<Record<string, string>> = {
      library: '#film-list li',
      watch: '#stage video',
      trash: '#trash-list li',
      cluster: '.member'
    }
    await page
      .locator(marks[name] ?? 'main h1')
      .first()
      .waitFor()
    await page.waitForTimeout(name === 'cluster' ? 1_300 : 250)
  }

  for (const language of ['en', 'zh'] as const) {
    for (const look of ['light', 'dark'] as const) {
      it(`fit every screen and keep nobody out: ${language}, ${look}`, async () => {
        await page.emulateMedia({ colorScheme: look })
        await page.goto(system.url)
        await page.evaluate(
          chosen => (globalThis as any).localStorage.setItem('tributary-language', chosen),
          language
        )
        for (const { name: screen, width, height } of SCREENS) {
          await page.setViewportSize({ width, height })
          for (const [name, path] of Object.entries(PAGES)) {
            await page.goto(system.url + path)
            await settle(name)
            await photograph(page, `page-${name}-${screen}-${look}-${language}`)
            equal(await overflow(page), 0, `${name} at ${width} px`)
            if (screen !== 'wall') deepEqual(await seriousViolations(page), [], `${name} at ${width} px`)
          }
        }
      })
    }
  }

  it('change their language and colours at once, and remember it', async () => {
    await page.setViewportSize({ width: 1280, height: 800 })
    await page.goto(system.url)
    await page.getByRole('button', { name: '设置' }).click()
    await page.getByRole('radio', { name: 'English' }).check()
    await page.getByRole('heading', { name: 'Library' }).waitFor()
    await page.getByRole('radio', { name: 'Dark' }).check()
    const ground = (): Promise<string> =>
      page.evaluate(
        () => (globalThis as any).getComputedStyle((globalThis as any).document.body).backgroundColor
      )
    await page.emulateMedia({ colorScheme: 'light' })
    const dark = await ground()
    deepEqual(await seriousViolations(page), [])
    await photograph(page, 'settings')
    await page.reload()
    await page.getByRole('heading', { name: 'Library' }).waitFor()
    equal(await ground(), dark)
    equal(await page.evaluate(() => (globalThis as any).document.documentElement.lang), 'en')
    await page.getByRole('button', { name: 'Settings' }).click()
    await page.getByRole('radio', { name: 'As the system' }).check()
    ok((await ground()) !== dark)
  })

  it('are used by keys alone', async () => {
    await page.goto(system.url)
    await settle('library')
    await page.keyboard.press('Tab')
    equal(await focused(page), 'Skip to the content')
    const seen: string[] = []
    for (let step = 0; step < 40; step++) {
      await page.keyboard.press('Tab')
      const name = await focused(page)
      seen.push(name)
      if (name.startsWith('Actions for')) break
    }
    ok(seen.at(-1)!.startsWith('Actions for'), seen.join(' | '))
    ok(seen.includes('Upload') && seen.includes('Search by title'), seen.join(' | '))
    await page.keyboard.press('Enter')
    await page.getByRole('menu').waitFor()
    equal(await focused(page), 'Copy link')
    deepEqual(await seriousViolations(page), [])
    await photograph(page, 'menu')
    await page.keyboard.press('End')
    equal(await focused(page), 'Delete')
    await page.keyboard.press('ArrowDown')
    equal(await focused(page), 'Copy link')
    await page.keyboard.press('Escape')
    await page.getByRole('menu').waitFor({ state: 'detached' })
    equal(await focused(page), seen.at(-1))
  })

  it('name their dialogs, and give the focus back', async () => {
    await page.goto(system.url)
    await settle('library')
    for (const action of ['Details', 'Rename …', 'Share …', 'Replace poster …', 'Add subtitles …']) {
      await page.getByRole('button', { name: `Actions for ${LONG}` }).click()
      await page.getByRole('menuitem', { name: action }).click()
      const dialog = page.getByRole('dialog')
      await dialog.waitFor()
      await page.waitForTimeout(250)
      deepEqual(await seriousViolations(page), [], action)
      await photograph(page, `dialog-${action.split(' ')[0]!.toLowerCase()}`)
      await page.keyboard.press('Escape')
      await dialog.waitFor({ state: 'detached' })
      await page.waitForTimeout(100)
      equal(await focused(page), `Actions for ${LONG}`, action)
    }
  })

  it('show the cluster as it changes, and say what is wrong in words', async () => {
    await page.goto(`${system.url}/cluster`)
    await page.getByText('Everything is well.').waitFor()
    equal(await page.locator('.member').count(), 3)
    const member = system.members[0]!
    await member.kill()
    await page.getByText(/of the group group001 is silent/).waitFor({ timeout: 60_000 })
    await photograph(page, 'cluster-fault')
    deepEqual(await seriousViolations(page), [])
    await member.start()
    await page.getByText('Everything is well.').waitFor({ timeout: 60_000 })
  })

  it('play in a frame of another site, and nothing else does', async () => {
    const film = `${system.url}/embed/media/public/sea`
    await page.goto(film)
    await new VideoElement(page.locator('video')).untilPlayedOn(0.3)
    equal(await page.locator('header').count(), 0)
    await photograph(page, 'embed')
    const policy = (await fetch(film)).headers.get('content-security-policy')
    match(policy!, /frame-ancestors \*$/)
    match((await fetch(system.url)).headers.get('content-security-policy')!, /frame-ancestors 'none'$/)
  })
})

/** What a screen reader would call the element that has the focus. */
function focused(page: Page): Promise<string> {
  return page.evaluate(() => {
    const element = (globalThis as any).document.activeElement
    return String(element.getAttribute('aria-label') ?? element.textContent).trim()
  })
}
