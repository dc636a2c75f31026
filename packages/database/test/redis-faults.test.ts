import { deepEqual, equal, ok } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { noMariadb, startMariadb, type Mariadb } from '../../../test/testkit/mariadb.ts'
import { freePort } from '../../../test/testkit/ports.ts'
import { noRedis, startRedis, type RedisServer } from '../../../test/testkit/redis.ts'
import { migrateDatabase, openDatabase, type Database } from '@tributary/database'
import { fileRow } from './file-rows.ts'

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
    await redis.freeze()
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
