import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { noMariadb, startMariadb, type Mariadb } from '../../../test/testkit/mariadb.ts'
import { freePort } from '../../../test/testkit/ports.ts'
import { migrateDatabase, openDatabase, type Database, type OpenOptions } from '@tributary/database'
import { fileRow } from './file-rows.ts'
import { untilAnswers } from './until-answers.ts'

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
    await server.freeze()
    const started = performance.now()
    await rejects(async () => database.files.find(row), UNAVAILABLE)
    ok(performance.now() - started < 1_500)
    const crowd = performance.now()
    const settled = await Promise.allSettled(
      Array.from({ length: 2_000 }, async () => database.files.find(fileRow()))
    )
    ok(settled.every(outcome => outcome.status === 'rejected' && outcome.reason.code === UNAVAILABLE.code))
    ok(performance.now() - crowd < 1_500, 'the last of a crowd waits no longer than the first')
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
    await server.freeze()
    const finding = doomed.files.find(row)
    await sleep(50)
    const closing = doomed.close()
    await rejects(async () => finding, UNAVAILABLE)
    await closing
    server.kill('SIGCONT')
    await untilAnswers(database)
  })
})

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
