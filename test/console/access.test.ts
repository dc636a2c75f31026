/** The console with a lock on the door: log-in, tokens, private films, links that expire. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { readFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
const WRITE_TOKEN = 'sesame-sesame-sesame'
const FILM = '/watch/media/public/secret'

describe('the console behind a lock', { skip, timeout: 170_000 }, () => {
  let system: PlayableCluster
  let url: string
  let folder: string
  let filmPath: string
  /** Of the administrator. */
  let window: BrowserWindow
  let page: Page
  /** Of somebody who has no token. */
  let visitor: BrowserWindow

  const api = (method: string, path: string, body?: unknown): Promise<Response> =>
    fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${WRITE_TOKEN}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) })
    })

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-access-'))
    const tokenPath = join(folder, 'token')
    await writeFile(tokenPath, `${WRITE_TOKEN}\n`, { mode: 0o600 })
    system = await startPlayableCluster()
    url = await system.openGateway({ 'write-token-file': tokenPath })
    filmPath = (await makeFilm({ seconds: 6, kind: 'bframes' })).path
    const put = await fetch(`${url}/files/media/public/secret?name=Secret.mp4`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${WRITE_TOKEN}`, 'content-type': 'video/mp4' },
      body: await readFile(filmPath)
    })
    equal(put.status, 201)
    window = await openChromium()
    page = window.page
    await window.context.grantPermissions(['clipboard-read', 'clipboard-write'])
    visitor = await openChromium({ width: 360, height: 740, hasTouch: true })
  })
  after(async () => {
    await window?.close()
    await visitor?.close()
    await system?.stop()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  const logIn = async (on: Page, token: string): Promise<void> => {
    await on.getByLabel('Token', { exact: true }).fill(token)
    await on.getByRole('button', { name: 'Log in' }).click()
  }

  it('asks for a token where something is to be changed, and goes on with it', async () => {
    await page.goto(url)
    await page.locator('#film-list li').first().waitFor()
    await page.goto(`${url}/login`)
    await logIn(page, 'wrong-wrong-wrong-wrong')
    await page.getByText('This token is not valid').waitFor()
    deepEqual(await seriousViolations(page), [])
    await photograph(page, 'login-wrong')
    await logIn(page, WRITE_TOKEN)
    await page.getByRole('heading', { name: 'Library' }).waitFor()
    const [cookie] = await window.context.cookies()
    deepEqual([cookie!.httpOnly, cookie!.sameSite], [true, 'Strict'])
    ok(!cookie!.value.includes(WRITE_TOKEN))
    await page.locator('#choose').setInputFiles(filmPath)
    await page.locator('#film-list li').nth(1).waitFor()
  })

  it('asks in the middle of an upload, once, when the session has ended', async () => {
    await window.context.clearCookies()
    await page.locator('#choose').setInputFiles([filmPath, join(folder, 'token')])
    const dialog = page.getByRole('dialog')
    await dialog.waitFor()
    await photograph(page, 'login-dialog')
    await logIn(page, WRITE_TOKEN)
    await dialog.waitFor({ state: 'detached' })
    await page.locator('#film-list li').nth(3).waitFor()
  })

  it('makes a token that works, shown once, and revokes it', async () => {
    await page.reload()
    await page.getByRole('link', { name: 'Access' }).click()
    await page.getByRole('button', { name: 'New token' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('What it is for').fill('Anna’s phone')
    await dialog.getByLabel('Upload and change').check()
    await dialog.getByLabel('Application').fill('media')
    await dialog.getByLabel('User').fill('anna')
    deepEqual(await seriousViolations(page), [])
    await photograph(page, 'token-new')
    await dialog.getByRole('button', { name: 'Make the token' }).click()
    const secret = await dialog.getByLabel('Token', { exact: true }).inputValue()
    await photograph(page, 'token-made')
    const write = (user: string): Promise<Response> =>
      fetch(`${url}/files/media/${user}/by-token`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${secret}` },
        body: 'content'
      })
    equal((await write('anna')).status, 201)
    equal((await write('public')).status, 403)
    await dialog.getByRole('button', { name: 'Done' }).click()
    const row = page.locator('#token-list li').filter({ hasText: 'Anna’s phone' })
    match(await row.innerText(), /Watch, Upload and change · anna in media/)
    ok(!(await page.content()).includes(secret))
    await photograph(page, 'access')
    equal(await overflow(page), 0)
    deepEqual(await seriousViolations(page), [])
    await row.getByRole('button', { name: 'Revoke Anna’s phone' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click()
    await row.waitFor({ state: 'detached' })
    equal((await write('anna')).status, 401)
  })

  it('plays a private film to nobody without its signature, and with it to whoever has it', async () => {
    equal((await api('PATCH', '/api/v1/applications/media', { reads: 'signed' })).status, 200)
    const on = visitor.page
    await on.goto(url + FILM)
    await on.getByText('This film is private').waitFor()
    await photograph(on, 'private')
    ok(!(await (await fetch(url + FILM)).text()).includes('Secret'), 'its page tells nobody its name')
    const signed = (await (
      await api('POST', '/api/v1/films/media/public/secret/signature', { expiresInS: 600 })
    ).json()) as { watch: string }
    await on.goto(url + signed.watch)
    await new VideoElement(on.locator('#stage video')).untilPlayedOn(0.5)
    await on.getByRole('heading', { name: 'Secret' }).waitFor()
    await photograph(on, 'signed-phone')
    equal(await overflow(on), 0)
    const forged = signed.watch.replace(/.$/, last => (last === 'A' ? 'B' : 'A'))
    await on.goto(url + forged)
    await on.getByText('This film is private').waitFor()
    await on.goto(`${url}/`)
    await on.getByLabel('Token', { exact: true }).waitFor()
  })

  it('shares it by a link with a password, which ends when it is withdrawn', async () => {
    await page.goto(url)
    const film = page.locator('#film-list li').filter({ hasText: 'Secret' })
    await film.getByRole('button', { name: 'Actions for Secret' }).click()
    await page.getByRole('menuitem', { name: 'Share' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Valid for').selectOption({ label: 'One day' })
    await dialog.getByLabel('Password, if you want one').fill('open, please')
    await dialog.getByRole('button', { name: 'Make the link' }).click()
    const link = await dialog.getByLabel('Expiring link').inputValue()
    await dialog.getByText('The link works until').first().waitFor()
    deepEqual(await seriousViolations(page), [])
    await photograph(page, 'share-made')
    const on = visitor.page
    await on.goto(link)
    await on.getByText('This film is protected by a password').waitFor()
    deepEqual(await seriousViolations(on), [])
    await photograph(on, 'share-password')
    await on.getByLabel('Password').fill('sesame')
    await on.getByRole('button', { name: 'Watch' }).click()
    await on.getByText('That was not the password').waitFor()
    await on.getByLabel('Password').fill('open, please')
    await on.getByRole('button', { name: 'Watch' }).click()
    await new VideoElement(on.locator('#stage video')).untilPlayedOn(0.5)
    await dialog.getByRole('button', { name: 'Withdraw this link' }).click()
    await dialog.getByRole('button', { name: 'Withdraw this link' }).waitFor({ state: 'detached' })
    await on.goto(link)
    await on.getByText('This link has expired or was withdrawn').waitFor()
    await photograph(on, 'share-over')
    await page.keyboard.press('Escape')
  })

  it('logs out', async () => {
    await page.goto(url)
    await page.getByRole('button', { name: 'Settings' }).click()
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.getByLabel('Token', { exact: true }).waitFor()
    deepEqual(
      (await window.context.cookies()).map(({ value }) => value),
      []
    )
    equal((await fetch(`${url}/api/v1/films`)).status, 401)
  })
})
