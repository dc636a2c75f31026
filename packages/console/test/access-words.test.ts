import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { deedOf } from '../src/access/audit-words.ts'
import { deliveryWords, reasonWords } from '../src/access/delivery-words.ts'
import { bytesOf, countOf, hasQuotas, NO_QUOTAS, shareOf, typedOf } from '../src/access/quota-figures.ts'
import { en } from '../src/strings/en.ts'
import { zh } from '../src/strings/zh.ts'

describe('a quota', () => {
  it('is typed as it was set, to the byte', () => {
    const typed = (bytes: number | null): string => Object.values(typedOf(bytes)).join(' ')
    deepEqual([null, 5e11, 2e12, 1.5e9, 2 ** 41, 100 * 2 ** 30, 1, 1_234_567].map(typed), [
      ' GB',
      '500 GB',
      '2 TB',
      '1.5 GB',
      '2 TiB',
      '100 GiB',
      '1 B',
      '1234567 B'
    ])
    for (const bytes of [null, 1, 999, 1e6 + 1, 123_456_789_012, 2 ** 40 + 2 ** 30, Number.MAX_SAFE_INTEGER])
      equal(bytesOf(typedOf(bytes)), bytes)
  })

  it('is none where nothing is typed, and never more than can be counted', () => {
    equal(bytesOf({ amount: ' ', unit: 'TB' }), null)
    equal(bytesOf({ amount: '0.1', unit: 'GB' }), 1e8)
    equal(bytesOf({ amount: '1e30', unit: 'TB' }), Number.MAX_SAFE_INTEGER)
    deepEqual([countOf(''), countOf('7')], [null, 7])
  })

  it('is full at most, also where more is stored than it allows', () => {
    deepEqual([shareOf(1, 4), shareOf(8, 4), shareOf(0, 0)], [0.25, 1, 1])
  })

  it('is there where anything has a bound', () => {
    const none = { application: 'media', reads: 'open', ...NO_QUOTAS } as const
    equal(hasQuotas(none), false)
    equal(hasQuotas({ ...none, userFilesMax: 3 }), true)
  })
})

describe('a delivery, in words', () => {
  const delivery = {
    event: 'stored',
    state: 'waiting',
    tries: 1,
    failure: '',
    at: '2026-01-01T00:00:30Z'
  } as const
  const words = (more: object, nowMs = Date.UTC(2026, 0, 1)): string =>
    deliveryWords({ ...delivery, ...more }, en, 'en', nowMs)

  it('says what became of it', () => {
    equal(words({}), 'On its way: a film is stored')
    equal(
      words({ state: 'done' }, Date.UTC(2026, 0, 1, 0, 2, 30)),
      'Delivered 2 minutes ago: a film is stored'
    )
    equal(
      words({ failure: 'it answered 503' }),
      'Not taken: a film is stored. The address answered 503. Tried again in 30 seconds.'
    )
    equal(
      words({ state: 'failed', tries: 10, failure: 'it did not answer in time' }),
      'Given up after 10 tries: a film is stored. The address did not answer in time.'
    )
  })

  it('has words for what goes wrong in networks, and shows the rest as it came', () => {
    equal(reasonWords('connect ECONNREFUSED 127.0.0.1:9', en), 'Nobody listens at the address.')
    equal(reasonWords('getaddrinfo ENOTFOUND films.example', zh), zh.deliveryReasons.unknown)
    equal(reasonWords('self-signed certificate', en), en.deliveryReasons.certificate)
    equal(reasonWords('example.org is 10.0.0.1, an address inside', en), en.deliveryReasons.inside)
    equal(reasonWords('read ECONNRESET', en), en.deliveryReasons.broken)
    equal(reasonWords('something else', en), 'something else')
  })
})

describe('an entry of the audit log, in words', () => {
  it('is told by what was done, whatever became of it', () => {
    const deeds = {
      'PUT /files': 'store',
      'DELETE /files': 'deleteForGood',
      'GET /hls: UNAUTHORIZED': 'play',
      'DELETE /api/v1/films…': 'trash',
      'DELETE /api/v1/films…: FORBIDDEN': 'trash',
      'DELETE /api/v1/films…/poster': 'poster',
      'PUT /api/v1/films…/subtitles/en': 'subtitles',
      'POST /api/v1/films…/restore': 'restore',
      'POST /api/v1/films…/shares: FORBIDDEN': 'share',
      'GET /api/v1/films…/plays: UNAUTHORIZED': 'facts',
      'GET /api/v1/films: UNAUTHORIZED': 'list',
      'POST /api/v1/session: UNAUTHORIZED': 'logIn',
      'DELETE /api/v1/tokens/0k3x9w2m5c7q1b8d': 'revokeToken',
      'token.create': 'makeToken',
      'application.setRules': 'setRules',
      'POST /api/v1/shares/…/open: FORBIDDEN': 'openShare',
      'DELETE /api/v1/shares/…': 'endShare',
      'POST /uploads': 'beginUpload',
      'PATCH /uploads/…: FORBIDDEN': 'goOnUpload'
    }
    deepEqual(Object.fromEntries(Object.keys(deeds).map(what => [what, deedOf(what)])), deeds)
    equal(deedOf('BREW /coffee'), undefined)
  })
})
