/** What a browser gets before it needs the player. */
import { ok } from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'

const ASSETS = new URL('../../gateway/public/assets/', import.meta.url)
const BYTES_MAX = 200_000
const OF_THE_PLAYER = /^(player|hls)/

describe('the built console', () => {
  it('is under 200 KB gzipped before the player is needed, with all its pages', async () => {
    const names = (await readdir(ASSETS)).filter(name => /\.(js|css)$/.test(name))
    let bytes = 0
    for (const name of names.filter(name => !OF_THE_PLAYER.test(name)))
      bytes += gzipSync(await readFile(new URL(name, ASSETS))).byteLength
    ok(bytes > 20_000 && bytes < BYTES_MAX, `${bytes} bytes of ${names.join(', ')}`)
  })

  it('leads to the player by a lazy import only', async () => {
    const html = await readFile(new URL('../index.html', ASSETS), 'utf8')
    ok(!/player|hls/.test(html), html)
    const [, entry] = /src="\/assets\/(index-[\w-]+\.js)"/.exec(html)!
    const code = await readFile(new URL(entry!, ASSETS), 'utf8')
    ok(
      !/from\s*["']\.\/(player|hls)/.test(code) && !code.includes('media-controller'),
      'the player is not in it'
    )
  })
})
