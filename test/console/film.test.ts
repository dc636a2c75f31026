/** What the console says of one film: its length, everywhere the same, and how often and how far it was played. */
import { deepEqual, equal } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { openAsBlob } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import type { Locator, Page } from 'playwright-core'
import { overflow, seriousViolations } from '../testkit/accessibility.ts'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { photograph } from '../testkit/screenshot.ts'
import { missingPrograms } from '../testkit/service.ts'
import { until } from '../testkit/tributary-process.ts'
import { RunningUp } from '../testkit/up.ts'
import { VideoElement } from '../testkit/video-element.ts'

const run = promisify(execFile)
const skip = missingPrograms(['ffmpeg', 'chromium'])
const WITHIN_MS = 60_000

describe('a film in the console', { skip, timeout: 170_000 }, () => {
  let up: RunningUp
  let window: BrowserWindow
  let page: Page

  before(async () => {
    up = await RunningUp.start({ flags: ['--storages', '1'], worker: true })
    // 2999 pictures: a fiftieth of a second less than a minute.
    const film = join(up.folder, 'minute.mp4')
    await run(
      'ffmpeg',
      `-v error -nostdin -y -f lavfi -i testsrc2=size=64x36:rate=50 -frames:v 2999 -c:v libx264 -preset ultrafast -g 100 ${film}`.split(
        ' '
      )
    )
    const answer = await fetch(`${up.urlOf('public', 'minute')}?name=Minute.mp4`, {
      method: 'PUT',
      headers: { 'content-type': 'video/mp4' },
      body: await openAsBlob(film)
    })
    equal(answer.status, 201)
    window = await openChromium()
    page = window.page
  })
  after(async () => {
    await window?.close()
    await up?.close()
  })

  const details = async (): Promise<Locator> => {
    await page.getByRole('button', { name: 'Actions for Minute' }).click()
    await page.getByRole('menuitem', { name: 'Details' }).click()
    return page.getByRole('dialog')
  }

  it('is as long in the library as in its details, on its page and in the player', async () => {
    await until('its facts are known', WITHIN_MS, async () => {
      const answer = await fetch(`${up.httpUrl}/api/v1/films/media/public/minute`)
      return ((await answer.json()) as { film: { durationS: number | null } }).film.durationS !== null
    })
    await page.goto(up.httpUrl)
    const badge = page.locator('#film-list .badge')
    await badge.waitFor()
    equal(await badge.innerText(), '1:00')
    const dialog = await details()
    const length = dialog.locator('dl div').filter({ hasText: 'Length' }).locator('dd')
    equal(await length.innerText(), '1:00')
    await dialog.getByText('Nobody has played it yet.').waitFor()
    await page.keyboard.press('Escape')
    await page.goto(`${up.httpUrl}/watch/media/public/minute`)
    const video = new VideoElement(page.locator('#stage video'))
    await video.untilPlayedOn(0.3)
    await page.locator('.watch-about .facts').filter({ hasText: '1:00' }).waitFor()
    const clock = page.locator('.player .clock')
    await clock.filter({ hasText: '0:01 / 1:00' }).waitFor()
    await page.locator('#stage').hover()
    await photograph(page, 'player-clock')
    await video.seek(58.5)
    await clock.filter({ hasText: '1:00 / 1:00' }).waitFor()
  })

  it('tells how often it was played, and how far', async () => {
    const { generation } = (
      (await (await fetch(`${up.httpUrl}/api/v1/films/media/public/minute`)).json()) as {
        film: { generation: string }
      }
    ).film
    const tell = async (position: number, more: object): Promise<void> => {
      const answer = await fetch(`${up.httpUrl}/api/v1/plays`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          application: 'media',
          user: 'public',
          file: 'minute',
          generation,
          playedS: 20,
          position,
          ...more
        })
      })
      equal(answer.status, 204)
    }
    for (const end of [0.2, 0.2, 0.5, 0.5, 0.7, 1]) await tell(end, { started: true })
    await page.goto(up.httpUrl)
    let dialog = await details()
    const plays = dialog.locator('.plays')
    // The one that watched the seconds before is among them.
    await plays.getByText('played 7 times · 7 in the last 30 days').waitFor()
    const bars = await plays.locator('.reached li').allInnerTexts()
    equal(bars.length, 11)
    deepEqual(
      [bars[0], bars[5], bars[9]].map(text => text!.replaceAll(/\s/g, '')),
      ['0%:7', '50%:5', '90%:2']
    )
    await page.waitForTimeout(250)
    deepEqual(await seriousViolations(page), [])
    await photograph(page, 'details-plays')
    await page.setViewportSize({ width: 360, height: 740 })
    await plays.scrollIntoViewIfNeeded()
    equal(await overflow(page), 0)
    await photograph(page, 'details-plays-phone')
    await page.evaluate(() => (globalThis as any).localStorage.setItem('tributary-language', 'zh'))
    await page.emulateMedia({ colorScheme: 'dark' })
    await page.reload()
    await page.getByRole('button', { name: 'Minute 的操作' }).click()
    await page.getByRole('menuitem', { name: '详细信息' }).click()
    dialog = page.getByRole('dialog')
    await dialog.getByText('播放 7 次').waitFor()
    await page.waitForTimeout(250)
    deepEqual(await seriousViolations(page), [])
    await dialog.locator('.plays').scrollIntoViewIfNeeded()
    await photograph(page, 'details-plays-phone-zh')
  })
})
