/** kill -9 at any moment, over and over: what was acknowledged is there, and index, journal and disk agree. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase, type FileRow } from '@tributary/database'
import { runFsck } from '@tributary/storage'
import { noMariadb, startMariadb } from '../testkit/mariadb.ts'
import { cleanUp } from './cleanup.ts'
import { Ledger } from './ledger.ts'
import { Load } from './load.ts'
import { Random } from './random.ts'
import { prepareHost, sqliteIn, type StorageHost } from './storage-host.ts'

/** In all; more in long runs. */
const OPERATIONS = Number(process.env['TRIBUTARY_FAULT_OPERATIONS'] ?? 2_000)
/** About so many operations between two kills. */
const OPERATIONS_PER_KILL = 80
/** More crashes of one worker within a minute, and its main process gives it up. */
const WORKER_KILLS_MAX = 4

describe('a storage server that is killed again and again', { timeout: 600_000 }, () => {
  for (const durability of ['disk', 'page-cache']) {
    it(`keeps what it acknowledged with durability ${durability}`, async t => {
      const folder = await temporary(t)
      const databaseUrl = sqliteIn(folder)
      const stores = [join(folder, 'a'), join(folder, 'b')]
      const host = await prepareHost({ folder, databaseUrl, stores, flags: { durability } })
      cleanUp(t, () => host.close())
      await survive(t, host, OPERATIONS / 2, {})
      await agree(t, host, databaseUrl, () => rm(folder + '/index.db'))
    })
  }

  it('keeps it with two workers', async t => {
    const folder = await temporary(t)
    const databaseUrl = sqliteIn(folder)
    const host = await prepareHost({
      folder,
      databaseUrl,
      stores: [join(folder, 'a')],
      flags: { workers: '2' }
    })
    cleanUp(t, () => host.close())
    await survive(t, host, OPERATIONS / 4, {})
    await agree(t, host, databaseUrl, () => rm(folder + '/index.db'))
  })
})

describe('a storage server whose MariaDB is killed', { skip: noMariadb() ?? false, timeout: 300_000 }, () => {
  it('keeps what it acknowledged, and refuses the rest in time', async t => {
    const folder = await temporary(t)
    const mariadb = await startMariadb()
    cleanUp(t, () => mariadb.stop())
    const host = await prepareHost({ folder, databaseUrl: mariadb.url, stores: [join(folder, 'a')] })
    cleanUp(t, () => host.close())
    await survive(t, host, OPERATIONS / 4, {
      mayRefuse: ['DATABASE_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'ID_SERVER_UNAVAILABLE'],
      kill: async () => {
        mariadb.kill('SIGKILL')
        await sleep(150)
        await mariadb.restart()
      },
      operationsPerKill: 150
    })
    await agree(t, host, mariadb.url, async () => {
      await mariadb.sql('DROP DATABASE tributary; CREATE DATABASE tributary')
    })
  })
})

interface Survival {
  mayRefuse?: readonly string[]
  kill?: () => Promise<void>
  operationsPerKill?: number
}

const ledgers = new WeakMap<StorageHost, Ledger>()

/** Loads the server and kills it at random moments, until all operations were begun. */
async function survive(
  t: TestContext,
  host: StorageHost,
  operations: number,
  { mayRefuse, kill, operationsPerKill = OPERATIONS_PER_KILL }: Survival
): Promise<void> {
  const random = new Random()
  const ledger = new Ledger('crash')
  ledgers.set(host, ledger)
  const kills = { worker: 0, main: 0, both: 0, database: 0 }
  await host.start()
  const load = new Load({
    address: () => host.address,
    ledger,
    random,
    operations,
    ...(mayRefuse && { mayRefuse })
  })
  cleanUp(t, () => load.stop().catch(() => {}))
  let workerKills = 0
  while (!load.isOver) {
    const until = load.begun + operationsPerKill / 2 + random.below(operationsPerKill)
    while (load.begun < until && !load.isOver) await sleep(1)
    await sleep(random.below(3))
    if (load.isOver) break
    if (kill) {
      await kill()
      kills.database++
    } else if (random.below(3) > 0 && workerKills < WORKER_KILLS_MAX) {
      await host.killWorkers()
      workerKills++
      kills.worker++
    } else {
      const together = random.below(2) === 0
      await host.killMain(together)
      await host.start()
      workerKills = 0
      kills[together ? 'both' : 'main']++
    }
  }
  await load.done
  if (!kill) {
    await host.killMain(false)
    await host.start()
  }
  t.diagnostic(
    `seed ${random.seed}: ${load.begun} operations, kills ${JSON.stringify(kills)}, acknowledged ` +
      `${ledger.count('stored')} stored and ${ledger.count('deleted')} deleted, unknown ` +
      `${ledger.count('storing')} uploads and ${ledger.count('deleting')} deletes, refused ${ledger.count('refused')}`
  )
  ok(ledger.stored().length > operations / 8, 'the load came through')
}

/** Every promise is kept; disk, journal and index say the same; and the index can be made again from the disk. */
async function agree(
  t: TestContext,
  host: StorageHost,
  databaseUrl: string,
  dropDatabase: () => Promise<void>
): Promise<void> {
  const ledger = ledgers.get(host)!
  const before = await ledger.verify(host.address)
  deepEqual(before.broken, [])
  t.diagnostic(`${before.whole} whole, ${before.absent} absent`)
  await host.stop()
  for (const root of host.storeRoots) deepEqual(await temporaryFiles(root), [])
  const stores = host.storeRoots
  const checked = await runFsck({ stores, database: databaseUrl, checksums: true })
  deepEqual(checked.findings, [])

  const rows = await allRows(databaseUrl, checked.stores)
  await dropDatabase()
  const rebuilt = await runFsck({ stores, database: databaseUrl, checksums: true, rebuildIndex: true })
  deepEqual(rebuilt.findings, [])
  equal(rebuilt.rebuilt!.inserted, rows.length)
  deepEqual(await allRows(databaseUrl, rebuilt.stores), rows)
  await host.start()
  const after = await ledger.verify(host.address)
  deepEqual(after.broken, [])
  equal(after.whole, before.whole)
}

async function allRows(databaseUrl: string, stores: readonly { store: string }[]): Promise<FileRow[]> {
  const database = await openDatabase(databaseUrl)
  try {
    const rows: FileRow[] = []
    for (const { store } of stores) rows.push(...(await database.files.listStore({ store, limit: 10_000 })))
    return rows
  } finally {
    await database.close()
  }
}

async function temporaryFiles(root: string): Promise<string[]> {
  const entries = await readdir(join(root, '.tmp'), { recursive: true, withFileTypes: true })
  return entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name))
}

async function temporary(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-crash-'))
  cleanUp(t, () => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
  return folder
}
