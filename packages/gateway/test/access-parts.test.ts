/** Parts of the door by themselves: addresses, buckets, copies, quotas, webhooks. */
import { after, before, describe, it } from 'node:test'
import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import fc from 'fast-check'
import type { AccessChanges, CallName, ChangedToken, TakenDelivery } from '@tributary/calls'
import { ProtocolError, UnavailableError } from '@tributary/protocol'
import { AllowList, silentLog, systemClock, type Clock } from '@tributary/runtime'
import { AccessCopy } from '../src/access/access-copy.ts'
import { clientAddressOf, customerOf } from '../src/access/client-address.ts'
import { PlaySums } from '../src/access/play-sums.ts'
import { grantsCover } from '../src/access/principal.ts'
import { privateCacheControl } from '../src/access/private-answers.ts'
import { AuditTrail } from '../src/access/audit-trail.ts'
import { Quotas } from '../src/access/quotas.ts'
import { sessionOf } from '../src/access/session-cookie.ts'
import { TokenBuckets } from '../src/access/token-bucket.ts'
import { sendWebhook, webhookSignature, webhookUrlFault } from '../src/access/webhook-sender.ts'

const LOCAL = AllowList.parse(['loopback'])

class StillClock implements Clock {
  atMs = 1_790_000_000_000
  nowMs(): number {
    return this.atMs
  }
  monotonicMs(): number {
    return this.atMs
  }
  async sleep(_ms: number): Promise<void> {}
}

describe('the address of a client', () => {
  const from = (remoteAddress: string, forwarded?: string, proxies = '10.0.0.0/8'): string => {
    const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }
    const request = { socket: { remoteAddress }, headers } as unknown as IncomingMessage
    return clientAddressOf(request, AllowList.parse([proxies]))
  }

  it('is the socket’s, whatever somebody says who is no proxy', () => {
    equal(from('192.0.2.1', '198.51.100.1'), '192.0.2.1')
    equal(from('::ffff:192.0.2.1'), '192.0.2.1')
  })

  it('is the last that no proxy of ours has, and never one that a client put in front', () => {
    equal(from('10.0.0.1', '198.51.100.1'), '198.51.100.1')
    equal(from('10.0.0.1', '203.0.113.9, 198.51.100.1, 10.0.0.2'), '198.51.100.1')
    equal(from('10.0.0.1', 'unknown'), '10.0.0.1')
    equal(from('10.0.0.1', '198.51.100.1, x, 10.0.0.2'), '10.0.0.2')
    equal(from('10.0.0.1', ''), '10.0.0.1')
    equal(from('10.0.0.1', `${'1.2.3.4,'.repeat(5_000)}198.51.100.1`), '198.51.100.1')
  })
})

describe('who is told to wait', () => {
  it('is an IPv4 address, and all that one has of IPv6', () => {
    equal(customerOf('192.0.2.7'), '192.0.2.7')
    const one = '2001:db8:0:7::/64'
    for (const address of ['2001:db8:0:7::1', '2001:DB8::7:1:2:3:4', '2001:db8:0:7:ffff:ffff:ffff:ffff'])
      equal(customerOf(address), one, address)
    for (const address of ['2001:db8:0:8::1', '2001:db8::7', '::1', 'fe80::1%eth0'])
      notEqual(customerOf(address), one, address)
    equal(customerOf('::1'), '0:0:0:0::/64')
    equal(customerOf('fe80::1%eth0'), 'fe80:0:0:0::/64')
    equal(customerOf('64:ff9b::192.0.2.7'), '64:ff9b:0:0::/64')
  })
})

describe('a bucket of tokens', () => {
  it('gives no more than its rate, whatever the order of asking', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(500), { maxLength: 200 }),
        fc.integer({ min: 1, max: 20 }),
        (gaps, perS) => {
          const clock = new StillClock()
          const buckets = new TokenBuckets(clock)
          const startMs = clock.atMs
          let given = 0
          for (const gap of gaps) {
            clock.atMs += gap
            if (buckets.take('x', perS, perS) === 0) given++
          }
          ok(given <= perS + ((clock.atMs - startMs) / 1_000) * perS + 1)
        }
      )
    )
  })

  it('keeps a bounded number of names', () => {
    const buckets = new TokenBuckets(new StillClock(), 10)
    for (let name = 0; name < 1_000; name++) equal(buckets.take(String(name), 1, 1), 0)
    ok(buckets.take('999', 1, 1) > 0)
  })
})

describe('grants', () => {
  it('cover what they name, with the rights that theirs includes', () => {
    const grants = [
      { application: 'media', rights: ['read' as const] },
      { application: 'media', user: 'anna', rights: ['write' as const] }
    ]
    equal(grantsCover(grants, 'read', { application: 'media', user: 'bob' }), true)
    equal(grantsCover(grants, 'write', { application: 'media', user: 'bob' }), false)
    equal(grantsCover(grants, 'write', { application: 'media', user: 'anna' }), true)
    equal(grantsCover(grants, 'read', { application: 'media' }), true)
    equal(grantsCover(grants, 'write', { application: 'media' }), false)
    equal(grantsCover(grants, 'read', {}), false)
    equal(grantsCover([{ application: '*', rights: ['admin'] }], 'read', {}), true)
    equal(grantsCover([{ application: '*', rights: ['read'] }], 'admin', { application: 'media' }), false)
  })
})

describe('a session among cookies', () => {
  it('is found only where it looks like one', () => {
    const secret = `trs_${'a'.repeat(43)}`
    equal(sessionOf(`a=b; tributary_session=${secret}; c=d`), secret)
    equal(sessionOf(`tributary_session=x; tributary_session=${secret}`), secret)
    for (const cookies of [
      undefined,
      '',
      'tributary_session',
      `xtributary_session=${secret}`,
      `tributary_session=trb_${'a'.repeat(43)}`,
      `tributary_session=${secret}x`,
      `${'a=b; '.repeat(3_000)}tributary_session=${secret}`
    ]) {
      equal(sessionOf(cookies), undefined)
    }
  })
})

describe('Cache-Control of what is not for everybody', () => {
  it('is private, whatever else it says', () => {
    equal(privateCacheControl('public, max-age=60, immutable'), 'private, max-age=60, immutable')
    equal(privateCacheControl('no-cache'), 'private, no-cache')
    equal(privateCacheControl('s-maxage=9, PRIVATE'), 'private')
    equal(privateCacheControl(''), 'private')
  })
})

describe('a gateway’s copy of tokens and rules', { timeout: 20_000 }, () => {
  const token = (id: string, revokedAtMs = 0): ChangedToken => ({
    id,
    name: id,
    hash: `hash of ${id}`,
    parent: '',
    grants: [],
    createdAtMs: 1,
    expiresAtMs: 0,
    usedDay: 0,
    revokedAtMs
  })
  const nothing: AccessChanges = { revision: 1, more: false, tokens: [], rules: [], keys: [], webhooks: 0 }
  const copyOf = (answer: (since: number) => AccessChanges | Promise<AccessChanges>): AccessCopy =>
    new AccessCopy(
      { index: ((_name: CallName, { since }: { since: number }) => answer(since)) as never },
      systemClock(),
      silentLog()
    )

  it('takes changes a page at a time, and follows what is revoked', async () => {
    let revoked = false
    const copy = copyOf(since => {
      if (since === 0) return { ...nothing, revision: 5, more: true, tokens: [token('one')] }
      if (since === 5) return { ...nothing, revision: 9, tokens: [token('two')] }
      return revoked && since === 9
        ? { ...nothing, revision: 12, tokens: [token('one', 7)] }
        : { ...nothing, revision: since }
    })
    equal(copy.isKnown, false)
    copy.start()
    equal(await copy.untilKnown(), true)
    ok(copy.byHash('hash of one'))
    ok(copy.byId('two'))
    revoked = true
    await copy.refresh()
    equal(copy.byHash('hash of one'), undefined)
    copy.stop()
  })

  it('forgets all of it when the index was made anew', async () => {
    let revision = 40
    const copy = copyOf(since =>
      revision === 40 && since === 0
        ? { ...nothing, revision, tokens: [token('one')], rules: [closed()] }
        : { ...nothing, revision }
    )
    copy.start()
    await copy.untilKnown()
    equal(copy.isAnyClosed, true)
    revision = 3
    await copy.refresh()
    equal(copy.isAnyClosed, false)
    equal(copy.byId('one'), undefined)
    copy.stop()
  })

  it('knows nothing while nobody answers, and has an age when nobody does any more', async () => {
    let answers = false
    const copy = copyOf(() => {
      if (!answers) throw new UnavailableError('CONNECTION_LOST', 'nobody')
      return nothing
    })
    copy.start()
    await wait(50)
    equal(copy.isKnown, false)
    answers = true
    equal(await copy.untilKnown(), true)
    answers = false
    await wait(300)
    ok(copy.ageMs >= 200)
    equal(copy.isKnown, true)
    copy.stop()
  })

  it('takes a tracker of before for one without rules, unless rules were known', async () => {
    let older = true
    const copy = copyOf(() => {
      if (older) throw new ProtocolError('UNKNOWN_COMMAND', 'unknown command: 20')
      return { ...nothing, revision: 4, rules: [closed()] }
    })
    copy.start()
    equal(await copy.untilKnown(), true)
    equal(copy.isAnyClosed, false)
    older = false
    await copy.refresh()
    equal(copy.isAnyClosed, true)
    older = true
    await copy.refresh()
    equal(copy.isAnyClosed, true)
    copy.stop()
  })

  const closed = () => ({ application: 'media', reads: 'token' as const, quotas: QUOTAS })
})

const STORED = { files: 1, bytes: 300, trashedFiles: 0, trashedBytes: 0 }
const PROMISED = { files: 0, bytes: 100 }
const QUOTAS = { bytesMax: 0, filesMax: 0, userBytesMax: 0, userFilesMax: 0, requestsPerS: 0 }

describe('room under a quota', () => {
  it('is taken by uploads in progress, and given back by those that fail', async () => {
    const rules = {
      application: 'media',
      reads: 'open' as const,
      quotas: { ...QUOTAS, bytesMax: 1_000, userFilesMax: 3 }
    }
    const quotas = new Quotas(
      { index: (async (call: string) => (call === 'library.usage' ? STORED : PROMISED)) as never },
      { rulesOf: () => rules } as unknown as AccessCopy,
      new StillClock()
    )
    const first = await quotas.reserve('media', 'anna', 500)
    equal(first!.roomBytes, 600)
    await rejects(quotas.reserve('media', 'anna', 200), { status: 507 })
    await rejects(quotas.reserve('media', 'anna', 1_001), { status: 413 })
    const second = await quotas.reserve('media', 'anna', 100)
    await rejects(
      quotas.reserve('media', 'anna', 0),
      { status: 507 },
      'two in progress and one stored are three files'
    )
    second!.settle(undefined)
    second!.settle(100)
    const third = await quotas.reserve('media', 'anna', undefined)
    equal(third!.roomBytes, 100)
    first!.settle(500)
    third!.settle(undefined)
    await rejects(quotas.reserve('media', 'bob', 101), { status: 507 })
    ok(await quotas.reserve('media', 'bob', 100))
  })

  it('is had once by those who ask in the same moment, also where two quotas are asked', async () => {
    const rules = {
      application: 'media',
      reads: 'open' as const,
      quotas: { ...QUOTAS, bytesMax: 1_000, userBytesMax: 1_000 }
    }
    const quotas = new Quotas(
      { index: (async (call: string) => (call === 'library.usage' ? STORED : PROMISED)) as never },
      { rulesOf: () => rules } as unknown as AccessCopy,
      new StillClock()
    )
    const asked = await Promise.allSettled([1, 2, 3].map(() => quotas.reserve('media', 'anna', 400)))
    deepEqual(
      asked.map(({ status }) => status),
      ['fulfilled', 'rejected', 'rejected']
    )
  })

  it('is had by one of the uploads that begin together, whichever of them the index knows first', async () => {
    const clock = new StillClock()
    clock.sleep = async (ms: number) => void (clock.atMs += ms)
    const rules = { application: 'media', reads: 'open' as const, quotas: { ...QUOTAS, bytesMax: 700 } }
    const rows = new Set<string>()
    const quotas = new Quotas(
      {
        index: (async (call: string, { before, except = [] }: { before?: string; except?: string[] }) => {
          if (call === 'library.usage') return STORED
          const others = [...rows].filter(id => !except.includes(id) && !(before && id >= before))
          return { files: others.length, bytes: others.length * 300 }
        }) as never
      },
      { rulesOf: () => rules } as unknown as AccessCopy,
      clock
    )
    /** Names tell the order of beginning. Of 400 bytes each takes 300. */
    const admit = async (id: string): Promise<void> => {
      rows.add(id)
      try {
        await quotas.admit({ id, application: 'media', user: 'anna', sizeBytes: 300, joins: [] })
      } catch (error) {
        rows.delete(id)
        throw error
      }
    }
    await admit('b')
    await rejects(admit('a'), { status: 507 }, 'b was told that it may before a was there')
    deepEqual([...rows], ['b'])
    rows.clear()
    const together = await Promise.allSettled(['c', 'e', 'd'].map(admit))
    deepEqual(
      together.map(({ status }) => status),
      ['fulfilled', 'rejected', 'rejected']
    )
    deepEqual([...rows], ['c'])
  })

  it('is nobody’s business where there is none', async () => {
    const quotas = new Quotas(
      { index: (() => Promise.reject(new Error('asked'))) as never },
      { rulesOf: () => ({ application: 'media', reads: 'open', quotas: QUOTAS }) } as unknown as AccessCopy,
      new StillClock()
    )
    equal(await quotas.reserve('media', 'anna', 1), undefined)
  })
})

describe('the audit log', () => {
  const ENTRY = {
    who: 'anonymous',
    token: '',
    what: 'PUT /files',
    application: 'media',
    user: 'u',
    file: 'f',
    outcome: 'denied' as const,
    code: 'ACCESS_DENIED'
  }

  it('is filled by nobody: not by one customer, whatever they ask for, and not by strangers together', async () => {
    const clock = new StillClock()
    const noted: { address: string; outcome: string }[] = []
    const trail = new AuditTrail(
      {
        index: (async (_call: string, { entries }: { entries: never[] }) => noted.push(...entries)) as never
      },
      clock,
      silentLog()
    )
    for (let index = 0; index < 1_000; index++)
      trail.note({ ...ENTRY, application: `a${index}`, address: `2001:db8::${index}` })
    await trail.flush()
    ok(noted.length > 0 && noted.length <= 20, `${noted.length} of one customer`)
    noted.length = 0
    for (let index = 0; index < 5_000; index++) {
      clock.atMs += 10
      trail.note({ ...ENTRY, address: `10.0.${index >> 8}.${index & 255}` })
    }
    await trail.flush()
    ok(noted.length <= 1_000 + 50, `${noted.length} of strangers`)
    noted.length = 0
    trail.note({ ...ENTRY, token: 'abcd', who: 'a token', address: '192.0.2.1' })
    trail.note({ ...ENTRY, outcome: 'done', code: '', address: '192.0.2.1' } as never)
    await trail.flush()
    equal(noted.length, 2, 'who has a token is noted, and what was done')
  })
})

describe('sums of plays', () => {
  it('wait while the index is away, and are added once', async () => {
    const added: unknown[] = []
    let away = true
    const plays = new PlaySums(
      {
        index: (async (_name: string, args: unknown) => {
          if (away) throw new UnavailableError('CONNECTION_LOST', 'nobody')
          added.push(args)
          return {}
        }) as never
      },
      new StillClock(),
      silentLog()
    )
    const play = { application: 'media', user: 'u', file: 'f', generation: 'ab'.repeat(16), playedS: 5 }
    plays.add({ ...play, started: true, position: 0, before: undefined })
    await plays.flush()
    plays.add({ ...play, started: false, position: 1, before: 0 })
    away = false
    await plays.flush()
    await plays.flush()
    equal(added.length, 1)
    const [sum] = (added[0] as { sums: { starts: number; seconds: number; reached: number[] }[] }).sums
    deepEqual([sum!.starts, sum!.seconds, sum!.reached], [1, 10, Array.from({ length: 11 }, () => 1)])
  })
})

describe('a webhook', { timeout: 20_000 }, () => {
  let receiver: Server
  let port: number
  const paths: string[] = []
  before(async () => {
    receiver = createServer((request, response) => {
      paths.push(request.url!)
      request.resume()
      if (request.url === '/redirect') response.writeHead(302, { Location: '/inside' }).end()
      else if (request.url === '/endless') response.writeHead(200).write('x'.repeat(1_000_000))
      else response.writeHead(request.url === '/teapot' ? 418 : 204).end()
    })
    receiver.listen(0, '127.0.0.1')
    await once(receiver, 'listening')
    port = (receiver.address() as AddressInfo).port
  })
  after(() => {
    receiver.close()
    receiver.closeAllConnections()
  })
  const send = (url: string, allow = LOCAL): Promise<string> =>
    sendWebhook({ id: 'x', event: 'stored', body: '{}', url, secret: 's' } as TakenDelivery, {
      allow,
      nowMs: () => 1_790_000_000_000,
      version: '1'
    })
  const NOBODY = AllowList.parse([])

  it('is delivered, and what was not taken is told', async () => {
    equal(await send(`http://127.0.0.1:${port}/ok`), '')
    equal(await send(`http://localhost:${port}/ok`), '')
    equal(await send(`http://127.0.0.1:${port}/endless`), '')
    match(await send(`http://127.0.0.1:${port}/teapot`), /418/)
    match(await send('http://127.0.0.1:1/'), /ECONNREFUSED/)
  })

  it('follows no redirection', async () => {
    match(await send(`http://127.0.0.1:${port}/redirect`), /302/)
    ok(!paths.includes('/inside'))
  })

  it('goes nowhere inside, by address or by name', async () => {
    const before = paths.length
    for (const url of [
      `http://127.0.0.1:${port}/`,
      `http://localhost:${port}/`,
      `http://[::1]:${port}/`,
      `http://[::ffff:127.0.0.1]:${port}/`,
      `http://0.0.0.0:${port}/`,
      `http://2130706433:${port}/`,
      `http://0x7f.1:${port}/`,
      'http://169.254.169.254/latest/meta-data/',
      'http://[fd00::1]/',
      'http://[64:ff9b::7f00:1]/',
      'http://100.64.0.1/',
      'file:///etc/passwd',
      'gopher://127.0.0.1/'
    ]) {
      ok((await send(url, NOBODY)) !== '', url)
    }
    equal(paths.length, before)
    for (const host of [
      '[::7f00:1]',
      '[::ffff:0:a00:1]',
      '[2001:0:7f00:1::]',
      '[2002:7f00:1::]',
      '192.88.99.1',
      '0177.0.0.1'
    ])
      ok(webhookUrlFault(`https://${host}/`, NOBODY), host)
    equal(webhookUrlFault('https://films.example.org/hook', NOBODY), undefined)
    ok(webhookUrlFault('https://name:secret@films.example.org/', NOBODY))
  })

  it('is signed over its time and its body', () => {
    const signature = webhookSignature('secret', '{"a":1}', 1_790_000_000_999)
    match(signature, /^t=1790000000,v1=[0-9a-f]{64}$/)
    ok(signature !== webhookSignature('secret', '{"a":2}', 1_790_000_000_999))
    ok(signature !== webhookSignature('other', '{"a":1}', 1_790_000_000_999))
  })
})
