import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict'
import { fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import {
  INSERT_ROWS_MAX,
  migrateDatabase,
  openDatabase,
  type Database,
  type FileRow,
  type Move
} from '@tributary/database'
import { migrated, mysql, mysqlWithRedis, sqlite } from './engines.ts'
import { fileRow, keyOf } from './file-rows.ts'

const CHILD = fileURLToPath(new URL('./reserving-child.ts', import.meta.url))

for (const engine of [sqlite(), mysql(), mysqlWithRedis()]) {
  describe(`a database on ${engine.name}`, { skip: engine.skip ?? false, timeout: 60_000 }, () => {
    let database: Database
    let url: string

    before(async () => {
      await engine.start()
      ;({ database, url } = await migrated(engine))
    })
    after(async () => {
      await database?.close()
      await engine.stop()
    })

    const find = async (row: FileRow): Promise<FileRow | undefined> => database.files.find(keyOf(row))
    const insert = async (row: FileRow): Promise<boolean> => (await database.files.insert([row]))[0]!.inserted

    describe('the schema', () => {
      it('is made once when several migrate at once, and migrating again changes nothing', async () => {
        const empty = await engine.emptyUrl()
        await Promise.all([1, 2, 3].map(() => migrateDatabase(empty)))
        const opened = await openDatabase(empty)
        const clusterId = await opened.clusterId()
        const again = await migrateDatabase(empty)
        equal(again.from, again.to)
        equal(await opened.clusterId(), clusterId)
        await opened.close()
      })

      it('names each cluster by a UUID of its own', async () => {
        const other = await migrated(engine)
        match(
          await other.database.clusterId(),
          /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
        )
        notEqual(await other.database.clusterId(), await database.clusterId())
        await other.database.close()
      })

      it('is demanded: a database that was never migrated is not opened', async () => {
        await rejects(openDatabase(await engine.emptyUrl()), {
          code: 'SCHEMA_VERSION',
          message: /db migrate/
        })
      })
    })

    describe('made again for an existing cluster', () => {
      it('takes its id while it has no row, and keeps its own once it has one', async () => {
        const clusterId = randomUUID()
        const empty = await engine.emptyUrl()
        await migrateDatabase(empty, { clusterId })
        const adopted = await openDatabase(empty)
        equal(await adopted.clusterId(), clusterId)
        await adopted.files.insert([fileRow()])
        await migrateDatabase(empty, { clusterId })
        await rejects(migrateDatabase(empty, { clusterId: randomUUID() }), { code: 'SCHEMA_VERSION' })
        equal(await adopted.clusterId(), clusterId)
        await adopted.close()
      })
    })

    describe('file rows', () => {
      it('come back as they went in', async () => {
        const row = fileRow({ name: 'ünï "q" \\ \' %_.mp4', mediaType: '' })
        ok(await insert(row))
        deepEqual(await find(row), row)
        deepEqual(await database.files.find(row, { causal: true }), row)
      })

      it('hold every size up to 2^53-1 and every checksum, exactly', async () => {
        for (const sizeBytes of [
          0,
          2 ** 31,
          2 ** 32 + 1,
          Number.MAX_SAFE_INTEGER - 1,
          Number.MAX_SAFE_INTEGER
        ]) {
          const row = fileRow({ sizeBytes, crc32: 0xffff_ffff, storedAtMs: Number.MAX_SAFE_INTEGER })
          ok(await insert(row))
          deepEqual(await database.files.find(row, { causal: true }), row)
        }
      })

      it('are refused, not rounded, past 2^53-1, below 0 and in fractions', async () => {
        for (const sizeBytes of [2 ** 53, -1, 0.5, Number.NaN, Infinity]) {
          await rejects(database.files.insert([fileRow({ sizeBytes })]), /sizeBytes/)
        }
      })

      it('have keys that differ by letter case, trailing spaces, normalization and control characters', async () => {
        const files = [
          'Film',
          'film',
          'film ',
          'film  ',
          ' film',
          '\u00e9',
          'e\u0301',
          'ﬁlm',
          'a\u0001b',
          'a\tb',
          'ß',
          'ss'
        ]
        const rows = files.map(file => fileRow({ file, user: 'Ünser' }))
        const others = files.map(file => fileRow({ file, user: 'ünser' }))
        ok((await database.files.insert([...rows, ...others])).every(outcome => outcome.inserted))
        for (const row of [...rows, ...others]) deepEqual(await find(row), row)
        equal(await find(fileRow({ file: 'FILM', user: 'Ünser' })), undefined)
        equal(await find({ ...rows[0]!, application: 'Media' }), undefined)
      })

      it('take ids as long as the wire carries, of four-byte characters too', async () => {
        const row = fileRow({
          application: 'abcDEF012345678',
          user: `${'💽'.repeat(63)}abc`,
          file: `${'𝄞'.repeat(31)}xyz`
        })
        ok(await insert(row))
        deepEqual(await find(row), row)
        for (const bad of [
          { user: '💽'.repeat(64) },
          { file: '' },
          { file: 'a\0b' },
          { application: 'a-b' }
        ]) {
          await rejects(database.files.insert([fileRow(bad)]), /invariant/)
        }
      })

      it('are not found where there are none', async () => {
        equal(await find(fileRow()), undefined)
      })

      it('are answered rightly when thousands are asked for at once', async () => {
        const rows = Array.from({ length: 300 }, () => fileRow({ user: 'crowd' }))
        await database.files.insert(rows)
        const asked = Array.from({ length: 3000 }, (_, index) =>
          index % 4 === 3 ? fileRow() : rows[(index * 7) % 300]!
        )
        const found = await Promise.all(asked.map(async row => database.files.find(row)))
        for (const [index, row] of found.entries()) {
          deepEqual(row, index % 4 === 3 ? undefined : asked[index])
        }
      })
    })

    describe('inserting', () => {
      it('reports what holds the key and leaves it as it was, and inserts its neighbours', async () => {
        const first = fileRow()
        ok(await insert(first))
        const second = { ...fileRow(), file: first.file }
        const neighbours = [fileRow(), fileRow()]
        deepEqual(await database.files.insert([neighbours[0]!, second, neighbours[1]!]), [
          { inserted: true },
          { inserted: false, existing: first },
          { inserted: true }
        ])
        deepEqual(await find(first), first)
        for (const row of neighbours) deepEqual(await find(row), row)
      })

      it('counts the same generation as inserted, so that a retry succeeds', async () => {
        const row = fileRow()
        ok(await insert(row))
        ok(await insert(row))
        deepEqual(await database.files.insert([row, fileRow(), row]), [
          { inserted: true },
          { inserted: true },
          { inserted: true }
        ])
      })

      it('lets the first of two rows with one key win', async () => {
        const first = fileRow({ file: 'twice' })
        const second = fileRow({ file: 'twice' })
        deepEqual(await database.files.insert([first, second]), [
          { inserted: true },
          { inserted: false, existing: first }
        ])
        deepEqual(await find(first), first)
      })

      it('refuses a place in the store that another file has', async () => {
        const first = fileRow()
        ok(await insert(first))
        const second = fileRow({ path: first.path })
        deepEqual(await database.files.insert([second]), [{ inserted: false, existing: undefined }])
        equal(await database.files.find(second, { causal: true }), undefined)
        ok(
          await insert(fileRow({ path: first.path, store: randomUUID() })),
          'another store has the path for itself'
        )
      })

      it('takes more rows than one transaction, in order', async () => {
        const rows = Array.from({ length: INSERT_ROWS_MAX * 2 + 3 }, () => fileRow({ user: 'many' }))
        const taken = fileRow({ user: 'many', file: rows[INSERT_ROWS_MAX + 1]!.file })
        ok(await insert(taken))
        const outcomes = await database.files.insert(rows, { durable: false })
        deepEqual(
          outcomes.flatMap((outcome, index) => (outcome.inserted ? [] : [index])),
          [INSERT_ROWS_MAX + 1]
        )
      })

      it('takes nothing for nothing', async () => {
        deepEqual(await database.files.insert([]), [])
      })

      it('lets exactly one of eight writers on several connections have a key', async () => {
        const connections = await Promise.all([1, 2, 3].map(() => openDatabase(url, engine.options)))
        for (let round = 0; round < 20; round++) {
          const rivals = Array.from({ length: 8 }, () => fileRow({ file: `race ${round}` }))
          const outcomes = await Promise.all(
            rivals.map(async (row, index) => (await connections[index % 3]!.files.insert([row]))[0]!)
          )
          const winners = rivals.filter((_, index) => outcomes[index]!.inserted)
          equal(winners.length, 1)
          for (const outcome of outcomes) if (!outcome.inserted) deepEqual(outcome.existing, winners[0])
          deepEqual(await database.files.find(rivals[0]!, { causal: true }), winners[0])
        }
        await Promise.all(connections.map(connection => connection.close()))
      })
    })

    describe('a media type found later', () => {
      it('goes into a row that has none, of this generation only, and is seen at once', async () => {
        const row = fileRow({ mediaType: '' })
        await insert(row)
        const { files } = database
        equal(await files.setMediaType(keyOf(row), randomUUID().replaceAll('-', ''), 'video/mp4'), false)
        equal(await files.setMediaType(keyOf(row), row.generation, 'video/mp4'), true)
        equal(await files.setMediaType(keyOf(row), row.generation, 'audio/mpeg'), false)
        equal((await find(row))?.mediaType, 'video/mp4')
      })
    })

    describe('a sync', () => {
      it('comes after the rows that were inserted without one', async () => {
        const rows = Array.from({ length: 20 }, () => fileRow())
        const inserting = Promise.all(rows.map(row => database.files.insert([row], { durable: false })))
        await database.files.sync()
        await inserting
        for (const row of rows) deepEqual(await find(row), row)
      })
    })

    describe('deleting', () => {
      it('marks only the generation it was told, as often as it is told', async () => {
        const row = fileRow()
        await insert(row)
        equal(await database.files.markDeleting(row, fileRow().generation), false)
        equal((await find(row))?.state, 'stored')
        equal(await database.files.markDeleting(row, row.generation), true)
        equal(await database.files.markDeleting(row, row.generation), true)
        deepEqual(await find(row), { ...row, state: 'deleting' })
        equal(await database.files.markDeleting(fileRow(), row.generation), false)
      })

      it('takes a trashed row too', async () => {
        const row = fileRow({ state: 'trashed', trashedUntilMs: 1_795_000_000_000 })
        await insert(row)
        deepEqual(await find(row), row)
        equal(await database.files.markDeleting(row, row.generation), true)
        equal((await find(row))?.trashedUntilMs, 0)
      })

      it('removes only the generation it was told, whatever its state', async () => {
        const row = fileRow()
        await insert(row)
        equal(await database.files.remove(row, fileRow().generation), false)
        deepEqual(await find(row), row)
        equal(await database.files.remove(row, row.generation), true)
        equal(await database.files.remove(row, row.generation), false)
        equal(await find(row), undefined)
        ok(await insert(fileRow({ file: row.file, path: row.path })), 'key and place are free again')
      })
    })

    describe('listing', () => {
      it('pages through a user in byte order of file id, stored ones only', async () => {
        const user = 'lister'
        const files = ['b', 'B', 'a', 'ä', 'a ', 'z', 'é', '\u{1F4BD}', '\uFF5E', '0']
        await database.files.insert(files.map(file => fileRow({ user, file })))
        await database.files.insert([fileRow({ user, file: 'c', state: 'trashed', trashedUntilMs: 1 })])
        const expected = files.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
        const listed: string[] = []
        for (let after: string | undefined; ; after = listed.at(-1)) {
          const where = { application: 'media', user, limit: 3, ...(after === undefined ? {} : { after }) }
          const page = await database.files.list(where)
          listed.push(...page.map(row => row.file))
          if (page.length < 3) break
        }
        deepEqual(listed, expected)
        deepEqual(await database.files.list({ application: 'media', user: 'Lister', limit: 10 }), [])
      })

      it('pages through a store in path order, and by state', async () => {
        const store = randomUUID()
        const rows = Array.from({ length: 7 }, () => fileRow({ store }))
        rows.push(
          fileRow({ store, state: 'deleting' }),
          fileRow({ store, state: 'trashed', trashedUntilMs: 9 })
        )
        await database.files.insert(rows.toReversed())
        const first = await database.files.listStore({ store, limit: 5 })
        const second = await database.files.listStore({ store, limit: 5, afterPath: first.at(-1)!.path })
        deepEqual([...first, ...second], rows)
        deepEqual(await database.files.listStore({ store, limit: 5, state: 'deleting' }), [rows[7]])
        deepEqual(await database.files.listStore({ store, limit: 9, state: 'stored' }), rows.slice(0, 7))
        deepEqual(await database.files.listStore({ store: randomUUID(), limit: 5 }), [])
      })

      it('finds rows by place, hundreds at once', async () => {
        const store = randomUUID()
        const rows = Array.from({ length: 700 }, () => fileRow({ store }))
        await database.files.insert(rows)
        const paths = [...rows.map(row => row.path), 'not/there']
        const found = await database.files.findPaths(store, paths)
        deepEqual(new Set(found.map(row => row.generation)), new Set(rows.map(row => row.generation)))
        deepEqual(await database.files.findPaths(randomUUID(), paths), [])
        deepEqual(await database.files.findPaths(store, []), [])
      })

      it('adds up a store', async () => {
        const store = randomUUID()
        deepEqual(await database.files.totals(store), { files: 0, bytes: 0 })
        await database.files.insert([
          fileRow({ store, sizeBytes: 2 ** 40 }),
          fileRow({ store, sizeBytes: 3 })
        ])
        deepEqual(await database.files.totals(store), { files: 2, bytes: 2 ** 40 + 3 })
      })

      it('refuses a page without a limit that makes sense', async () => {
        await rejects(database.files.list({ application: 'media', user: 'u', limit: 0 }), /limit/)
        await rejects(database.files.list({ application: 'media', user: 'u', limit: 10_001 }), /limit/)
      })
    })

    describe('routes', () => {
      it('keep applications and groups, each once, told apart by letter case', async () => {
        for (const name of ['media', 'Media', 'media', 'app2']) await database.routes.addApplication(name)
        deepEqual(await database.routes.applications(), ['Media', 'app2', 'media'])
        for (const name of ['group002', 'group001', 'group001']) await database.routes.addGroup(name)
        deepEqual(await database.routes.groups(), [
          { name: 'group001', region: '', draining: false },
          { name: 'group002', region: '', draining: false }
        ])
      })

      it('tie a user to one group, whichever of several trackers was first', async () => {
        const trackers = await Promise.all([1, 2].map(() => openDatabase(url, engine.options)))
        equal(await database.routes.groupOf('media', 'anna'), undefined)
        const groups = ['group001', 'group002', 'group001', 'group002', 'group001', 'group002']
        const choices = await Promise.all(
          groups.map((group, index) => trackers[index % 2]!.routes.tie('media', 'anna', group))
        )
        equal(new Set(choices).size, 1)
        equal(await database.routes.groupOf('media', 'anna'), choices[0])
        equal(await database.routes.groupOf('media', 'Anna'), undefined)
        equal(await database.routes.groupOf('media', 'anna '), undefined)
        await Promise.all(trackers.map(tracker => tracker.close()))
      })
    })

    describe('groups', () => {
      it('are put in regions and in drain, and are removed when no user is tied to them', async () => {
        const { routes } = database
        await routes.addGroup('growing')
        const row = async (): Promise<unknown> =>
          (await routes.groups()).find(({ name }) => name === 'growing')
        equal(await routes.setRegion('growing', 'eu'), true)
        equal(await routes.setRegion('growing', 'eu'), true, 'the same again is no failure')
        equal(await routes.setDraining('growing', true), true)
        deepEqual(await row(), { name: 'growing', region: 'eu', draining: true })
        equal(await routes.setDraining('growing', false), true)
        equal(await routes.setRegion('growing', ''), true)
        deepEqual(await row(), { name: 'growing', region: '', draining: false })
        equal(await routes.setDraining('no such group', true), false)
        equal(await routes.setRegion('no such group', 'eu'), false)
        await routes.tie('media', 'dora', 'growing')
        equal(await routes.removeGroup('growing'), false)
        equal(await routes.retie('media', 'dora', 'growing', 'group002'), 'group002')
        equal(await routes.removeGroup('growing'), true)
        equal(await routes.removeGroup('growing'), false)
        equal(await row(), undefined)
      })

      it('lose a user to the first of several trackers that give it another one', async () => {
        await database.routes.addGroup('leaving')
        await database.routes.tie('media', 'emil', 'leaving')
        equal(await database.routes.groupOf('media', 'emil'), 'leaving')
        const choices = await Promise.all(
          ['group001', 'group002', 'group001'].map(to =>
            database.routes.retie('media', 'emil', 'leaving', to)
          )
        )
        equal(new Set(choices).size, 1)
        equal(await database.routes.groupOf('media', 'emil'), choices[0])
        equal(await database.routes.retie('media', 'emil', 'leaving', 'group002'), choices[0])
      })

      it('list their users in pages', async () => {
        const users = ['a', 'B', 'ä', 'z'].map(user => ({ application: 'media', user }))
        users.push({ application: 'zeit', user: 'a' })
        await Promise.all(
          users.map(({ application, user }) => database.routes.tie(application, user, 'paged'))
        )
        equal(await database.routes.countUsers('paged'), users.length)
        equal(await database.routes.countUsers('nobody'), 0)
        const listed: typeof users = []
        for (;;) {
          const page = await database.routes.usersOf('paged', 2, listed.at(-1))
          listed.push(...page)
          if (page.length < 2) break
        }
        deepEqual(
          listed.map(({ application, user }) => `${application}/${user}`),
          ['media/B', 'media/a', 'media/z', 'media/ä', 'zeit/a']
        )
      })
    })

    describe('moving a file', () => {
      const moveOf = (row: FileRow, over: Partial<Move> = {}): Move => ({
        ...keyOf(row),
        generation: row.generation,
        group: row.group,
        store: row.store,
        path: row.path,
        toGroup: 'group002',
        toStore: randomUUID(),
        toPath: row.path,
        ...over
      })

      it('switches its row once it is noted, and says so as often as it is asked', async () => {
        const row = fileRow({ store: randomUUID() })
        await insert(row)
        await find(row) // a cache has it now
        const move = moveOf(row)
        equal(await database.files.move(move), false, 'nothing was noted')
        await database.moves.note(move)
        deepEqual(await database.moves.find(row.store, row.path), move)
        deepEqual(await database.moves.toPark(row.store, 10), [], 'nothing is to go before the switch')
        equal(await database.files.move(move), true)
        equal(await database.files.move(move), true)
        const moved = { ...row, group: 'group002', store: move.toStore }
        deepEqual(await find(row), moved)
        deepEqual(await database.files.find(row, { causal: true }), moved)
        deepEqual(await database.moves.toPark(row.store, 10), [move])
        equal(await database.moves.count('group001'), 1)
        await database.moves.note(moveOf(row))
        deepEqual(await database.moves.find(row.store, row.path), move, 'what has happened stays noted')
        await database.moves.withdraw(move.toStore, move.toPath)
        deepEqual(await database.moves.find(row.store, row.path), move)
        await database.moves.park(row.store, row.path, 5_000)
        deepEqual(await database.moves.toPark(row.store, 10), [])
        deepEqual(await database.moves.toRemove(row.store, 5_000, 10), [])
        deepEqual(await database.moves.toRemove(row.store, 5_001, 10), [move])
        await database.moves.remove(row.store, row.path)
        equal(await database.moves.find(row.store, row.path), undefined)
      })

      it('does not happen once its note was taken back, or another one took its place', async () => {
        const row = fileRow({ store: randomUUID() })
        await insert(row)
        const first = moveOf(row)
        const second = moveOf(row)
        await database.moves.note(first)
        await database.moves.withdraw(first.toStore, first.toPath)
        equal(await database.files.move(first), false)
        await database.moves.note(first)
        await database.moves.note(second)
        equal(await database.files.move(first), false)
        deepEqual(await find(row), row)
        const both = await Promise.all([database.files.move(first), database.files.move(second)])
        deepEqual(both, [false, true])
      })

      it('loses to a delete, and a delete that looked for it at the old place loses to it', async () => {
        const row = fileRow({ store: randomUUID() })
        await insert(row)
        const move = moveOf(row)
        await database.moves.note(move)
        equal(await database.files.markDeleting(row, row.generation, randomUUID()), false)
        equal(await database.files.markDeleting(row, row.generation, row.store), true)
        equal(await database.files.markDeleting(row, row.generation, row.store), true)
        equal(await database.files.move(move), false)
        deepEqual(await database.moves.toPark(row.store, 10), [])
        const other = fileRow({ store: randomUUID() })
        await insert(other)
        const away = moveOf(other)
        await database.moves.note(away)
        equal(await database.files.move(away), true)
        equal(await database.files.markDeleting(other, other.generation, other.store), false)
        equal((await find(other))?.state, 'stored')
      })

      it('knows every store that has rows, with its group', async () => {
        const stores = [randomUUID(), randomUUID(), randomUUID()]
        for (const [at, store] of stores.entries()) {
          await database.files.insert([1, 2, 3].map(() => fileRow({ store, group: `g${at}` })))
        }
        const known = new Map((await database.files.groupStores()).map(({ store, group }) => [store, group]))
        deepEqual(
          stores.map(store => known.get(store)),
          ['g0', 'g1', 'g2']
        )
      })

      it('is forgotten together with its group', async () => {
        const row = fileRow({ store: randomUUID(), group: 'dismantled' })
        await insert(row)
        const move = moveOf(row)
        await database.moves.note(move)
        equal(await database.files.move(move), true)
        equal(await database.moves.count('dismantled'), 1)
        await database.moves.forgetGroup('dismantled')
        equal(await database.moves.count('dismantled'), 0)
      })
    })

    describe('counters', () => {
      it('begin at 0 and hand out consecutive blocks, each key for itself', async () => {
        equal(await database.counters.reserve('one', 100), 0n)
        equal(await database.counters.reserve('one', 1), 100n)
        equal(await database.counters.reserve('one', 5), 101n)
        equal(await database.counters.reserve('One', 5), 0n)
        equal(await database.counters.reserve('one ', 5), 0n)
      })

      it('are raised, never lowered', async () => {
        await database.counters.raise('raised', 1000n)
        equal(await database.counters.reserve('raised', 10), 1000n)
        await database.counters.raise('raised', 5n)
        equal(await database.counters.reserve('raised', 10), 1010n)
      })

      it('are exact past 2^53', async () => {
        await database.counters.raise('big', 2n ** 53n + 1n)
        equal(await database.counters.reserve('big', 1), 2n ** 53n + 1n)
        equal(await database.counters.reserve('big', 3), 2n ** 53n + 2n)
        await database.counters.raise('big', 2n ** 62n + 1n)
        equal(await database.counters.reserve('big', 3), 2n ** 62n + 1n)
        equal(await database.counters.reserve('big', 3), 2n ** 62n + 4n)
      })

      it('fail at the end of their range rather than begin again', async () => {
        await database.counters.raise('last', 2n ** 63n - 2n)
        await rejects(database.counters.reserve('last', 100))
        equal(await database.counters.reserve('last', 1), 2n ** 63n - 2n)
      })

      it('never hand a value out twice, to several connections and to processes that are killed', async () => {
        const connections = await Promise.all([1, 2, 3, 4].map(() => openDatabase(url, engine.options)))
        const values: bigint[] = []
        const children = [1, 2].map(() =>
          fork(CHILD, [url, 'shared'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
        )
        for (const child of children) {
          child.on('message', (first: string) => values.push(...block(BigInt(first), 7)))
        }
        await Promise.all(children.map(child => once(child, 'message')))
        for (let round = 0; round < 12; round++) {
          const firsts = await Promise.all(connections.map(each => each.counters.reserve('shared', 7)))
          for (const first of firsts) values.push(...block(first, 7))
          if (round === 5) children[0]!.kill('SIGKILL')
        }
        const exits = children.map(child => once(child, 'exit'))
        children[1]!.kill('SIGKILL')
        await Promise.all(exits.slice(1))
        values.push(...block(await database.counters.reserve('shared', 7), 7))
        equal(new Set(values).size, values.length)
        ok(values.length > 12 * 4 * 7)
        await Promise.all(connections.map(each => each.close()))
      })
    })

    describe('leases', () => {
      it('belong to one holder, who may renew, until given back', async () => {
        const token = await database.leases.take('sweep', 'a', 60_000)
        equal(await database.leases.take('sweep', 'b', 60_000), undefined)
        equal(await database.leases.take('sweep', 'a', 60_000), token)
        await database.leases.release('sweep', 'b')
        equal(await database.leases.take('sweep', 'b', 60_000), undefined)
        await database.leases.release('sweep', 'a')
        const next = await database.leases.take('sweep', 'b', 60_000)
        ok(next! > token!)
      })

      it('run out, and the next holder has a higher token', async () => {
        const token = await database.leases.take('short', 'a', 50)
        await sleep(80)
        ok((await database.leases.take('short', 'b', 60_000))! > token!)
        equal(await database.leases.take('short', 'a', 60_000), undefined)
      })

      it('go to one of many who ask at once', async () => {
        const connections = await Promise.all([1, 2].map(() => openDatabase(url, engine.options)))
        const taken = await Promise.all(
          Array.from({ length: 8 }, (_, index) =>
            connections[index % 2]!.leases.take('rush', `h${index}`, 60_000)
          )
        )
        equal(taken.filter(token => token !== undefined).length, 1)
        await Promise.all(connections.map(each => each.close()))
      })
    })

    describe('closing', () => {
      it('lets what was accepted finish, and refuses what comes later', async () => {
        const other = await openDatabase(url, engine.options)
        const rows = Array.from({ length: 200 }, () => fileRow())
        const writing = rows.map(row => other.files.insert([row], { durable: false }))
        const closing = other.close()
        const outcomes = await Promise.allSettled(writing)
        await closing
        await other.close()
        for (const [index, outcome] of outcomes.entries()) {
          const found = await database.files.find(rows[index]!, { causal: true })
          if (outcome.status === 'fulfilled') deepEqual(found, rows[index])
          else equal((outcome.reason as { code?: string }).code, 'DATABASE_UNAVAILABLE')
        }
        await rejects(other.files.insert([fileRow()]), { code: 'DATABASE_UNAVAILABLE' })
        await rejects(async () => other.files.find(rows[0]!, { causal: true }), {
          code: 'DATABASE_UNAVAILABLE'
        })
        await rejects(other.counters.reserve('late', 1), { code: 'DATABASE_UNAVAILABLE' })
        await rejects(other.ping(100), { code: 'DATABASE_UNAVAILABLE' })
      })

      it('answers a ping before', async () => {
        await database.ping(2_000)
      })
    })
  })
}

describe('the address of a database', () => {
  it('is refused when it is none, without repeating a password', async () => {
    for (const url of [
      '',
      'index.db',
      'postgres://u:geheim@h/d',
      'mysql://u:geheim@host',
      'sqlite:relative.db'
    ]) {
      await rejects(openDatabase(url), (error: Error) => !error.message.includes('geheim'))
    }
  })
})

function block(first: bigint, count: number): bigint[] {
  return Array.from({ length: count }, (_, index) => first + BigInt(index))
}
