/** What trackers answer about access while the database is behind, and what they refuse. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, it } from 'node:test'
import type { CallArguments, CallName, CallResult } from '@tributary/calls'
import { migrateDatabase, openDatabase, type Database } from '@tributary/database'
import { systemClock } from '@tributary/runtime'
import { CallDispatcher } from '../src/calls/call-dispatcher.ts'
import { indexHandlers } from '../src/calls/index-handlers.ts'

const HASH = 'ab'.repeat(32)
const ADMIN = [{ application: '*', rights: ['admin' as const] }]

describe('calls of access', () => {
  let folder: string
  let path: string
  let database: Database
  let dispatcher: CallDispatcher

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-access-'))
    path = join(folder, 'index.db')
    await migrateDatabase(`sqlite:${path}`)
    await open()
    await database.routes.addApplication('media')
  })
  after(async () => {
    await database?.close()
    await rm(folder, { recursive: true, force: true })
  })
  const open = async (): Promise<void> => {
    database = await openDatabase(`sqlite:${path}`)
    dispatcher = new CallDispatcher(indexHandlers({ database, clock: systemClock() } as never))
  }
  const call = async <N extends CallName>(name: N, args: CallArguments<N>): Promise<CallResult<N>> =>
    JSON.parse(await dispatcher.answer(name, JSON.stringify(args))) as CallResult<N>

  it('say that there are no rules while the database is not migrated, and refuse the rest in words', async () => {
    await database.close()
    const raw = new DatabaseSync(path)
    const kept = raw.prepare("SELECT name, timestamp FROM kysely_migration WHERE name >= '0003'").all()
    raw.exec("DELETE FROM kysely_migration WHERE name >= '0003'")
    await open()
    deepEqual(await call('access.changes', { since: 0 }), {
      revision: 0,
      more: false,
      tokens: [],
      rules: [],
      keys: [],
      webhooks: 0
    })
    await rejects(call('tokens.list', { limit: 10 }), { code: 'DATABASE_UNAVAILABLE', message: /db migrate/ })
    const insert = raw.prepare('INSERT INTO kysely_migration (name, timestamp) VALUES (?, ?)')
    for (const { name, timestamp } of kept) insert.run(name as string, timestamp as string)
    raw.close()
    ok((await call('access.changes', { since: 0 })).revision >= 1, 'and go on once it is')
  })

  it('make one token of one that is asked for twice, and none of two', async () => {
    const token = { id: 'twice', hash: HASH, name: 'x', grants: ADMIN, expiresAtMs: 0 }
    const first = await call('tokens.create', token)
    deepEqual(await call('tokens.create', token), first)
    await rejects(call('tokens.create', { ...token, hash: 'cd'.repeat(32) }), { code: 'ENTRY_EXISTS' })
    await rejects(call('tokens.create', { ...token, id: 'past', expiresAtMs: 5 }), { code: 'BAD_FIELD' })
    const everywhere = [{ application: '*', user: 'anna', rights: ['read' as const] }]
    await rejects(call('tokens.create', { ...token, id: 'odd1', grants: everywhere }), { code: 'BAD_FIELD' })
    await rejects(call('tokens.revoke', { id: 'nobody' }), { code: 'NO_SUCH_ENTRY' })
  })

  it('keep so many sessions of a token, and end the oldest', async () => {
    const open = (index: number) =>
      call('sessions.open', {
        id: `session${String(index).padStart(4, '0')}`,
        hash: index.toString(16).padStart(64, '0'),
        parent: 'twice',
        name: 'x',
        grants: ADMIN,
        expiresAtMs: Date.now() + 60_000
      })
    for (let index = 0; index < 53; index++) await open(index)
    const good: string[] = []
    for (let since = 0, more = true; more;) {
      const changes = await call('access.changes', { since })
      good.push(
        ...changes.tokens
          .filter(({ parent, revokedAtMs }) => parent === 'twice' && revokedAtMs === 0)
          .map(({ id }) => id)
      )
      since = changes.revision
      more = changes.more
    }
    equal(good.length, 50)
    ok(!good.includes('session0000'))
    ok(good.includes('session0052'))
  })

  it('sign with one key, made when it is first wanted, and with the newest after that', async () => {
    const first = await call('keys.signing', { application: 'media' })
    deepEqual(await call('keys.signing', { application: 'media' }), first)
    await call('keys.rotate', { application: '' })
    const second = await call('keys.signing', { application: 'media' })
    ok(second.id !== first.id)
    const { keys } = await call('keys.list', {})
    deepEqual(
      keys.map(({ state }) => state),
      ['old', 'active']
    )
    ok(!JSON.stringify(keys).includes(second.secret))
    await rejects(call('keys.remove', { id: 'nobody' }), { code: 'NO_SUCH_ENTRY' })
  })

  it('refuse arguments that are none', async () => {
    for (const [name, args] of [
      ['tokens.create', { id: 'x', hash: HASH, name: 'x', grants: ADMIN, expiresAtMs: 0 }],
      ['tokens.create', { id: 'long', hash: 'zz', name: 'x', grants: ADMIN, expiresAtMs: 0 }],
      ['tokens.create', { id: 'long', hash: HASH, name: 'x', grants: [], expiresAtMs: 0 }],
      ['tokens.create', { id: 'long', hash: HASH, name: 'x'.repeat(101), grants: ADMIN, expiresAtMs: 0 }],
      ['access.changes', { since: -1 }],
      ['shares.list', { limit: 10, after: '../..' }],
      ['audit.list', { limit: 501 }],
      ['events.tell', { id: 'x', event: 'stored', application: '', body: '{}' }],
      ['applications.setRules', { application: '../x' }]
    ] as const) {
      await rejects(dispatcher.answer(name, JSON.stringify(args)), { code: 'BAD_FIELD' }, name)
    }
    await rejects(call('applications.setRules', { application: 'nowhere', reads: 'token' }), {
      code: 'UNKNOWN_APPLICATION'
    })
    await rejects(dispatcher.answer('access.everything', '{}'), (error: Error) => {
      match(error.message, /knows no method/)
      return true
    })
  })
})
