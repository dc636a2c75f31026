/** A queue of uploads that outlives its browser: files that were dropped or picked need not be chosen again. */
import { deepEqual, equal } from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { mkdir, mkdtemp, rm, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import type { Locator, Page } from 'playwright-core'
import { overflow, seriousViolations } from '../testkit/accessibility.ts'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { photograph } from '../testkit/screenshot.ts'
import { missingPrograms } from '../testkit/service.ts'
import { until } from '../testkit/tributary-process.ts'

const skip = missingPrograms(['chromium'])
const MB = 1_000_000
const WITHIN_MS = 60_000
const SLOW_BYTES_PER_S = 2 * MB

describe('a queue of uploads whose browser is closed', { skip, timeout: 170_000 }, () => {
  let system: PlayableCluster
  let folder: string
  let window: BrowserWindow
  let page: Page

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-again-'))
    system = await startPlayableCluster()
    // What "allow on every visit" in the browser's question leaves behind: no test can press that button.
    await mkdir(join(folder, 'profile', 'Default'), { recursive: true })
    const exceptions = { file_system_access_extended_permission: { [`${system.url},*`]: { setting: 1 } } }
    await writeFile(
      join(folder, 'profile', 'Default', 'Preferences'),
      JSON.stringify({ profile: { content_settings: { exceptions } } })
    )
  })
  afterEach(() => window.close())
  after(async () => {
    await system?.stop()
    if (folder) await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  })

  const open = async (): Promise<void> => {
    window = await openChromium({ profile: join(folder, 'profile') })
    page = window.page
  }
  const row = (name: string): Locator => page.locator('.upload-list li').filter({ hasText: name })
  const makeFile = async (name: string, megabytes: number): Promise<{ path: string; hash: string }> => {
    const path = join(folder, name)
    const content = randomFillSync(Buffer.alloc(megabytes * MB))
    await writeFile(path, content)
    return { path, hash: createHash('sha256').update(content).digest('hex') }
  }
  /** As from a file manager. */
  const drop = async (paths: string[], uploadThroughput = SLOW_BYTES_PER_S): Promise<void> => {
    const cdp = await window.context.newCDPSession(page)
    await cdp.send('Network.enable')
    const conditions = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput }
    await cdp.send('Network.emulateNetworkConditions', conditions)
    const data = { items: [], files: paths, dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
      await cdp.send('Input.dispatchDragEvent', { type, x: 400, y: 400, data })
  }
  const untilBegun = (name: string): Promise<unknown> =>
    until(`a part of ${name} is there`, WITHIN_MS, async () => {
      const done = await row(name).locator('progress').getAttribute('value')
      return Number(done) > 0.1
    })
  const untilStored = (name: string): Promise<void> =>
    page
      .locator('#film-list li')
      .filter({ hasText: name.replace(/\..*/, '') })
      .waitFor({ timeout: WITHIN_MS })
  const hashOf = async (name: string): Promise<string> => {
    const { films } = (await (await fetch(`${system.url}/api/v1/films`)).json()) as {
      films: { name: string; links: { file: string } }[]
    }
    const content = await (
      await fetch(system.url + films.find(film => film.name === name)!.links.file)
    ).bytes()
    return createHash('sha256').update(content).digest('hex')
  }
  const keptCount = (): Promise<number> =>
    page.evaluate(
      () =>
        new Promise<number>(resolve => {
          const request = (globalThis as any).indexedDB.open('tributary', 1)
          request.onsuccess = () => {
            const count = request.result.transaction('files').objectStore('files').count()
            count.onsuccess = () => resolve(count.result as number)
          }
        })
    )

  it('goes on after one click, with what was begun and with what was not', async () => {
    const files = {
      'one.bin': await makeFile('one.bin', 20),
      'two.bin': await makeFile('two.bin', 20),
      'three.bin': await makeFile('three.bin', 2)
    }
    await open()
    await page.goto(system.url)
    await page.getByText('Nothing is stored here yet').waitFor()
    await drop(Object.values(files).map(({ path }) => path))
    await untilBegun('one.bin')
    await row('three.bin').getByText('waiting').waitFor()
    equal(await keptCount(), 3)
    // Another page leaves to this one what it is about.
    const other = await window.context.newPage()
    await other.goto(system.url)
    await other.getByText('Nothing is stored here yet').waitFor()
    await other.waitForTimeout(500)
    equal(await other.locator('.upload-list li').count(), 0)
    await window.close()

    await open()
    await page.goto(system.url)
    for (const name of Object.keys(files)) await row(name).getByText('go on where it was').waitFor()
    await page.waitForTimeout(250)
    deepEqual(await seriousViolations(page), [])
    await photograph(page, 'upload-kept')
    await page.setViewportSize({ width: 360, height: 740 })
    equal(await overflow(page), 0)
    await photograph(page, 'upload-kept-phone')
    await page.getByRole('button', { name: 'Go on', exact: true }).click()
    for (const name of Object.keys(files)) await untilStored(name)
    for (const [name, { hash }] of Object.entries(files)) equal(await hashOf(name), hash, name)
    await until('nothing is kept', WITHIN_MS, async () => (await keptCount()) === 0)
  })

  it('asks whether it may read the files, and takes no for an answer', async () => {
    const { path, hash } = await makeFile('asked.bin', 10)
    await open()
    await page.goto(system.url)
    await page.locator('#film-list li').first().waitFor()
    await drop([path])
    await untilBegun('asked.bin')
    await window.close()

    await open()
    // The browser's own question cannot be answered from here: what somebody would answer stands in for it.
    await page.addInitScript(() => {
      const here = globalThis as any
      const handle = here.FileSystemHandle.prototype
      handle.queryPermission = async () => (here.answer === 'granted' ? 'granted' : 'prompt')
      handle.requestPermission = async () => {
        if (!here.navigator.userActivation.isActive) throw new Error('nobody has clicked')
        return here.answer
      }
      here.answer = 'denied'
    })
    await page.goto(system.url)
    await page.getByRole('button', { name: 'Go on', exact: true }).click()
    await row('asked.bin').getByText('the browser may not read the file; choose it again').waitFor()
    await photograph(page, 'upload-not-permitted')
    await page.reload()
    await page.evaluate(() => ((globalThis as any).answer = 'granted'))
    await row('asked.bin').getByRole('button', { name: 'Go on with the upload of asked.bin' }).click()
    await untilStored('asked.bin')
    equal(await hashOf('asked.bin'), hash)
  })

  it('asks for a file that is no longer where it was', async () => {
    const { path } = await makeFile('gone.bin', 10)
    await open()
    await page.goto(system.url)
    await page.locator('#film-list li').first().waitFor()
    await drop([path])
    await untilBegun('gone.bin')
    page.once('dialog', dialog => void dialog.accept())
    await page.reload()
    await unlink(path)
    await page.getByRole('button', { name: 'Go on', exact: true }).click()
    await row('gone.bin').getByText('the file is not where it was; choose it again').waitFor()
    equal(await row('gone.bin').locator('input[type=file]').count(), 1)
    await row('gone.bin').getByRole('button', { name: 'Cancel the upload of gone.bin' }).click()
    await until('nothing is kept', WITHIN_MS, async () => (await keptCount()) === 0)
  })

  it('keeps what was picked in the dialog whose files can be found again', async () => {
    const { path, hash } = await makeFile('picked.bin', 5)
    await open()
    await page.goto(system.url)
    await page.locator('#film-list li').first().waitFor()
    // Its dialog cannot be used from here: it gives the file that was dropped a moment before.
    await page.evaluate(() => {
      const here = globalThis as any
      here.addEventListener(
        'drop',
        (event: any) => {
          event.preventDefault()
          event.stopImmediatePropagation()
          const handle = event.dataTransfer.items[0].getAsFileSystemHandle()
          here.showOpenFilePicker = async () => [await handle]
          here.document.title = 'caught'
        },
        { capture: true, once: true }
      )
    })
    await drop([path], MB)
    await page.waitForFunction(() => (globalThis as any).document.title === 'caught')
    await page.getByRole('button', { name: 'Upload', exact: true }).click()
    await untilBegun('picked.bin')
    equal(await keptCount(), 1)
    await untilStored('picked.bin')
    equal(await hashOf('picked.bin'), hash)
    await page.evaluate(() => {
      const here = globalThis as any
      here.showOpenFilePicker = () => Promise.reject(new here.DOMException('closed', 'AbortError'))
    })
    await page.getByRole('button', { name: 'Upload', exact: true }).click()
    equal(await page.locator('.upload-list li').filter({ hasText: 'failed' }).count(), 0)
  })
})
