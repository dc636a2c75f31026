import { equal, ok, rejects } from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { migrateDatabase } from '@tributary/database'
import { COMMANDS, decodeInt64, encodeFrame, type Address } from '@tributary/protocol'
import type { Connection } from '@tributary/transport'
import { noMariadb, startMariadb, type Mariadb } from '../../../test/testkit/mariadb.ts'
import { CALL, connectTo, runIdServer, sqliteUrl, type Cleaner } from './running-server.ts'

const REQUEST = encodeFrame(COMMANDS.ID_GET.code, Buffer.from('key\0'))

interface Running {
  child: ChildProcess
  address: Address
}

async function runInProcess(t: Cleaner, url: string): Promise<Running> {
  const child = fork(new URL('./children/id-server.ts', import.meta.url), [url, '25'], {
    execArgv: ['--conditions=tributary-source']
  })
  t.after(() => child.kill('SIGKILL'))
  const [address] = (await once(child, 'message')) as [Address]
  return { child, address }
}

const idOf = async (connection: Connection): Promise<number> =>
  Number(decodeInt64(await connection.call(REQUEST, CALL)))

/** Asks until `wanted` ids are there or the server is gone; every id that was answered is in `ids`. */
async function collect(t: Cleaner, address: Address, wanted: number, ids: number[]): Promise<void> {
  const connections = await Promise.all(Array.from({ length: 4 }, () => connectTo(t, address, true)))
  await Promise.all(
    connections.map(async connection => {
      for (let left = wanted / connections.length; left > 0;) {
        try {
          ids.push(await idOf(connection))
          left--
        } catch (error) {
          if (!connection.alive) return // killed: what it answered before counts all the same
          // On a disk that is busy with other tests: nothing was handed out.
          if ((error as { code: string }).code !== 'DATABASE_UNAVAILABLE') throw error
        }
      }
    })
  )
}

async function neverTwice(t: Cleaner, url: string): Promise<void> {
  const [one, two] = await Promise.all([runInProcess(t, url), runInProcess(t, url)])
  const ids: number[] = []
  const collecting = [collect(t, one.address, 10_000, ids), collect(t, two.address, 5_000, ids)]
  const someCame = async (): Promise<void> => {
    while (ids.length < 2_000) await new Promise(resolve => setTimeout(resolve, 5))
  }
  await Promise.race([someCame(), ...collecting])
  one.child.kill('SIGKILL')
  await once(one.child, 'exit')
  const again = await runInProcess(t, url)
  collecting.push(collect(t, again.address, 5_000, ids))
  await Promise.all(collecting)
  ok(ids.length >= 10_000, `${ids.length} ids`)
  equal(new Set(ids).size, ids.length)
}

describe('two ID servers on one database', { timeout: 120_000 }, () => {
  it('hand out 10,000 ids, none twice, though one is killed in between (SQLite)', async t => {
    await neverTwice(t, await sqliteUrl(t))
  })
})

describe('ID servers on MariaDB', { timeout: 120_000, skip: noMariadb() ?? false }, () => {
  let mariadb: Mariadb
  before(async () => {
    mariadb = await startMariadb()
    await migrateDatabase(mariadb.url)
  })
  after(() => mariadb.stop())

  it('hand out 10,000 ids, none twice, though one is killed in between', async t => {
    await neverTwice(t, mariadb.url)
  })

  it('serve what they hold while it is down, fail within 2 s after that, and go on when it is back', async t => {
    const { address } = await runIdServer(t, { '--database': mariadb.url })
    const connection = await connectTo(t, address, true)
    const first = await idOf(connection)
    mariadb.kill('SIGKILL')
    for (let more = 1; more <= 40; more++) equal(await idOf(connection), first + more)
    const startedMs = performance.now()
    const rest: number[] = []
    let slowestMs = 0
    for (;;) {
      const askedMs = performance.now()
      try {
        rest.push(await idOf(connection))
      } catch (error) {
        equal((error as { code: string }).code, 'DATABASE_UNAVAILABLE')
        slowestMs = performance.now() - askedMs
        break
      }
    }
    ok(rest.length >= 59, `${rest.length} more`)
    ok(slowestMs < 2_000, `${slowestMs} ms; ${performance.now() - startedMs} in all`)
    await rejects(idOf(connection), { code: 'DATABASE_UNAVAILABLE' })
    await mariadb.restart()
    const ids = new Set([first, ...rest])
    let next: number | undefined
    for (let tries = 0; next === undefined && tries < 20; tries++) {
      next = await idOf(connection).catch(() => undefined)
    }
    ok(next !== undefined && !ids.has(next), `${next}`)
  })
})
