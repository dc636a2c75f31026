import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrateDatabase, openDatabase, type Database } from '@tributary/database'
import { fileRow, keyOf } from './file-rows.ts'

const UNAVAILABLE = { code: 'DATABASE_UNAVAILABLE' }

describe('SQLite in trouble', { timeout: 60_000 }, () => {
  let folder: string
  let path: string
  let database: Database

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-sqlite-'))
    path = join(folder, 'index.db')
    await migrateDatabase(`sqlite:${path}`)
    database = await openDatabase(`sqlite:${path}`, { queryTimeoutMs: 500, writeTimeoutMs: 500 })
  })
  after(async () => {
    await database?.close()
    await rm(folder, { recursive: true, force: true })
  })

  it('locked by another process: reads go on, writes wait, and fail as unavailable with nothing written', async () => {
    const row = fileRow()
    await database.files.insert([row])
    const other = new DatabaseSync(path)
    other.exec('BEGIN IMMEDIATE')
    const waiting = fileRow()
    const started = performance.now()
    let ticks = 0
    const ticking = setInterval(() => ticks++, 10)
    const inserting = rejects(database.files.insert([waiting]), UNAVAILABLE)
    deepEqual(await database.files.find(row), row)
    deepEqual(await database.files.findPaths(row.store, [row.path]), [row])
    await inserting
    clearInterval(ticking)
    ok(performance.now() - started < 2_000)
    ok(ticks > 10, 'the event loop was not held up')
    const briefly = database.files.insert([waiting])
    await sleep(100)
    other.exec('COMMIT')
    deepEqual(await briefly, [{ inserted: true }])
    other.close()
  })

  it('asked for more than it can take: the excess is refused, the rest is written', async () => {
    const rows = Array.from({ length: 100 }, () =>
      Array.from({ length: 256 }, () => fileRow({ user: 'flood' }))
    )
    const patient = await openDatabase(`sqlite:${path}`)
    const settled = await Promise.allSettled(rows.map(part => patient.files.insert(part, { durable: false })))
    const refused = settled.filter(outcome => outcome.status === 'rejected')
    ok(refused.length > 0 && refused.length < 100)
    for (const { reason } of refused) equal((reason as { code: string }).code, 'DATABASE_UNAVAILABLE')
    for (const [index, outcome] of settled.entries()) {
      if (outcome.status === 'fulfilled')
        deepEqual(await patient.files.find(rows[index]![255]!), rows[index]![255])
    }
    await patient.close()
  })

  it('wrong in one write: only that one fails', async () => {
    const key = 'x'
    await database.counters.raise(key, 2n ** 63n - 1n)
    const rows = [fileRow(), fileRow()]
    const outcomes = await Promise.allSettled([
      database.files.insert([rows[0]!]),
      database.counters.reserve(key, 1),
      database.files.insert([rows[1]!])
    ])
    deepEqual(
      outcomes.map(outcome => outcome.status),
      ['fulfilled', 'rejected', 'fulfilled']
    )
    for (const row of rows) deepEqual(await database.files.find(row), row)
  })

  it('newer than the program, but only by what it adds: opened, not migrated', async () => {
    const url = `sqlite:${folder}/added.db`
    const { to: known } = await migrateDatabase(url)
    const next = known + 1
    const newer = new DatabaseSync(join(folder, 'added.db'))
    newer.exec(`INSERT INTO kysely_migration (name, timestamp) VALUES ('000${next}-adds', '')`)
    newer.exec(`UPDATE meta SET value='${next} ${known}' WHERE name='schema_least'`)
    const opened = await openDatabase(url)
    const row = fileRow()
    deepEqual(await opened.files.insert([row]), [{ inserted: true }])
    await opened.close()
    await rejects(migrateDatabase(url), { code: 'SCHEMA_VERSION' })
    newer.exec(`UPDATE meta SET value='${next} ${next}' WHERE name='schema_least'`)
    newer.close()
    await rejects(openDatabase(url), { code: 'SCHEMA_VERSION', message: /newer program/ })
  })

  it('older than the program, but not too old: used, and what it lacks comes with the migration', async () => {
    const path = join(folder, 'older.db')
    const { to: known } = await migrateDatabase(`sqlite:${path}`)
    const older = new DatabaseSync(path)
    older.exec(
      `DROP TABLE moves; DELETE FROM kysely_migration WHERE name > '0002'; DELETE FROM meta WHERE name='schema_least'`
    )
    older.close()
    const opened = await openDatabase(`sqlite:${path}`)
    const row = fileRow()
    deepEqual(await opened.files.insert([row]), [{ inserted: true }])
    await rejects(opened.moves.toPark(row.store, 10), { code: 'SCHEMA_VERSION', message: /db migrate/ })
    await rejects(opened.moves.withdraw(row.store, 'x'), { code: 'SCHEMA_VERSION' })
    deepEqual(await migrateDatabase(`sqlite:${path}`), { from: 1, to: known })
    deepEqual(await opened.moves.toPark(row.store, 10), [])
    await opened.moves.withdraw(row.store, 'x')
    await opened.close()
  })

  it('newer than the program: not opened, not migrated', async () => {
    const url = `sqlite:${folder}/newer.db`
    await migrateDatabase(url)
    const newer = new DatabaseSync(join(folder, 'newer.db'))
    newer.exec(`INSERT INTO kysely_migration (name, timestamp) VALUES ('9999-from-the-future', '')`)
    newer.close()
    await rejects(openDatabase(url), { code: 'SCHEMA_VERSION', message: /newer program/ })
    await rejects(migrateDatabase(url), { code: 'SCHEMA_VERSION' })
  })

  it('not a database, or nowhere: said so', async () => {
    await rejects(openDatabase(`sqlite:${import.meta.filename}`), UNAVAILABLE)
    await rejects(migrateDatabase(`sqlite:${folder}/no/such/folder/index.db`), UNAVAILABLE)
    await rejects(openDatabase(`sqlite:${folder}/none.db`), { code: 'SCHEMA_VERSION' })
  })

  it('shared by several writers: every one gets its turn', async () => {
    const url = `sqlite:${path}`
    const writers = await Promise.all([1, 2, 3, 4].map(() => openDatabase(url)))
    const rows = await Promise.all(
      writers.map(async writer => {
        const written = []
        for (let round = 0; round < 50; round++) {
          const row = fileRow({ user: 'shared' })
          deepEqual(await writer.files.insert([row], { durable: round % 2 === 0 }), [{ inserted: true }])
          written.push(row)
        }
        return written
      })
    )
    for (const row of rows.flat()) deepEqual(await database.files.find(keyOf(row)), row)
    await Promise.all(writers.map(writer => writer.close()))
  })
})
