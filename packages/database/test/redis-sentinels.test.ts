import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { noMariadb, startMariadb, type Mariadb } from '../../../test/testkit/mariadb.ts'
import {
  noSentinel,
  startRedis,
  startSentinel,
  type RedisServer,
  type Sentinel
} from '../../../test/testkit/redis.ts'
import { inspectRedis, migrateDatabase, openDatabase, type Database } from '@tributary/database'
import { fileRow } from './file-rows.ts'

const PASSWORD = 'geheim-und-lang'
const SENTINELS = 3
const QUORUM = 2
/** Down after 1 s, a vote, a promotion: 2.4 s were measured; a busy machine takes longer. */
const FAILOVER_MS_MAX = 30_000

describe('Redis behind Sentinels', { skip: noMariadb() ?? noSentinel() ?? false, timeout: 120_000 }, () => {
  let server: Mariadb
  let primary: RedisServer
  let replica: RedisServer
  const sentinels: Sentinel[] = []
  let database: Database
  const events: string[] = []

  before(async () => {
    const secret = ['--requirepass', PASSWORD, '--masterauth', PASSWORD]
    ;[server, primary] = await Promise.all([startMariadb(), startRedis(secret)])
    replica = await startRedis([...secret, '--replicaof', '127.0.0.1', String(primary.port)])
    const watched = { port: primary.port, password: PASSWORD }
    for (let n = 0; n < SENTINELS; n++) sentinels.push(await startSentinel(watched, QUORUM))
    await migrateDatabase(server.url)
    const hosts = sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')
    database = await openDatabase(server.url, {
      cache: { redisUrl: `redis-sentinel://:${PASSWORD}@${hosts}/tributary` },
      onEvent: event => events.push(event.text)
    })
    await until('the replica to be in step', async () =>
      (await asked(primary, 'INFO replication')).includes('state=online')
    )
    // They find each other through the primary; before that there is no majority.
    await until('the sentinels to find each other and the replica', async () => {
      const replies = await Promise.all(
        sentinels.map(sentinel => sentinel.command('SENTINEL MASTER tributary'))
      )
      return replies.every(
        text => /num-other-sentinels\r\n\$1\r\n2\r\n/.test(text) && /num-slaves\r\n\$1\r\n1\r\n/.test(text)
      )
    })
  })
  after(async () => {
    await database?.close()
    for (const sentinel of sentinels) await sentinel.stop()
    await Promise.all([replica?.stop(), primary?.stop(), server?.stop()])
  })

  it('is looked at where the Sentinels say it is; what cannot be reached is told without its password', async () => {
    const hosts = sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')
    const { error, version, policy } = await inspectRedis(
      `redis-sentinel://:${PASSWORD}@${hosts}/tributary`,
      2_000
    )
    equal(error, undefined)
    match(version ?? '', /^\d+\./)
    ok(policy)
    const gone = await inspectRedis(`redis-sentinel://:${PASSWORD}@127.0.0.1:1/tributary`, 1_000)
    ok(gone.error)
    ok(!gone.error.includes(PASSWORD), gone.error)
    const noAddress = await inspectRedis(`redis-sentinel://:${PASSWORD}@127.0.0.1:1`, 1_000)
    ok(noAddress.error && !noAddress.error.includes(PASSWORD))
  })

  const asked = (redis: RedisServer, line: string): Promise<string> =>
    redis.command(`AUTH ${PASSWORD}\r\n${line}`)

  async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + FAILOVER_MS_MAX
    while (!(await isTrue())) {
      ok(performance.now() < deadline, `waited in vain for ${what}`)
      await sleep(50)
    }
  }

  /** Finds a row again and again until the cache of that server holds something. */
  async function untilCachingIn(redis: RedisServer): Promise<void> {
    const row = fileRow()
    await database.files.insert([row])
    await until('the cache to be used', async () => {
      deepEqual(await database.files.find(row), row)
      return !(await asked(redis, 'DBSIZE')).endsWith(':0\r\n')
    })
  }

  it('is used where they say that it is', () => untilCachingIn(primary))

  it('goes on with the next primary when that one is killed, and every answer meanwhile is right', async () => {
    primary.kill('SIGKILL')
    const row = fileRow()
    await database.files.insert([row])
    await until('a new primary', async () => {
      const started = performance.now()
      deepEqual(await database.files.find(row), row)
      ok(performance.now() - started < 1_000)
      return (await sentinels[0]!.command('SENTINEL GET-MASTER-ADDR-BY-NAME tributary')).includes(
        `\n${replica.port}\r`
      )
    })
    await asked(replica, 'FLUSHALL')
    await untilCachingIn(replica)
    ok(events.includes('cache: back'))
    ok(!events.join().includes(PASSWORD))
  })

  it('stays with it when the old one comes back, which follows it', async () => {
    await primary.restart()
    await until('the old primary to follow', async () =>
      (await asked(primary, 'INFO replication')).includes('role:slave')
    )
    await asked(replica, 'FLUSHALL')
    await untilCachingIn(replica)
  })

  it('answers without a cache while no sentinel does, once the server is gone too', async () => {
    for (const sentinel of sentinels.splice(0)) await sentinel.stop()
    replica.kill('SIGKILL')
    const row = fileRow()
    await database.files.insert([row])
    for (let round = 0; round < 20; round++) deepEqual(await database.files.find(row), row)
    await replica.restart()
  })
})
