import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { wayIn } from '../src/player/way-in.ts'
import { addressOf, pageOf, watchAddress } from '../src/router.ts'

describe('an address of the console', () => {
  it('is a page, and a page is an address', () => {
    for (const name of ['library', 'trash', 'cluster', 'jobs', 'access', 'login'] as const)
      deepEqual(pageOf(addressOf({ name })), { name })
    for (const file of ['film.mp4', "it's 50%", 'a/b', '.', '?#&', '电影', '\u{1f3ac}']) {
      const page = { name: 'watch', application: 'media', user: 'a b/c', file } as const
      deepEqual(pageOf(addressOf(page)), page)
    }
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
      '/share/x'
    ])
      deepEqual(pageOf(path), { name: 'nowhere' }, path)
  })
})

describe('the way to a film', () => {
  it('is free, by a signature, or by a share that gives one', () => {
    deepEqual(wayIn(''), { prefix: '', share: undefined })
    deepEqual(wayIn('?share=abc123'), { prefix: '', share: 'abc123' })
    const signature = '1~k1~1799999999~192.0.2.0_24~abc_DEF-123'
    deepEqual(wayIn(`?signature=${signature}`), { prefix: `/signed/${signature}`, share: undefined })
    deepEqual(wayIn(`?share=abc&signature=${signature}`).share, undefined)
  })

  it('leads to no other place, whatever the address says', () => {
    for (const evil of ['../../x', 'a/b', '//evil.example', 'x?y', 'x#y', '%2e%2e', 'a b', ''])
      deepEqual(
        wayIn(`?signature=${encodeURIComponent(evil)}&share=${encodeURIComponent(evil)}`),
        {
          prefix: '',
          share: undefined
        },
        evil
      )
  })
})
