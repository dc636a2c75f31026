/** A snapshot of the index, and an index that is filled from one: the same on every engine. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import {
  migrateDatabase,
  openDatabase,
  openRestoreTarget,
  openSnapshot,
  type Database,
  type FileRow
} from '@tributary/database'
import { migrated, mysql, sqlite } from './engines.ts'
import { fileRow, keyOf } from './file-rows.ts'

async function allOf<T>(pages: AsyncGenerator<T[]>): Promise<T[]> {
  const items: T[] = []
  for await (const page of pages) items.push(...page)
  return items
}

const byPath = (a: FileRow, b: FileRow): number => (a.path < b.path ? -1 : 1)

for (const engine of [sqlite(), mysql()]) {
  describe(`a snapshot on ${engine.name}`, { skip: engine.skip, timeout: 120_000 }, () => {
    let url: string
    let database: Database
    before(async () => {
      await engine.start()
      ;({ url, database } = await migrated(engine))
    })
    after(async () => {
      await database?.close()
      await engine.stop()
    })

    it('has every row, route and counter of its moment, to the last bit, and nothing later', async () => {
      const other = '00000000-0000-4000-8000-00000000000a'
      const rows = Array.from({ length: 2_500 }, (_, index) =>
        fileRow({
          path: `000/000/${String(index).padStart(4, '0')}`,
          ...(index % 7 === 0 ? { store: other } : {})
        })
      )
      const odd = fileRow({
        user: 'Zoë ',
        file: 'a\tb"\n',
        name: 'Größe 🎬.mp4',
        sizeBytes: Number.MAX_SAFE_INTEGER,
        crc32: 0xffff_ffff,
        path: 'odd'
      })
      await database.files.insert([...rows, odd])
      await database.files.markDeleting(keyOf(odd), odd.generation)
      await database.routes.addApplication('media')
      await database.routes.addApplication('radio')
      await database.routes.addGroup('group001')
      const users = Array.from({ length: 1_200 }, (_, index) => `user ${String(index).padStart(4, '0')}`)
      await Promise.all(users.map(user => database.routes.tie('media', user, 'group001')))
      await database.routes.tie('radio', 'Zoë ', 'group001')
      await database.counters.raise('store', 2n ** 62n + 1n)
      await database.counters.raise('ключ', 7n)

      const snapshot = await openSnapshot(url)
      await snapshot.clusterId() // its moment
      await database.files.insert([fileRow({ path: 'later' })])
      await database.files.remove(keyOf(rows[0]!), rows[0]!.generation)
      await database.counters.raise('store', 2n ** 62n + 9n)
      const files = await allOf(snapshot.files())
      const expected: FileRow[] = [...rows, { ...odd, state: 'deleting' }]
      deepEqual(files.toSorted(byPath), expected.toSorted(byPath))
      deepEqual(await snapshot.applications(), ['media', 'radio'])
      deepEqual(await snapshot.groups(), [{ name: 'group001', region: '', draining: false }])
      const routes = await allOf(snapshot.routes())
      equal(routes.length, 1_201)
      deepEqual(routes.at(-1), { application: 'radio', user: 'Zoë ', group: 'group001' })
      deepEqual(await allOf(snapshot.counters()), [
        { key: 'store', next: 2n ** 62n + 1n },
        { key: 'ключ', next: 7n }
      ])
      equal(snapshot.engine, engine.name === 'SQLite' ? 'sqlite' : 'mysql')
      await snapshot.close()
      equal((await database.files.stores()).length, 2)
    })

    it('fills an empty index of the same cluster, which nobody else can open until it has ended', async () => {
      const empty = await engine.emptyUrl()
      const cluster = await database.clusterId()
      const target = await openRestoreTarget(empty, cluster)
      await target.begin({ replaces: false })
      await rejects(openDatabase(empty), { code: 'RESTORE_REFUSED' })
      await rejects(openSnapshot(empty), { code: 'RESTORE_REFUSED' })
      await target.addGroups([{ name: 'group009', region: 'eu', draining: true }])
      await target.close()

      // As after a crash: the next try begins anew, without being asked twice.
      const again = await openRestoreTarget(empty, cluster)
      await again.begin({ replaces: false })
      const filling = await openDatabase(empty, { duringRestore: true })
      await filling.files.insert([fileRow()], { durable: false })
      await again.addGroups([{ name: 'group009', region: 'eu', draining: true }])
      await again.end()
      await again.close()
      await filling.close()
      const restored = await openDatabase(empty)
      deepEqual(await restored.routes.groups(), [{ name: 'group009', region: 'eu', draining: true }])
      equal(await restored.clusterId(), cluster)
      await restored.close()
    })

    it('does not fill one with rows unless it is told to, nor another cluster’s, and keeps the counters', async () => {
      const { url: used, database: full } = await migrated(engine)
      const cluster = await full.clusterId()
      await full.files.insert([fileRow(), fileRow()])
      await full.counters.raise('store', 50n)
      await rejects(openRestoreTarget(used, '00000000-0000-4000-8000-00000000000b'), /another cluster/)
      const target = await openRestoreTarget(used, cluster)
      await rejects(target.begin({ replaces: false }), (error: Error) => {
        match(error.message, /--replace/)
        return true
      })
      equal((await full.files.stores()).length, 1)
      await target.begin({ replaces: true })
      await target.end()
      await target.close()
      deepEqual(await full.files.stores(), [])
      ok((await full.counters.reserve('store', 1)) >= 50n)
      await full.close()
      await migrateDatabase(used)
    })
  })
}
