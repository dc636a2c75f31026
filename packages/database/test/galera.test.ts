import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { noMariadb, startMariadb, type Mariadb } from '../../../test/testkit/mariadb.ts'
import { freePort } from '../../../test/testkit/ports.ts'
import { missingFiles } from '../../../test/testkit/service.ts'
import { migrateDatabase, openDatabase, type Database, type OpenOptions } from '@tributary/database'
import { fileRow } from './file-rows.ts'
import { untilAnswers } from './until-answers.ts'

const UNAVAILABLE = { code: 'DATABASE_UNAVAILABLE' }

const GALERA = '/usr/lib/galera/libgalera_smm.so'

function noGalera(): string | undefined {
  return noMariadb() ?? missingFiles([GALERA])
}

/** A cluster of one. */
async function galeraFlags(): Promise<string[]> {
  const port = await freePort()
  return [
    '--wsrep-on=ON',
    `--wsrep-provider=${GALERA}`,
    '--wsrep-cluster-address=gcomm://',
    '--wsrep-new-cluster',
    '--wsrep-node-address=127.0.0.1',
    `--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:${port}`,
    '--binlog-format=ROW',
    '--innodb-autoinc-lock-mode=2'
  ]
}

/** The node, through a way on which `before` happens whenever it is about to be asked causally. @returns its address */
async function withDelay(
  url: string,
  before: () => Promise<unknown>
): Promise<{ url: string; close: () => void }> {
  const target = new URL(url)
  const [port, hostname] = [Number(target.port), target.hostname]
  const server = createServer(outer => {
    const inner = connect(port, hostname)
    const end = (): void => {
      outer.destroy()
      inner.destroy()
    }
    for (const socket of [outer, inner]) socket.on('error', end).on('close', end)
    inner.pipe(outer)
    outer.on('data', chunk => {
      if (!String(chunk).includes('wsrep_sync_wait=1')) return inner.write(chunk)
      outer.pause()
      void before().then(() => {
        inner.write(chunk)
        outer.resume()
      })
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  target.port = String((server.address() as AddressInfo).port)
  return { url: target.href, close: () => server.close() }
}

/** The node, through a way on which the answers to the first commits are lost: the connection ends instead. */
async function losingCommits(
  url: string,
  count: number
): Promise<{ url: string; lost: () => number; close: () => void }> {
  const target = new URL(url)
  const [port, hostname] = [Number(target.port), target.hostname]
  let lost = 0
  const server = createServer(outer => {
    const inner = connect(port, hostname)
    const end = (): void => {
      outer.destroy()
      inner.destroy()
    }
    for (const socket of [outer, inner]) socket.on('error', end).on('close', end)
    let isLost = false
    inner.on('data', chunk => {
      if (isLost) return end()
      outer.write(chunk)
    })
    outer.on('data', chunk => {
      if (String(chunk).includes('COMMIT') && lost < count) {
        lost++
        isLost = true
      }
      inner.write(chunk)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  target.port = String((server.address() as AddressInfo).port)
  return { url: target.href, lost: () => lost, close: () => server.close() }
}

describe('a Galera node', { skip: noGalera() ?? false, timeout: 60_000 }, () => {
  let server: Mariadb
  let database: Database
  const options: OpenOptions = { queryTimeoutMs: 2_000, writeTimeoutMs: 2_000 }

  before(async () => {
    server = await startMariadb(await galeraFlags())
    await migrateDatabase(server.url)
    database = await openDatabase(server.url, options)
  })
  after(async () => {
    await database?.close()
    await server?.stop()
  })

  it('in step: is read causally where that is asked for, and as it comes elsewhere', async () => {
    const row = fileRow()
    await server.sql(`SET GLOBAL general_log = ON; SET GLOBAL log_output = 'TABLE'`)
    await database.files.insert([row])
    deepEqual(await database.files.find(row), row)
    const count = `SELECT count(*) FROM mysql.general_log WHERE argument LIKE 'SET SESSION wsrep_sync_wait=1%'`
    equal(await server.sql(count), '0\n')
    deepEqual(await database.files.find(row, { causal: true }), row)
    equal(await server.sql(count), '1\n')
    equal(await database.files.markDeleting(row, row.generation), true)
    equal(await database.files.remove(row, row.generation), true)
    equal(await database.counters.reserve('galera', 3), 0n)
    ok(await database.leases.take('galera', 'a', 1_000))
    await server.sql('SET GLOBAL general_log = OFF')
  })

  it('that has yet to hear of a delete through another node: gives the name away all the same', async t => {
    const deleted = fileRow()
    await database.files.insert([deleted])
    let isInTheWay = false // opening asks causally too
    const way = await withDelay(server.url, async () => {
      if (isInTheWay) await database.files.remove(deleted, deleted.generation)
    })
    t.after(way.close)
    const other = await openDatabase(way.url, options)
    t.after(() => other.close())
    isInTheWay = true
    const again = fileRow({ file: deleted.file })
    const untouched = fileRow()
    deepEqual(await other.files.insert([untouched, again]), [{ inserted: true }, { inserted: true }])
    deepEqual(await database.files.find(deleted, { causal: true }), again)
    deepEqual(await other.files.insert([fileRow({ file: again.file })]), [
      { inserted: false, existing: again }
    ])
  })

  it('that has yet to hear of an upload through another node: deletes it all the same', async t => {
    const rows = [fileRow(), fileRow()] as const
    const [unheardOf, halfDeleted] = rows
    let isInTheWay = false
    const way = await withDelay(server.url, async () => {
      if (isInTheWay) await database.files.insert([...rows])
    })
    t.after(way.close)
    const other = await openDatabase(way.url, options)
    t.after(() => other.close())
    isInTheWay = true
    equal(await other.files.markDeleting(unheardOf, unheardOf.generation), true)
    equal((await database.files.find(unheardOf, { causal: true }))?.state, 'deleting')
    equal(await other.files.remove(unheardOf, unheardOf.generation), true)
    await database.files.remove(halfDeleted, halfDeleted.generation)
    equal(await other.files.remove(halfDeleted, halfDeleted.generation), true)
    equal(await database.files.find(halfDeleted, { causal: true }), undefined)
    equal(await other.files.markDeleting(fileRow(), unheardOf.generation), false)
  })

  it('that has yet to hear of an upload through another node: puts it into the trash all the same, and out of it', async t => {
    const row = fileRow()
    const untilMs = Date.now() + 60_000
    let before: (() => Promise<unknown>) | undefined
    const way = await withDelay(server.url, async () => {
      const once = before
      before = undefined
      await once?.()
    })
    t.after(way.close)
    const other = await openDatabase(way.url, options)
    t.after(() => other.close())
    await other.files.setTrashed(row, row.generation, row.store, untilMs) // what asks once asks here
    before = () => database.files.insert([row])
    equal(await other.files.setTrashed(row, row.generation, row.store, untilMs), true)
    const now = await database.files.find(row, { causal: true })
    deepEqual([now?.state, now?.trashedUntilMs], ['trashed', untilMs])
    // That it was put into the trash comes late, too.
    await database.files.setTrashed(row, row.generation, row.store, 0)
    before = () => database.files.setTrashed(row, row.generation, row.store, 1)
    equal(await other.files.markExpired(row, row.generation, row.store, 1), true)
    equal((await database.files.find(row, { causal: true }))?.state, 'deleting')
    equal(await other.files.setTrashed(row, row.generation, row.store, 0), false)
    equal(await other.files.setTrashed(row, fileRow().generation, row.store, 0), false)
  })

  it('whose answer to a commit is lost: the trash is as it was asked for', async t => {
    const row = fileRow()
    await database.files.insert([row])
    for (const [count, untilMs] of [
      [1, 5_000],
      [1, 0]
    ] as const) {
      const way = await losingCommits(server.url, count)
      t.after(way.close)
      const other = await openDatabase(way.url, options)
      t.after(() => other.close())
      equal(await other.files.setTrashed(row, row.generation, row.store, untilMs), true)
      equal(way.lost(), count)
      const now = await database.files.find(row, { causal: true })
      deepEqual([now?.state, now?.trashedUntilMs], [untilMs > 0 ? 'trashed' : 'stored', untilMs])
    }
  })

  it('out of step: is not opened', async () => {
    await server.sql('SET GLOBAL wsrep_desync = ON')
    await rejects(openDatabase(server.url, options), { ...UNAVAILABLE, message: /not in step/ })
    await server.sql('SET GLOBAL wsrep_desync = OFF')
  })

  it('that begins to refuse: is left, and used again when it is ready', async () => {
    await database.ping(1_000)
    await server.sql('SET GLOBAL wsrep_reject_queries = ALL')
    await rejects(database.files.insert([fileRow()]), UNAVAILABLE)
    await server.sql('SET GLOBAL wsrep_reject_queries = NONE')
    await untilAnswers(database)
    deepEqual(await database.files.insert([fileRow()]), [{ inserted: true }])
  })
})
