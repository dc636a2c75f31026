import { deepEqual, equal, ok } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Database } from '@tributary/database'
import { migrated, mysql, sqlite } from './engines.ts'

const GRANTS = '[{"application":"*","rights":["admin"]}]'
const HOUR_MS = 3_600_000
const NOW_MS = 1_790_000_000_000

let made = 0
const token = (changes: object = {}) => {
  const id = `token${String(made++).padStart(4, '0')}`
  return {
    id,
    hash: 'ab'.repeat(32),
    parent: '',
    name: 'películas 电影',
    grants: GRANTS,
    createdAtMs: NOW_MS,
    expiresAtMs: 0,
    ...changes
  }
}

for (const engine of [sqlite(), mysql()]) {
  describe(`access on ${engine.name}`, { skip: engine.skip ?? false, timeout: 60_000 }, () => {
    let database: Database
    before(async () => {
      await engine.start()
      ;({ database } = await migrated(engine))
      await database.access.ready()
    })
    after(async () => {
      await database?.close()
      await engine.stop()
    })
    const changesSince = (since: number, limit = 1_000) => database.access.tokens.changes(since, limit)
    const revision = async () => (await changesSince(0)).revision

    it('gives back a token as it was made, and none a second time under its id', async () => {
      const { tokens } = database.access
      const row = token()
      equal(await tokens.addToken(row), true)
      equal(await tokens.addToken({ ...row, name: 'another' }), false)
      deepEqual(await tokens.token(row.id), { ...row, usedDay: 0, revokedAtMs: 0 })
      ok((await tokens.countTokens()) >= 1)
    })

    it('tells what changed since a revision, and nothing when nothing did', async () => {
      const { tokens } = database.access
      const before = await revision()
      const row = token()
      await tokens.addToken(row)
      await tokens.setRules({
        application: 'media',
        reads: 'signed',
        quotas: { bytesMax: 2 ** 43, filesMax: 10, userBytesMax: 0, userFilesMax: 0, requestsPerS: 5 }
      })
      const changes = await changesSince(before)
      deepEqual(
        changes.tokens.map(({ id }) => id),
        [row.id]
      )
      equal(changes.rules[0]?.reads, 'signed')
      equal(changes.rules[0]?.quotas.bytesMax, 2 ** 43)
      deepEqual(await changesSince(changes.revision), {
        revision: changes.revision,
        more: false,
        tokens: [],
        rules: [],
        keys: []
      })
    })

    it('tells changes in pages, each once, whatever they are of', async () => {
      const { tokens } = database.access
      const before = await revision()
      const ids: string[] = []
      for (let count = 0; count < 7; count++) {
        const row = token()
        ids.push(row.id)
        await tokens.addToken(row)
        await tokens.addKey(
          { id: `key${count}x`, application: '', secret: '5e'.repeat(32), createdAtMs: NOW_MS + count },
          []
        )
      }
      const seen: string[] = []
      const keys: string[] = []
      let since = before
      for (let page = 0; page < 20; page++) {
        const changes = await changesSince(since, 3)
        seen.push(...changes.tokens.map(({ id }) => id))
        keys.push(...changes.keys.map(({ id }) => id))
        since = changes.revision
        if (!changes.more) break
      }
      deepEqual(seen, ids)
      deepEqual(
        keys,
        ids.map((_, count) => `key${count}x`)
      )
      equal(since, await revision())
    })

    it('revokes a token together with its sessions', async () => {
      const { tokens } = database.access
      const row = token()
      const session = token({ parent: row.id, expiresAtMs: NOW_MS + HOUR_MS })
      await tokens.addToken(row)
      await tokens.addToken(session)
      deepEqual(await tokens.sessionsOf(row.id, NOW_MS), [session.id])
      const before = await revision()
      equal(await tokens.revokeToken(row.id, NOW_MS + 5), true)
      const { tokens: changed } = await changesSince(before)
      deepEqual(
        changed.map(({ id, revokedAtMs }) => [id, revokedAtMs]),
        [
          [row.id, NOW_MS + 5],
          [session.id, NOW_MS + 5]
        ]
      )
      deepEqual(await tokens.sessionsOf(row.id, NOW_MS), [])
      equal(await tokens.revokeToken('nothing', NOW_MS), false)
      await tokens.forgetEnded(NOW_MS + HOUR_MS)
      equal(await tokens.token(session.id), undefined)
      ok(await tokens.token(row.id), 'a token stays in the list')
    })

    it('lists tokens without sessions, a page at a time', async () => {
      const { tokens } = database.access
      const all = await tokens.tokens('', 1_000, true)
      ok(all.every(({ parent }) => parent === ''))
      deepEqual(await tokens.tokens(all[0]!.id, 2, true), all.slice(1, 3))
      ok((await tokens.tokens('', 1_000, false)).every(({ revokedAtMs }) => revokedAtMs === 0))
      await tokens.noteUse([all[0]!.id], 20_000)
      await tokens.noteUse([all[0]!.id], 19_000)
      equal((await tokens.token(all[0]!.id))?.usedDay, 20_000)
    })

    it('retires and removes signing keys', async () => {
      const { tokens } = database.access
      await tokens.addKey({ id: 'olderkey', application: '', secret: '5e'.repeat(32), createdAtMs: 1 }, [])
      await tokens.addKey({ id: 'newerkey', application: '', secret: '5f'.repeat(32), createdAtMs: 2 }, [
        'olderkey'
      ])
      const states = async () => new Map((await tokens.keys()).map(({ id, state }) => [id, state]))
      equal((await states()).get('olderkey'), 'old')
      equal((await states()).get('newerkey'), 'active')
      const before = await revision()
      equal(await tokens.removeKey('olderkey'), true)
      equal((await states()).has('olderkey'), false)
      deepEqual(
        (await changesSince(before)).keys.map(({ id, state, secret }) => ({ id, state, secret })),
        [{ id: 'olderkey', state: 'removed', secret: '' }]
      )
      equal(await tokens.removeKey('nothing'), false)
    })

    it('keeps shares of a film, the newest first', async () => {
      const { shares } = database.access
      const film = { application: 'media', user: 'ü', file: 'Film ' }
      const share = (id: string, createdAtMs: number, expiresAtMs = 0) => ({
        ...film,
        id,
        secret: '5e'.repeat(32),
        passwordHash: '',
        network: '192.0.2.0/24',
        createdBy: 'me',
        createdAtMs,
        expiresAtMs
      })
      equal(await shares.add(share('aaaa', 1)), true)
      equal(await shares.add(share('aaaa', 9)), false)
      await shares.add(share('bbbb', 2, NOW_MS))
      await shares.add(share('cccc', 2))
      const ids = async (before?: { createdAtMs: number; id: string }) =>
        (await shares.list(film, before, 10)).map(({ id }) => id)
      deepEqual(await ids(), ['cccc', 'bbbb', 'aaaa'])
      deepEqual(await ids({ createdAtMs: 2, id: 'cccc' }), ['bbbb', 'aaaa'])
      equal((await shares.list({ ...film, file: 'Film' }, undefined, 10)).length, 0)
      equal(await shares.countOf(film, NOW_MS), 2)
      equal(await shares.revoke('cccc', NOW_MS), true)
      equal(await shares.revoke('cccc', NOW_MS), true)
      equal(await shares.revoke('nothing', NOW_MS), false)
      equal((await shares.find('cccc'))?.revokedAtMs, NOW_MS)
      await shares.forgetEnded(NOW_MS + 1)
      deepEqual(await ids(), ['cccc', 'aaaa'])
    })

    it('keeps what was done and refused, once, and within its bounds', async () => {
      const { audit } = database.access
      const entry = (id: string, atMs: number, outcome = 'done') => ({
        id,
        atMs,
        who: 'me',
        token: '',
        what: 'file.store',
        application: 'media',
        user: 'u',
        file: 'f',
        address: '192.0.2.1',
        outcome,
        code: outcome === 'done' ? '' : 'ACCESS_DENIED'
      })
      const rows = Array.from({ length: 10 }, (_, index) =>
        entry(`000000000000000${index}`, index, index % 2 ? 'denied' : 'done')
      )
      await audit.add(rows)
      await audit.add(rows)
      const every = { outcome: undefined, application: undefined }
      deepEqual(await audit.list(every, undefined, 100), rows.toReversed())
      equal((await audit.list({ ...every, outcome: 'denied' }, undefined, 100)).length, 5)
      equal((await audit.list({ ...every, application: 'other' }, undefined, 100)).length, 0)
      deepEqual(await audit.list(every, { atMs: 5, id: rows[5]!.id }, 2), [rows[4], rows[3]])
      await audit.trim(3, 1_000)
      equal((await audit.list(every, undefined, 100)).length, 7)
      await audit.trim(0, 4)
      deepEqual(await audit.list(every, undefined, 100), rows.slice(6).toReversed())
      equal(await audit.trim(0, 4), false)
    })

    it('sums plays by day', async () => {
      const { plays } = database.access
      const film = { application: 'media', user: 'u', file: 'f' }
      const sum = (day: number, generation: string, starts: number) => ({
        ...film,
        generation,
        day,
        starts,
        seconds: starts * 10,
        reached: Array.from({ length: 11 }, (_, tenth) => (tenth < starts ? 1 : 0))
      })
      await plays.add([sum(1, 'aa'.repeat(16), 1), sum(2, 'aa'.repeat(16), 2)])
      await plays.add([sum(2, 'aa'.repeat(16), 3), sum(2, 'bb'.repeat(16), 4)])
      const days = await plays.ofFilm(film, 100)
      deepEqual(
        days.map(({ day, starts, seconds }) => [day, starts, seconds]),
        [
          [2, 9, 90],
          [1, 1, 10]
        ]
      )
      deepEqual(days[0]!.reached, [3, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0])
      await plays.forget(2)
      equal((await plays.ofFilm(film, 100)).length, 1)
    })

    it('gives each delivery to one holder at a time', async () => {
      const { webhooks } = database.access
      const hook = { id: 'hook', url: 'https://example.org/', secret: 's'.repeat(20), application: '' }
      equal(await webhooks.add({ ...hook, events: ['stored', 'deleted'], createdAtMs: 1 }), true)
      equal(await webhooks.add({ ...hook, events: [], createdAtMs: 1 }), false)
      const event = { id: 'ee'.repeat(16), event: 'stored', body: '{}', nowMs: 1_000 }
      await webhooks.tell(['hook'], event)
      await webhooks.tell(['hook'], event)
      const taken = await Promise.all(['a', 'b', 'c'].map(who => webhooks.take(who, 2_000, 3_000, 10)))
      equal(taken.flat().length, 1, 'one event is one delivery, of one holder')
      const holder = ['a', 'b', 'c'][taken.findIndex(list => list.length > 0)]!
      const { id } = taken.flat()[0]!
      await webhooks.settle(id, 'nobody', { state: 'done', dueAtMs: 1, failure: '' })
      await webhooks.settle(id, holder, { state: 'waiting', dueAtMs: 5_000, failure: '500' })
      deepEqual(await webhooks.take('a', 4_999, 9_000, 10), [])
      const again = await webhooks.take('a', 5_000, 9_000, 10)
      equal(again[0]?.tries, 2)
      // Whoever took it and died: another one takes it later, and the first has no more say.
      equal((await webhooks.take('b', 9_000, 12_000, 10)).length, 1)
      await webhooks.settle(id, 'a', { state: 'failed', dueAtMs: 1, failure: 'late' })
      deepEqual((await webhooks.counts()).get('hook'), { waiting: 1, failed: 0 })
      await webhooks.settle(id, 'b', { state: 'done', dueAtMs: 10_000, failure: '' })
      equal((await webhooks.deliveriesOf('hook', 10))[0]?.state, 'done')
      await webhooks.forgetEnded(10_001)
      equal((await webhooks.deliveriesOf('hook', 10)).length, 0)
      await webhooks.remove('hook')
      deepEqual(await webhooks.list(), [])
    })
  })
}
