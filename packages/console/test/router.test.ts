import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { addressOf, pageOf, watchAddress } from '../src/router.ts'

describe('an address of the console', () => {
  it('is a page, and a page is an address', () => {
    for (const name of ['library', 'trash', 'cluster', 'jobs', 'access', 'login'] as const)
      deepEqual(pageOf(addressOf({ name })), { name })
    for (const file of ['film.mp4', "it's 50%", 'a/b', '.', '?#&', '电影', '\u{1f3ac}']) {
      const page = { name: 'watch', application: 'media', user: 'a b/c', file } as const
      deepEqual(pageOf(addressOf(page)), page)
    }
    deepEqual(pageOf('/share/x%2Fy'), { name: 'share', id: 'x/y' })
  })

  it('holds nothing that a command line or a link would end at', () => {
    equal(
      watchAddress({ application: 'a', user: "o'neil", file: '"x" <y>' }),
      '/watch/a/o%27neil/%22x%22%20%3Cy%3E'
    )
  })

  it('leads nowhere if it is none', () => {
    for (const path of [
      '/nothing',
      '/watch',
      '/watch/a/b',
      '/watch/a/b/c/d',
      '/watch/a//c',
      '/watch/a/b/%ff',
      '/trash/x',
      '/share/'
    ])
      deepEqual(pageOf(path), { name: 'nowhere' }, path)
  })
})
