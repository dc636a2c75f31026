/** The database and the cache die, freeze and lie under a running cluster. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@tributary/client'
import { TributaryError, type FileKey } from '@tributary/protocol'
import { contentOf, Random } from '../faults/random.ts'
import { machineSlowness } from '../testkit/machine-pace.ts'
import { noMariadb } from '../testkit/mariadb.ts'
import { noRedis } from '../testkit/redis.ts'
import { until } from '../testkit/tributary-process.ts'
import { RunningUp } from '../testkit/up.ts'
import { diskAgrees } from './agreement.ts'
import { doorsOf } from './doors.ts'
import { ClusterLoad, describePhase } from '../testkit/cluster-load.ts'
import { startMariadbAndRedis } from './engines.ts'

const USER = 'databases'
const WARM_FILES = 12
/** Each of the two storage servers that are tried in turn waits 2 s for its database. */
const ANSWER_WITHIN_MS = 2 * 2_000 + 500
/** A frozen connection is noticed by silence first. */
const FROZEN_MS = 5_000
const RECOVERS_WITHIN_MS = 5_000
/** All that the absence of a database may look like to a client. */
const UNAVAILABLE = new Set(['DATABASE_UNAVAILABLE', 'ID_SERVER_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'TIMED_OUT'])

const skip = noMariadb() ?? noRedis() ?? false

describe('a cluster whose database and cache fail', { skip, timeout: 240_000 }, () => {
  let backing: Awaited<ReturnType<typeof startMariadbAndRedis>>
  let up: RunningUp
  let load: ClusterLoad
  let client: Client
  let warm: string[]
  const keyOf = (file: string): FileKey => ({ application: 'media', user: USER, file })

  before(async () => {
    backing = await startMariadbAndRedis()
    up = await RunningUp.start(backing)
    load = new ClusterLoad({ doors: doorsOf(up), random: new Random(), users: [USER] })
    // Each server is tried once, so that every answer is seen as it comes.
    client = up.client({ retryForMs: 0 })
    warm = Array.from({ length: WARM_FILES }, (_, index) => `warm-${index}`)
    for (const file of warm) await client.upload(contentOf(file, 20_000), { key: keyOf(file) })
  })
  after(async () => {
    await up?.close()
    await backing?.stop()
  })

  /** Both servers, the tracker and the gateway know them. */
  const readWarm = async (): Promise<number> => {
    let slowestMs = 0
    for (const file of warm) {
      for (let i = 0; i < 2; i++) {
        const startMs = performance.now()
        const fetched = await client.fetch(keyOf(file))
        ok(fetched.outcome === 'content' && fetched.bytes!.equals(contentOf(file, 20_000)), file)
        const response = await fetch(up.urlOf(USER, file))
        equal(response.status, 200, file)
        ok(Buffer.from(await response.arrayBuffer()).equals(contentOf(file, 20_000)))
        slowestMs = Math.max(slowestMs, performance.now() - startMs)
      }
    }
    return slowestMs
  }

  const without = async (): Promise<{ codes: string[]; slowestMs: number }> => {
    const codes: string[] = []
    let slowestMs = 0
    const ask = async (call: () => Promise<unknown>): Promise<void> => {
      const startMs = performance.now()
      codes.push(await codeOf(call))
      slowestMs = Math.max(slowestMs, performance.now() - startMs)
    }
    await ask(() => client.upload(contentOf('none', 5_000), { key: keyOf('none') }))
    await ask(() => client.upload(contentOf('none', 500_000), { key: keyOf('large none') }))
    await ask(() => client.stat(keyOf('never seen')))
    await ask(() => client.delete(keyOf(warm[0]!)))
    return { codes, slowestMs }
  }

  const httpWithout = async (): Promise<number[]> => {
    const put = await fetch(up.urlOf(USER, 'put'), { method: 'PUT', body: contentOf('put', 5_000) })
    const get = await fetch(up.urlOf(USER, 'never seen either'))
    const statuses = [put.status, get.status]
    await Promise.all([put.arrayBuffer(), get.arrayBuffer()])
    return statuses
  }

  const untilWritable = async (): Promise<number> => {
    const startMs = performance.now()
    let count = 0
    await until('uploads are taken again', RECOVERS_WITHIN_MS * 8, async () => {
      const file = `after-${performance.now()}-${count++}`
      return (await codeOf(() => client.upload(contentOf(file, 100), { key: keyOf(file) }))) === 'done'
    })
    return performance.now() - startMs
  }

  it('serves what is cached while MariaDB is dead, refuses the rest in time and never as "not found"', async t => {
    await readWarm()
    backing.mariadb.kill('SIGKILL')
    let told = ''
    const slowness = await machineSlowness()
    try {
      const slowestReadMs = await readWarm()
      const { codes, slowestMs } = await without()
      const statuses = await httpWithout()
      told = `reads within ${Math.round(slowestReadMs)} ms, refusals within ${Math.round(slowestMs)} ms (${codes.join(', ')}; ${statuses.join(', ')})`
      deepEqual(
        codes.filter(code => !UNAVAILABLE.has(code)),
        []
      )
      deepEqual(
        statuses.filter(status => status !== 503 && status !== 504),
        []
      )
      ok(slowestMs < ANSWER_WITHIN_MS * slowness, `${slowestMs} ms`)
    } finally {
      await backing.mariadb.restart()
    }
    const backMs = await untilWritable()
    t.diagnostic(
      `${told}, writes ${Math.round(backMs)} ms after its return, machine slower by ${slowness.toFixed(1)}`
    )
    ok(backMs < RECOVERS_WITHIN_MS * slowness, `${backMs} ms`)
    equal(await codeOf(() => client.stat(keyOf('never seen'))), 'FILE_NOT_FOUND')
    await readWarm()
  })

  it('does the same while MariaDB is frozen for five seconds', async t => {
    const slowness = await machineSlowness()
    await backing.mariadb.freeze()
    const frozenMs = performance.now()
    try {
      const [slowestReadMs, { codes, slowestMs }, statuses] = await Promise.all([
        readWarm(),
        without(),
        httpWithout()
      ])
      deepEqual(
        codes.filter(code => !UNAVAILABLE.has(code)),
        []
      )
      deepEqual(
        statuses.filter(status => status !== 503 && status !== 504),
        []
      )
      t.diagnostic(
        `reads within ${Math.round(slowestReadMs)} ms, refusals within ${Math.round(slowestMs)} ms (${codes.join(', ')}; ${statuses.join(', ')})`
      )
      ok(slowestReadMs < ANSWER_WITHIN_MS * slowness, `${slowestReadMs} ms`)
      await sleep(Math.max(0, FROZEN_MS - (performance.now() - frozenMs)))
    } finally {
      backing.mariadb.kill('SIGCONT')
    }
    const backMs = await untilWritable()
    t.diagnostic(`writes ${Math.round(backMs)} ms after its return`)
    ok(backMs < RECOVERS_WITHIN_MS * slowness, `${backMs} ms`)
    await readWarm()
  })

  it('loses nothing that was acknowledged under load while MariaDB is killed, and then frozen', async t => {
    const [, phase] = await load.during(async () => {
      await sleep(700)
      backing.mariadb.kill('SIGKILL')
      await sleep(700)
      await backing.mariadb.restart()
      await sleep(2_000)
      await backing.mariadb.freeze()
      await sleep(2_500)
      backing.mariadb.kill('SIGCONT')
      await sleep(2_000)
    })
    t.diagnostic(describePhase(phase))
    deepEqual(
      Object.keys({ ...phase.failures, ...phase.httpFailures }).filter(code => !UNAVAILABLE.has(code)),
      []
    )
  })

  it('does not notice that Redis is killed, emptied, or answers with garbage', async t => {
    const { redis } = backing
    const [, phase] = await load.during(async () => {
      await sleep(500)
      await redis.command('FLUSHALL')
      await sleep(500)
      await redis.freeze()
      await sleep(1_500)
      redis.kill('SIGCONT')
      await sleep(500)
      for (const key of await keysOf(redis)) await redis.command(`SET ${key} garbage`)
      await sleep(500)
      redis.kill('SIGKILL')
      await sleep(500)
      // Somebody else has its port now.
      const impostor = createServer(socket => {
        socket.on('error', () => {})
        socket.on('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n$-17\r\n*9999999\r\n'))
      }).listen(redis.port, '127.0.0.1')
      await once(impostor, 'listening')
      await sleep(2_000)
      impostor.close()
      impostor.unref()
      await readWarm()
    })
    t.diagnostic(describePhase(phase))
    deepEqual([phase.failures, phase.httpFailures], [{}, {}])
  })

  it('has kept everything', async t => {
    const { whole, absent } = await load.verify()
    t.diagnostic(`${whole} whole, ${absent} absent`)
    await readWarm()
    equal(await up.activeMembers(), 2)
    deepEqual(await up.stop(), { exitCode: 0, signal: null })
    // What nobody could tell at the time is settled by the next start.
    const again = await RunningUp.start({ ...backing, folder: up.folder })
    deepEqual(await again.stop(), { exitCode: 0, signal: null })
    ok((await diskAgrees(again)) >= whole)
  })
})

async function codeOf(call: () => Promise<unknown>): Promise<string> {
  try {
    await call()
    return 'done'
  } catch (error) {
    if (error instanceof TributaryError) return error.code
    throw error
  }
}

/** Names that an inline command can carry. */
async function keysOf(redis: { command(line: string): Promise<string> }): Promise<string[]> {
  const lines = (await redis.command('KEYS *')).split('\r\n')
  return lines.filter(line => /^[\x21-\x7e]+$/.test(line) && !/^[*$]\d+$/.test(line)).slice(0, 500)
}
