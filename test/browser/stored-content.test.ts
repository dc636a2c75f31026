/** What strangers stored, opened in a real browser: it may be looked at or saved, and never acts where the console is. */
import { after, before, describe, it } from 'node:test'
import { equal, match, ok } from 'node:assert/strict'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { startPlayableCluster, type PlayableCluster } from '../testkit/gateway.ts'
import { missingPrograms } from '../testkit/service.ts'

const SCRIPT = `document.title = 'acted'; fetch('/files/media/public/victim', { method: 'DELETE' })`
const HTML = `<!doctype html><title>quiet</title><script>${SCRIPT}</script><img src=x onerror="${SCRIPT}">`
const SVG = `<svg xmlns="http://www.w3.org/2000/svg" onload="${SCRIPT.replaceAll('"', '&quot;')}"><script>${SCRIPT}</script></svg>`
const XML = `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>quiet</title><script>${SCRIPT}</script></head></html>`

const STORED: [name: string, type: string, content: string][] = [
  ['page.html', 'text/html', HTML],
  ['page.htm', 'application/octet-stream', HTML],
  ['page.xhtml', 'application/xhtml+xml', XML],
  ['page.xml', 'text/xml', XML],
  ['picture.svg', 'image/svg+xml', SVG],
  ['nothing', '', HTML],
  ['film.mp4', 'video/mp4', HTML],
  ['notes.txt', 'text/plain', HTML],
  ['styles.xsl', 'text/xsl', XML],
  ['archive.mht', 'multipart/related', HTML],
  ['page.pdf', 'application/pdf', HTML]
]

/** Runs in the page: the ways in which one can make a browser take something as its own. */
const TRY_EVERY_WAY = `async ({ html, svg, script, module, style }) => {
  const loads = (tag, attributes) =>
    new Promise(resolve => {
      const element = document.createElement(tag)
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
      element.addEventListener('load', () => resolve('loaded'))
      element.addEventListener('error', () => resolve('refused'))
      document.body.append(element)
      setTimeout(() => resolve('silent'), 700)
    })
  const settled = promise => promise.then(() => 'loaded', () => 'refused')
  const tried = {
    script: await loads('script', { src: script }),
    module: await loads('script', { src: module, type: 'module' }),
    style: await loads('link', { rel: 'stylesheet', href: style }),
    frame: await loads('iframe', { src: html }),
    picture: await loads('img', { src: svg }),
    object: await loads('object', { data: html }),
    import: await settled(import(module)),
    worker: await new Promise(resolve => {
      try {
        new Worker(script).addEventListener('error', () => resolve('refused'))
        setTimeout(() => resolve('silent'), 700)
      } catch {
        resolve('refused')
      }
    }),
    service: navigator.serviceWorker ? await settled(navigator.serviceWorker.register(script)) : 'refused'
  }
  const { outlineWidth } = getComputedStyle(document.body)
  return { tried, acted: globalThis.acted === true, outlineWidth, title: document.title }
}`

describe('stored content in a browser', { skip: missingPrograms(['chromium']), timeout: 120_000 }, () => {
  let system: PlayableCluster
  let window: BrowserWindow

  before(async () => {
    system = await startPlayableCluster()
    window = await openChromium()
    const put = async (file: string, type: string, body: string): Promise<void> => {
      const headers: Record<string, string> = type === '' ? {} : { 'content-type': type }
      const response = await fetch(system.urlOf(file), { method: 'PUT', body: Buffer.from(body), headers })
      equal(response.status, 201, await response.text())
    }
    await put('victim', 'text/plain', 'still here')
    for (const [name, type, content] of STORED) await put(name, type, content)
    await put('script.js', 'text/javascript', `globalThis.acted = true; ${SCRIPT}`)
    await put('module.mjs', 'application/javascript', `globalThis.acted = true; ${SCRIPT}`)
    await put('style.css', 'text/css', 'body { outline: 7px solid red }')
  })
  after(async () => {
    await window?.close()
    await system?.stop()
  })

  const isThere = async (): Promise<boolean> => (await fetch(system.urlOf('victim'))).ok

  for (const [name] of STORED) {
    it(`does nothing when it is opened: ${name}`, async () => {
      const page = await window.context.newPage()
      try {
        // What is an attachment is saved, and the page stays where it was.
        await page.goto(system.urlOf(name)).catch(() => {})
        await page.waitForTimeout(150)
        ok((await page.title()) !== 'acted')
        ok(await isThere())
      } finally {
        await page.close()
      }
    })
  }

  it('does nothing in a frame, nor as a picture, script, style or worker of a page of this server', async () => {
    const page = await window.context.newPage()
    await page.goto(`${system.url}/`)
    const urls = {
      html: system.urlOf('page.html'),
      svg: system.urlOf('picture.svg'),
      script: system.urlOf('script.js'),
      module: system.urlOf('module.mjs'),
      style: system.urlOf('style.css')
    }
    const outcome = (await page.evaluate(`(${TRY_EVERY_WAY})(${JSON.stringify(urls)})`)) as {
      tried: Record<string, string>
      acted: boolean
      outlineWidth: string
      title: string
    }
    equal(outcome.acted, false, JSON.stringify(outcome.tried))
    ok(outcome.title !== 'acted')
    ok(outcome.outlineWidth !== '7px')
    for (const way of ['script', 'module', 'style', 'import', 'service'] as const) {
      equal(outcome.tried[way], 'refused', way)
    }
    ok(await isThere())
    await page.close()
  })

  it('is served with the headers that say so', async () => {
    for (const name of ['page.html', 'picture.svg', 'page.xml', 'script.js', 'styles.xsl']) {
      const { headers } = await fetch(system.urlOf(name))
      equal(headers.get('x-content-type-options'), 'nosniff')
      match(headers.get('content-disposition')!, /^attachment/)
      match(headers.get('content-security-policy')!, /^sandbox; default-src 'none'/)
    }
    const { headers } = await fetch(`${system.url}/`)
    match(headers.get('content-security-policy')!, /default-src 'none'/)
    match(headers.get('content-security-policy')!, /frame-ancestors 'none'/)
    ok(!/script-src[^;]*unsafe/.test(headers.get('content-security-policy')!))
    equal(headers.get('referrer-policy'), 'no-referrer')
  })
})
