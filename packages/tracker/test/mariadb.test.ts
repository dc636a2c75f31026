import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { migrateDatabase, openDatabase } from '@tributary/database'
import type { Connection } from '@tributary/transport'
import { noMariadb, startMariadb, type Mariadb } from '../../../test/testkit/mariadb.ts'
import {
  addresses,
  cluster,
  fileRow,
  KEY,
  legacyTo,
  locate,
  oursTo,
  report,
  runTracker,
  type Cleaner,
  type RunningTracker
} from './running-tracker.ts'

describe('a tracker on MariaDB', { timeout: 120_000, skip: noMariadb() ?? false }, () => {
  let mariadb: Mariadb
  before(async () => {
    mariadb = await startMariadb()
    await migrateDatabase(mariadb.url)
    const database = await openDatabase(mariadb.url)
    await database.routes.addApplication('media')
    for (const group of ['group001', 'group002']) await database.routes.addGroup(group)
    await database.files.insert([fileRow(KEY, { group: 'group002' })])
    await database.close()
  })
  after(() => mariadb.stop())

  const withStorages = async (t: Cleaner): Promise<RunningTracker & { storage: Connection }> => {
    const running = await runTracker(t, { '--database': mariadb.url })
    const storage = await oursTo(t, running.address)
    await report(storage, { group: 'group001' })
    await report(storage, { group: 'group002', port: 23_002 })
    return { ...running, storage }
  }

  it('finds files and ties users as on SQLite', async t => {
    const { address, storage } = await withStorages(t)
    const client = await legacyTo(t, address)
    deepEqual(await addresses(client, KEY), { group: 'group002', addresses: ['127.0.0.1:23002'] })
    equal((await locate(storage, KEY)).exists, true)
    equal((await locate(storage, { ...KEY, file: 'other' })).exists, false)
    const { group } = await addresses(client, { ...KEY, file: '' })
    equal((await addresses(client, { ...KEY, file: 'other' })).group, group)
    await rejects(locate(storage, { ...KEY, application: 'other' }), { code: 'UNKNOWN_APPLICATION' })
  })

  it('ties a user once, though two trackers and many clients ask at the same moment', async t => {
    const trackers = await Promise.all([withStorages(t), withStorages(t)])
    const clients = await Promise.all(
      trackers.flatMap(({ address }) => Array.from({ length: 4 }, () => legacyTo(t, address)))
    )
    for (let user = 0; user < 20; user++) {
      const key = { application: 'media', user: `racing${user}`, file: '' }
      const answers = await Promise.all(clients.map(client => addresses(client, key)))
      equal(new Set(answers.map(({ group }) => group)).size, 1)
    }
  })

  for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
    const what = signal === 'SIGKILL' ? 'is killed' : 'hangs'
    it(`serves what it knows while the database ${what}, fails within 2 s for others, and recovers`, async t => {
      const { address, storage } = await withStorages(t)
      const client = await legacyTo(t, address)
      const newFile = { ...KEY, file: '' }
      await locate(storage, KEY)
      const { group } = await locate(storage, newFile)
      mariadb.kill(signal)
      try {
        const untilMs = performance.now() + 2_500
        while (performance.now() < untilMs) {
          await report(storage, { group: 'group001' })
          const startedMs = performance.now()
          equal((await locate(storage, KEY)).group, 'group002')
          equal((await locate(storage, newFile)).group, group)
          equal((await addresses(client, KEY)).group, 'group002')
          await rejects(locate(storage, { ...KEY, user: `new${startedMs}` }), {
            code: 'DATABASE_UNAVAILABLE'
          })
          const elapsedMs = performance.now() - startedMs
          ok(elapsedMs < 2_000, `${elapsedMs} ms`)
        }
        equal((await cluster(storage)).groups.length, 2)
      } finally {
        if (signal === 'SIGSTOP') mariadb.kill('SIGCONT')
        else await mariadb.restart()
      }
      let found: string | undefined
      for (let tries = 0; found === undefined && tries < 40; tries++) {
        await new Promise(resolve => setTimeout(resolve, 250))
        const key = { ...KEY, user: `after ${signal}`, file: '' }
        found = (await addresses(await legacyTo(t, address), key).catch(() => undefined))?.group
      }
      ok(found, 'the tracker finds back to its database')
    })
  }
})
