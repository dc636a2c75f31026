import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { noMariadb, startMariadb, type Mariadb } from '../../../test/testkit/mariadb.ts'
import { freePort } from '../../../test/testkit/ports.ts'
import { noRedis, startRedis, type RedisServer } from '../../../test/testkit/redis.ts'
import { migrateDatabase, openDatabase, type Database, type OpenOptions } from '@tributary/database'
import { fileRow, keyOf } from './file-rows.ts'

const UNAVAILABLE = { code: 'DATABASE_UNAVAILABLE' }

describe('MariaDB in trouble', { skip: noMariadb() ?? false, timeout: 60_000 }, () => {
  let server: Mariadb
  let database: Database
  const events: string[] = []
  const options: OpenOptions = {
    queryTimeoutMs: 400,
    writeTimeoutMs: 800,
    connectTimeoutMs: 2_000,
    onEvent: event => events.push(event.text)
  }
  const row = fileRow()

  before(async () => {
    server = await startMariadb()
    await migrateDatabase(server.url)
    database = await openDatabase(server.url, options)
    await database.files.insert([row])
  })
  after(async () => {
    await database?.close()
    await server?.stop()
  })

  it('frozen: reads fail as unavailable in time, writes as unknown, and all goes on when it thaws', async () => {
    server.kill('SIGSTOP')
    const started = performance.now()
    await rejects(async () => database.files.find(row), UNAVAILABLE)
    ok(performance.now() - started < 1_500)
    const pending = fileRow()
    const inserting = database.files.insert([pending])
    await rejects(inserting, error => /UNAVAILABLE|UNKNOWN/.test((error as { code: string }).code))
    await rejects(database.ping(100), UNAVAILABLE)
    server.kill('SIGCONT')
    await untilAnswers(database)
    deepEqual(await database.files.find(row), row)
    deepEqual(await database.files.insert([pending]), [{ inserted: true }])
  })

  it('killed: calls fail as unavailable, and succeed again on the same connections after its restart', async () => {
    const outcomes = Promise.allSettled(
      Array.from({ length: 50 }, async (_, index) => {
        await sleep(index * 4)
        const inserted = fileRow({ user: 'killed' })
        await database.files.insert([inserted])
        return inserted
      })
    )
    await sleep(60)
    server.kill('SIGKILL')
    const settled = await outcomes
    await rejects(async () => database.files.find(row), UNAVAILABLE)
    await rejects(database.counters.reserve('k', 1), UNAVAILABLE)
    await server.restart()
    await untilAnswers(database)
    for (const outcome of settled) {
      if (outcome.status === 'rejected') {
        ok(['DATABASE_UNAVAILABLE', 'COMMIT_OUTCOME_UNKNOWN'].includes(outcome.reason.code), outcome.reason)
      } else {
        deepEqual(await database.files.find(outcome.value, { causal: true }), outcome.value)
      }
    }
  })

  it('restarted within the time a write may take: the caller notices nothing', async () => {
    const patient = await openDatabase(server.url, {
      ...options,
      queryTimeoutMs: 10_000,
      writeTimeoutMs: 10_000
    })
    server.kill('SIGKILL')
    const written = fileRow()
    const inserting = patient.files.insert([written])
    const finding = patient.files.find(row)
    await server.restart()
    deepEqual(await inserting, [{ inserted: true }])
    deepEqual(await finding, row)
    await patient.close()
  })

  it('slow to commit: a write whose answer was lost is unknown until it can be settled', async () => {
    const locked = fileRow()
    await database.files.insert([locked])
    // Somebody holds the row longer than a write may take.
    const holding = server.sql(
      'USE tributary; START TRANSACTION; SELECT count(*) FROM files FOR UPDATE; DO SLEEP(1.5)'
    )
    await sleep(200)
    await rejects(database.files.remove(locked, locked.generation), { code: 'COMMIT_OUTCOME_UNKNOWN' })
    await holding
    await untilAnswers(database)
  })

  it('read-only: refused, and used again when it takes writes', async () => {
    const opened = await openDatabase(server.url, options)
    await server.sql('SET GLOBAL read_only = ON')
    await rejects(openDatabase(server.url, { ...options, connectTimeoutMs: 300, queryTimeoutMs: 100 }), {
      code: 'DATABASE_READ_ONLY'
    })
    await server.sql('SET GLOBAL read_only = OFF')
    deepEqual(await opened.files.insert([fileRow()]), [{ inserted: true }])
    await opened.close()
  })

  it('one of several addresses: a dead, a silent and a lying one are passed by', async t => {
    const dead = `mysql://root@127.0.0.1:${await freePort()}/tributary`
    const silent = await listener(() => {})
    const lying = await listener(socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    t.after(() => (silent.close(), lying.close()))
    const urls = [dead, silent.url, lying.url, server.url]
    const opened = await openDatabase(urls, { ...options, connectTimeoutMs: 500, queryTimeoutMs: 2_000 })
    deepEqual(await opened.files.find(row), row)
    await opened.close()
  })

  it('refusing the password: said at once, without the password', async () => {
    const url = server.url.replace('root@', 'root:geheim@')
    const started = performance.now()
    await rejects(openDatabase(url, options), (error: Error & { code: string }) => {
      equal(error.code, 'DATABASE_UNAVAILABLE')
      ok(/Access denied/.test(error.message) && !error.message.includes('geheim'))
      return true
    })
    ok(performance.now() - started < 1_500)
    ok(!events.join().includes('geheim'))
  })

  it('full of connections: calls wait for one instead of failing', async () => {
    const small = await openDatabase(server.url, { poolSize: 1, queryTimeoutMs: 5_000 })
    const calls = Array.from({ length: 100 }, (_, index) => small.counters.reserve(`pool ${index}`, 1))
    deepEqual(new Set(await Promise.all(calls)), new Set([0n]))
    await small.close()
  })

  it('closed while it is frozen: closing ends all the same', async () => {
    const doomed = await openDatabase(server.url, options)
    await doomed.ping(1_000)
    server.kill('SIGSTOP')
    const finding = doomed.files.find(row)
    const closing = doomed.close()
    await rejects(async () => finding, UNAVAILABLE)
    await closing
    server.kill('SIGCONT')
    await untilAnswers(database)
  })
})

describe('Redis in trouble', { skip: noMariadb() ?? noRedis() ?? false, timeout: 60_000 }, () => {
  let server: Mariadb
  let redis: RedisServer
  let database: Database
  let direct: Database
  const events: string[] = []

  before(async () => {
    ;[server, redis] = await Promise.all([startMariadb(), startRedis()])
    await migrateDatabase(server.url)
    database = await openDatabase(server.url, {
      cache: { redisUrl: redis.url },
      onEvent: event => events.push(event.text)
    })
    direct = await openDatabase(server.url)
    await untilCaching()
  })
  after(async () => {
    await database?.close()
    await direct?.close()
    await server?.stop()
    await redis?.stop()
  })

  const cachedKeys = async (): Promise<number> => Number((await redis.command('DBSIZE')).slice(1))
  async function untilCaching(): Promise<void> {
    const kept = fileRow()
    await database.files.insert([kept])
    for (let tried = 0; tried < 300 && (await cachedKeys()) === 0; tried++) {
      await database.files.find(kept)
      await sleep(20)
    }
    ok((await cachedKeys()) > 0)
  }
  /** Insert, find, mark, remove and tie: the same answers, whatever the cache does. */
  async function answersRightly(): Promise<void> {
    const row = fileRow()
    deepEqual(await database.files.insert([row]), [{ inserted: true }])
    for (let round = 0; round < 3; round++) deepEqual(await database.files.find(row), row)
    const user = `user ${row.file}`
    equal(await database.routes.groupOf('media', user), undefined)
    equal(await database.routes.tie('media', user, 'group001'), 'group001')
    equal(await database.routes.groupOf('media', user), 'group001')
    equal(await database.files.markDeleting(row, row.generation), true)
    equal((await database.files.find(row))?.state, 'deleting')
    equal(await database.files.remove(row, row.generation), true)
    equal(await database.files.find(row), undefined)
  }

  it('well: it is used, with an expiry, and a row of it outlives the row until then at most', async () => {
    await answersRightly()
    await redis.command('FLUSHALL')
    const row = fileRow()
    await database.files.insert([row])
    await database.files.find(row)
    await sleep(20)
    equal(await cachedKeys(), 1)
    const key = /\r\n(tributary:.*)\r\n/.exec(await redis.command('KEYS *'))![1]!
    const ttl = Number((await redis.command(`TTL "${key.replace(/\0/g, '\\x00')}"`)).slice(1))
    ok(ttl > 0 && ttl <= 60)
    // Another program deletes behind the cache's back: only a causal read is sure.
    await direct.files.remove(row, row.generation)
    deepEqual(await database.files.find(row), row)
    equal(await database.files.find(row, { causal: true }), undefined)
  })

  it('flushed: nothing is missed', async () => {
    const row = fileRow()
    await database.files.insert([row])
    await redis.command('FLUSHALL')
    deepEqual(await database.files.find(row), row)
    await answersRightly()
  })

  it('full of garbage: it is never believed', async () => {
    const row = fileRow()
    await database.files.insert([row])
    await database.files.find(row)
    const good = [
      1,
      row.application,
      row.user,
      row.file,
      row.generation,
      row.nonce,
      5,
      6,
      row.group,
      row.store,
      row.path
    ]
    const garbage = [
      'x',
      '',
      '{}',
      'null',
      '[]',
      '[1]',
      '1e999',
      JSON.stringify([2, ...good.slice(1), '', '', 1]),
      JSON.stringify([...good.slice(0, 3), 'other', ...good.slice(4), '', '', 1]),
      JSON.stringify([...good.slice(0, 4), [row.generation], ...good.slice(5), '', '', 1]),
      JSON.stringify([...good.slice(0, 6), -1, ...good.slice(7), '', '', 1]),
      JSON.stringify([...good.slice(0, 9), 'no store', row.path, '', '', 1]),
      JSON.stringify([...good, '', '', '1'])
    ]
    const clusterId = await database.clusterId()
    const key = `tributary:${clusterId}:file:${row.application}\\x00${row.user}\\x00${row.file}`
    for (const text of garbage) {
      const reply = await redis.command(`SET "${key}" "${text.replace(/[\\"]/g, '\\$&')}"`)
      ok(reply.startsWith('+OK'), reply)
      deepEqual(await database.files.find(row), row, text)
    }
    await redis.command(`DEL "${key}"`)
    await redis.command(`LPUSH "${key}" wrong-type`)
    deepEqual(await database.files.find(row), row)
    await redis.command('FLUSHALL')
  })

  it('full: no write fails because of it', async () => {
    await redis.command('CONFIG SET maxmemory 1')
    await answersRightly()
    await redis.command('CONFIG SET maxmemory 0')
  })

  it('frozen: calls hardly slow down, and it is used again later', async () => {
    redis.kill('SIGSTOP')
    const row = fileRow()
    await database.files.insert([row])
    const started = performance.now()
    for (let round = 0; round < 100; round++) deepEqual(await database.files.find(row), row)
    ok(performance.now() - started < 5_000)
    await answersRightly()
    redis.kill('SIGCONT')
    await sleep(1_200)
    await redis.command('FLUSHALL')
    await untilCaching()
    await answersRightly()
  })

  it('killed: everything goes on without, and with it again after its restart', async () => {
    redis.kill('SIGKILL')
    await answersRightly()
    await answersRightly()
    await redis.restart()
    await untilCaching()
    await answersRightly()
    ok(events.some(text => text.startsWith('cache: passed by')) && events.includes('cache: back'))
  })

  it('not there from the start: the database opens without it', async () => {
    const redisUrl = `redis://:geheim@127.0.0.1:${await freePort()}`
    const texts: string[] = []
    const lonely = await openDatabase(server.url, {
      cache: { redisUrl },
      onEvent: event => texts.push(event.text)
    })
    const row = fileRow()
    await lonely.files.insert([row])
    deepEqual(await lonely.files.find(row), row)
    await lonely.close()
    ok(!texts.join().includes('geheim'))
  })
})

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

/** A server comes back in its own time; what is tested is that it is noticed without a new connection by hand. */
async function untilAnswers(database: Database): Promise<void> {
  for (let tried = 0; tried < 100; tried++) {
    try {
      return await database.ping(500)
    } catch {
      await sleep(50)
    }
  }
  await database.ping(2_000)
}

async function listener(onSocket: (socket: Socket) => void): Promise<{ url: string; close: () => void }> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket.on('error', () => {}))
    onSocket(socket)
  })
  await new Promise<void>(resolve => server.listen({ host: '127.0.0.1', port: 0 }, resolve))
  return {
    url: `mysql://root@127.0.0.1:${(server.address() as AddressInfo).port}/tributary`,
    close: () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
  }
}
