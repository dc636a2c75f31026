/** The page of access: applications, quotas, webhooks and the audit log, for whom they are, on every screen. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Page } from 'playwright-core'
import { overflow, seriousViolations } from '../testkit/accessibility.ts'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { photograph } from '../testkit/screenshot.ts'
import { missingPrograms } from '../testkit/service.ts'

const skip = missingPrograms(['chromium'])
const WRITE_TOKEN = 'sesame-sesame-sesame'
const MB = 1_000_000
const DELIVERED_WITHIN_MS = 60_000
const TABS = ['tokens', 'applications', 'quotas', 'webhooks', 'audit']

describe('the page of access', { skip, timeout: 200_000 }, () => {
  let system: PlayableCluster
  let url: string
  let folder: string
  let window: BrowserWindow
  let page: Page
  let receiver: Server
  /** What the receiver answers. */
  let answers = 204

  const api = (method: string, path: string, body?: unknown): Promise<Response> =>
    fetch(`${url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${WRITE_TOKEN}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) })
    })
  const put = async (path: string, bytes: number): Promise<number> => {
    const answer = await fetch(`${url}/files/${path}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${WRITE_TOKEN}` },
      body: new Uint8Array(bytes)
    })
    return answer.status
  }
  const tokenFor = async (grants: object[]): Promise<string> => {
    const made = await api('POST', '/tokens', { name: 'of a test', grants })
    equal(made.status, 201)
    return ((await made.json()) as { secret: string }).secret
  }
  const logIn = async (on: Page, token: string): Promise<void> => {
    await on.goto(`${url}/login`)
    await on.getByLabel('Token', { exact: true }).fill(token)
    await on.getByRole('button', { name: 'Log in' }).click()
    await on.getByRole('heading', { name: 'Library' }).waitFor()
  }
  const open = (tab: string): Promise<unknown> => page.goto(`${url}/access?tab=${tab}`)
  const check = async (name: string): Promise<void> => {
    await page.waitForTimeout(250)
    equal(await overflow(page), 0, name)
    deepEqual(await seriousViolations(page), [], name)
    await photograph(page, name)
  }

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-rights-'))
    const tokenPath = join(folder, 'token')
    await writeFile(tokenPath, `${WRITE_TOKEN}\n`, { mode: 0o600 })
    receiver = createServer((request, response) => {
      request.resume().on('end', () => response.writeHead(answers).end())
    })
    receiver.listen(0, '127.0.0.1')
    await once(receiver, 'listening')
    system = await startPlayableCluster({ 'write-token-file': tokenPath, 'webhook-networks': 'loopback' })
    url = system.url
    equal(await put('media/anna/first', 3 * MB), 201)
    equal(await put('media/bert/second', 1 * MB), 201)
    window = await openChromium()
    page = window.page
    await logIn(page, WRITE_TOKEN)
  })
  after(async () => {
    await window?.close()
    await system?.stop()
    receiver?.close()
    receiver?.closeAllConnections()
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  it('keeps its part in the address, and the focus where it was', async () => {
    await page.getByRole('link', { name: 'Access' }).click()
    const tabs = page.getByRole('navigation', { name: 'Access' })
    deepEqual(await tabs.getByRole('link').allInnerTexts(), [
      'Tokens',
      'Applications',
      'Quotas',
      'Webhooks',
      'Audit'
    ])
    await tabs.getByRole('link', { name: 'Tokens' }).focus()
    await page.keyboard.press('Tab')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.locator('#quota-list').waitFor()
    match(page.url(), /\/access\?tab=quotas$/)
    equal(await tabs.locator(':focus').innerText(), 'Quotas')
    equal(await tabs.locator('[aria-current=page]').innerText(), 'Quotas')
    await page.reload()
    await page.locator('#quota-list').waitFor()
    await page.goBack()
    await page.getByRole('button', { name: 'New token' }).waitFor()
  })

  it('sets who may watch an application', async () => {
    await open('applications')
    await page.getByLabel('Who may watch: media').selectOption({ label: 'Whoever has a token' })
    await page.getByText('Saved').first().waitFor()
    equal((await fetch(`${url}/files/media/anna/first`)).status, 401)
    await page.getByLabel('Who may watch: media').selectOption({ label: 'Everybody' })
    await page.getByText('Saved').first().waitFor()
  })

  it('sets quotas that hold, shows how much of them is used, and removes them', async () => {
    await open('quotas')
    const row = page.locator('#quota-list li').filter({ hasText: 'media' })
    await row.getByText('4 MB, no bound').waitFor()
    await row.getByText('2, no bound').waitFor()
    await row.getByRole('button', { name: 'Change the quotas of media' }).click()
    const dialog = page.getByRole('dialog')
    const all = dialog.getByRole('group', { name: 'All together' })
    const each = dialog.getByRole('group', { name: 'Each user' })
    await all.getByLabel('Space', { exact: true }).fill('4.2')
    await all.getByLabel('Space: Unit').selectOption('MB')
    await each.getByLabel('Space', { exact: true }).fill('6')
    await each.getByLabel('Space: Unit').selectOption('MB')
    await each.getByLabel('Files').fill('2')
    await dialog.getByLabel('Requests a second').fill('500')
    await check('quota-dialog')
    await dialog.getByRole('button', { name: 'Save' }).click()
    await row.getByText('4 MB of 4.2 MB (95%)').waitFor()
    await row.getByText('each user: 6 MB, 2 files · 500 requests a second').waitFor()
    equal(await put('media/anna/more', MB), 507)
    await row.getByText('Users', { exact: true }).click()
    const users = row.locator('.quota-users li')
    await users.filter({ hasText: 'anna' }).getByText('3 MB of 6 MB (50%)').waitFor()
    await users.filter({ hasText: 'bert' }).getByText('1 of 2 (50%)').waitFor()
    await check('quotas')
    // As it was set it is shown when it is changed.
    await row.getByRole('button', { name: 'Change the quotas of media' }).click()
    equal(await all.getByLabel('Space', { exact: true }).inputValue(), '4.2')
    await page.keyboard.press('Escape')
    await row.getByRole('button', { name: 'Remove the quotas of media' }).click()
    await check('quota-remove')
    await dialog.getByRole('button', { name: 'Remove' }).click()
    await row.getByText('4 MB, no bound').waitFor()
    equal(await put('media/anna/more', MB), 201)
  })

  it('makes a webhook with a secret that is shown once, and tells how its deliveries went', async () => {
    await open('webhooks')
    await page.getByText('Nobody is told anything yet.').waitFor()
    await page.getByRole('button', { name: 'New webhook' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Address').fill('http://10.0.0.1/')
    await dialog.getByRole('button', { name: 'Make the webhook' }).click()
    await dialog.getByText('an address inside').waitFor()
    const address = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/films`
    await dialog.getByLabel('Address').fill(address)
    await dialog.getByLabel('a film is deleted').uncheck()
    await check('webhook-new')
    await dialog.getByRole('button', { name: 'Make the webhook' }).click()
    const secret = await dialog.getByLabel('Secret').inputValue()
    match(secret, /^[0-9a-f]{64}$/)
    await check('webhook-made')
    await dialog.getByRole('button', { name: 'Done' }).click()
    const row = page.locator('#webhook-list li').filter({ hasText: address })
    await row.getByText('It was told nothing yet.').waitFor()
    ok(!(await page.content()).includes(secret))
    await row.getByRole('button', { name: `Send a test to ${address}` }).click()
    await row.getByText(/^Delivered .*: a test/).waitFor({ timeout: DELIVERED_WITHIN_MS })
    equal(await put('media/anna/told', 10), 201)
    await row.getByText(/^Delivered .*: a film is stored/).waitFor({ timeout: DELIVERED_WITHIN_MS })
    await check('webhooks')
    answers = 503
    equal(await put('media/anna/untold', 10), 201)
    await row.getByText('The address answered 503.').waitFor({ timeout: DELIVERED_WITHIN_MS })
    await row.getByText('1 waiting').waitFor()
    await check('webhooks-failing')
    await row.getByRole('button', { name: `Remove ${address}` }).click()
    await dialog.getByRole('button', { name: 'Remove' }).click()
    await row.waitFor({ state: 'detached' })
  })

  it('shows what was done and what was denied, a page at a time', async () => {
    equal((await fetch(`${url}/api/v1/tokens`)).status, 401)
    const changes = Array.from({ length: 60 }, (_, change) => ({ filesMax: 1_000 + change }))
    for (let at = 0; at < changes.length; at += 10) {
      const some = changes.slice(at, at + 10).map(change => api('PATCH', '/applications/media', change))
      for (const { status } of await Promise.all(some)) equal(status, 200)
    }
    await open('audit')
    const rows = page.locator('#audit-list li')
    await rows.first().waitFor()
    equal(await rows.count(), 50)
    match(await rows.first().innerText(), /done\s+Change rules/)
    await page.getByRole('button', { name: 'Load more' }).click()
    await rows.nth(60).waitFor()
    const times = await rows.locator('time').evaluateAll(all => all.map(each => (each as any).dateTime))
    deepEqual(
      times,
      times.toSorted((one: string, other: string) => (one < other ? 1 : -1))
    )
    await page.getByRole('button', { name: 'denied', exact: true }).click()
    await page.waitForFunction(
      () => (globalThis as any).document.querySelectorAll('#audit-list li:not(.is-denied)').length === 0
    )
    match(page.url(), /tab=audit&outcome=denied$/)
    await rows.filter({ hasText: 'See the page of access' }).filter({ hasText: 'nobody' }).first().waitFor()
    await check('audit-denied')
    await page.reload()
    await rows.first().waitFor()
    equal(await page.locator('#audit-list li:not(.is-denied)').count(), 0)
  })

  it('shows nobody what is not for him, and nothing that is refused', async () => {
    const expected: Readonly<Record<string, { grants: object[]; tabs: string[] }>> = {
      administrator: {
        grants: [{ application: 'media', rights: ['admin'] }],
        tabs: ['Applications', 'Quotas']
      },
      writer: { grants: [{ application: '*', rights: ['write'] }], tabs: ['Quotas'] },
      reader: { grants: [{ application: '*', rights: ['read'] }], tabs: [] },
      user: { grants: [{ application: 'media', user: 'anna', rights: ['admin'] }], tabs: [] }
    }
    for (const [who, { grants, tabs }] of Object.entries(expected)) {
      const secret = await tokenFor(grants)
      const other = await openChromium()
      const on = other.page
      try {
        await logIn(on, secret)
        equal(await on.getByRole('link', { name: 'Access' }).count(), tabs.length > 0 ? 1 : 0, who)
        other.troubles.length = 0
        for (const tab of ['tokens', 'webhooks', 'audit', 'applications', 'quotas']) {
          await on.goto(`${url}/access?tab=${tab}`)
          if (tabs.length === 0) await on.getByText('Nothing on this page is for you.').waitFor()
          else {
            const links = on.getByRole('navigation', { name: 'Access' }).getByRole('link')
            await links.first().waitFor()
            deepEqual(await links.allInnerTexts(), tabs, who)
            await on.locator('.rows li').filter({ hasText: 'media' }).first().waitFor()
          }
          equal(await on.getByRole('alert').count(), 0, `${who}: ${tab}`)
        }
        // What a page was about to read when it was left is nobody's refusal.
        deepEqual(
          other.troubles.filter(text => !text.startsWith('net::ERR_ABORTED')),
          [],
          who
        )
        if (who !== 'reader')
          equal(
            await on.getByRole('button', { name: 'Change the quotas of media' }).count(),
            who === 'administrator' ? 1 : 0,
            who
          )
        await photograph(on, `access-as-${who}`)
      } finally {
        await other.close()
      }
    }
  })

  for (const [look, language] of [
    ['light', 'en'],
    ['dark', 'zh']
  ] as const) {
    it(`fits every screen: ${look}, ${language}`, async () => {
      equal(
        (await api('PATCH', '/applications/media', { bytesMax: 5_000_000, userFilesMax: 10 })).status,
        200
      )
      const hook = { url: 'https://films.example.org/a/rather/long/address/of/a/hook', events: ['stored'] }
      equal((await api('POST', '/webhooks', hook)).status, 201)
      await page.emulateMedia({ colorScheme: look })
      await page.evaluate(
        chosen => (globalThis as any).localStorage.setItem('tributary-language', chosen),
        language
      )
      for (const [screen, width, height] of [
        ['phone', 360, 740],
        ['desktop', 1280, 800],
        ['wall', 3840, 2160]
      ] as const) {
        await page.setViewportSize({ width, height })
        for (const tab of TABS) {
          await open(tab)
          await page.locator('.rows li').first().waitFor()
          await page.waitForTimeout(250)
          await photograph(page, `access-${tab}-${screen}-${look}-${language}`)
          equal(await overflow(page), 0, `${tab} at ${width} px`)
          if (screen !== 'wall') deepEqual(await seriousViolations(page), [], `${tab} at ${width} px`)
        }
      }
    })
  }
})
