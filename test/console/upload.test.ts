/** Uploads from the console that cannot fail: paused, cut off, with the page and the gateway gone in the middle. */
import { equal, match, ok } from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, open, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CDPSession, Locator, Page } from 'playwright-core'
import { seriousViolations } from '../testkit/accessibility.ts'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { startSmallCluster, type RoleServer } from '../testkit/role-processes.ts'
import { photograph } from '../testkit/screenshot.ts'
import { missingPrograms } from '../testkit/service.ts'

const skip = missingPrograms(['chromium'])
const MB = 1_000_000
const LARGE_MB = 300
/** Slow enough that something can happen in between. */
const SLOW_BYTES_PER_S = 40 * MB

describe('uploads from the console', { skip, timeout: 280_000 }, () => {
  let folder: string
  const closers: (() => unknown)[] = []
  let gateway: RoleServer
  let window: BrowserWindow
  let page: Page
  let url: string
  let cdp: CDPSession | undefined

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-console-upload-'))
    const cluster = await startSmallCluster(folder, undo => closers.push(undo), ['member1', 'member2'])
    gateway = await cluster.start('gateway', 'gateway', { trackers: [cluster.tracker.address] })
    url = `http://${gateway.address}`
    window = await openChromium()
    page = window.page
    await page.goto(url)
    await page.getByText('Nothing is stored here yet').waitFor()
  })
  after(async () => {
    await window?.close()
    for (const close of closers.reverse()) await close()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  const row = (name: string): Locator => page.locator('.upload-list li').filter({ hasText: name })
  const shareOf = async (name: string): Promise<number> =>
    Number(await row(name).locator('progress').getAttribute('value'))
  const untilShare = async (name: string, share: number): Promise<void> => {
    const endMs = performance.now() + 60_000
    while ((await shareOf(name).catch(() => 0)) < share) {
      if (performance.now() > endMs)
        throw new Error(`${name} never reached ${share}: ${await row(name).innerText()}`)
      await sleep(50)
    }
  }
  const connection = async (uploadThroughput: number, offline = false): Promise<void> => {
    cdp ??= await window.context.newCDPSession(page)
    await cdp.send('Network.enable')
    const conditions = { offline, latency: 0, downloadThroughput: -1, uploadThroughput }
    await cdp.send('Network.emulateNetworkConditions', conditions)
  }
  /** What is stored under a name, by its hash. */
  const storedHash = async (name: string): Promise<string> => {
    const { films } = (await (await fetch(`${url}/api/v1/films`)).json()) as {
      films: { name: string; links: { file: string } }[]
    }
    const film = films.find(film => film.name === name)
    ok(film, `${name} is stored`)
    const hash = createHash('sha256')
    for await (const chunk of (await fetch(url + film.links.file)).body!) hash.update(chunk)
    return hash.digest('hex')
  }

  it('are paused and go on where they were', async () => {
    const { path, hash } = await makeFile(folder, 'paused.bin', 40)
    await connection(8 * MB)
    await page.locator('#choose').setInputFiles(path)
    await untilShare('paused.bin', 0.2)
    await row('paused.bin').getByRole('button', { name: 'Pause the upload of paused.bin' }).click()
    await row('paused.bin').getByText('· paused').waitFor()
    const before = await shareOf('paused.bin')
    await photograph(page, 'upload-paused')
    await sleep(1_500)
    equal(await shareOf('paused.bin'), before)
    await row('paused.bin').getByRole('button', { name: 'Go on with the upload of paused.bin' }).click()
    await untilShare('paused.bin', before)
    await connection(-1)
    await page.locator('#film-list li').filter({ hasText: 'paused' }).waitFor({ timeout: 60_000 })
    equal(await storedHash('paused.bin'), hash)
  })

  it('wait for a connection that is gone, and go on by themselves', async () => {
    const { path, hash } = await makeFile(folder, 'offline.bin', 40)
    await connection(8 * MB)
    await page.locator('#choose').setInputFiles(path)
    await untilShare('offline.bin', 0.2)
    await connection(-1, true)
    await row('offline.bin').getByText('it goes on by itself').waitFor()
    await photograph(page, 'upload-offline')
    await connection(-1)
    await page.locator('#film-list li').filter({ hasText: 'offline' }).waitFor({ timeout: 60_000 })
    equal(await storedHash('offline.bin'), hash)
  })

  it(`bring ${LARGE_MB} MB home with the gateway killed in the middle and the page reloaded`, async () => {
    const { path, hash } = await makeFile(folder, 'large.mp4', LARGE_MB)
    await connection(SLOW_BYTES_PER_S)
    await page.locator('#choose').setInputFiles(path)
    await untilShare('large.mp4', 0.2)
    await gateway.kill()
    await row('large.mp4').getByText('it goes on by itself').waitFor()
    await gateway.start()
    await untilShare('large.mp4', 0.45)
    page.once('dialog', dialog => void dialog.accept()) // it asks whether to leave
    await page.reload()
    await row('large.mp4').getByText('interrupted: choose the same file again').waitFor()
    const kept = await shareOf('large.mp4')
    ok(kept > 0.2, `${kept} of it is there still`)
    await photograph(page, 'upload-interrupted')
    const serious = await seriousViolations(page)
    equal(serious.join('\n'), '')
    const other = await makeFile(folder, 'other.mp4', 1)
    const chooser = row('large.mp4').getByLabel('Go on with the upload of large.mp4')
    await chooser.setInputFiles(other.path)
    await row('large.mp4').getByText('that is another file').waitFor()
    await chooser.setInputFiles(path)
    await untilShare('large.mp4', kept)
    await connection(-1)
    await page.locator('#film-list li').filter({ hasText: 'large' }).waitFor({ timeout: 120_000 })
    equal(await storedHash('large.mp4'), hash)
    await page.reload()
    await page.locator('#film-list li').first().waitFor()
    equal(await page.locator('.upload-list li').count(), 0)
  })

  it('are forgotten by the server when they are cancelled, also at a later visit', async () => {
    const { path } = await makeFile(folder, 'cancelled.bin', 40)
    await connection(8 * MB)
    await page.locator('#choose').setInputFiles(path)
    await untilShare('cancelled.bin', 0.2)
    page.once('dialog', dialog => void dialog.accept())
    await page.reload()
    await row('cancelled.bin').getByText('interrupted').waitFor()
    const address = await page.evaluate(
      () => JSON.parse((globalThis as any).localStorage.getItem('tributary-uploads'))[0].url as string
    )
    match(address, /\/uploads\//)
    const ask = async (): Promise<number> =>
      (await fetch(new URL(address, url), { method: 'HEAD', headers: { 'tus-resumable': '1.0.0' } })).status
    equal(await ask(), 200)
    await row('cancelled.bin').getByRole('button', { name: 'Cancel the upload of cancelled.bin' }).click()
    await row('cancelled.bin').getByText('cancelled', { exact: true }).waitFor()
    const endMs = performance.now() + 10_000
    while ((await ask()) === 200 && performance.now() < endMs) await sleep(100)
    ok([404, 410].includes(await ask()))
    await page.reload()
    await page.locator('#film-list li').first().waitFor()
    equal(await page.locator('.upload-list li').count(), 0)
  })
})

/** A file that no two places of are alike, with a time that stays. */
async function makeFile(
  folder: string,
  name: string,
  megabytes: number
): Promise<{ path: string; hash: string }> {
  const path = join(folder, name)
  await writeFile(path, '')
  const file = await open(path, 'w')
  const piece = Buffer.alloc(MB)
  for (let written = 0; written < megabytes; written++) await file.write(randomFillSync(piece))
  await file.close()
  await utimes(path, 1_700_000_000, 1_700_000_000)
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return { path, hash: hash.digest('hex') }
}
