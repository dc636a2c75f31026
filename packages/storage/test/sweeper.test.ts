/** The search for files without a row: it moves, never removes, and rather nothing than too much. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import type { Database } from '@tributary/database'
import { silentLog } from '@tributary/runtime'
import { Sweeper } from '../src/sweeper.ts'
import { storePathOf } from '../src/store-path.ts'
import { keyOf, labels, openParts, type Parts } from './parts.ts'

const DAY_MS = 86_400_000
const START_MS = Date.UTC(2026, 0, 1)

async function strand(root: string, id: number): Promise<string> {
  const { path } = storePathOf(id, 1_700_000_000)
  await mkdir(dirname(join(root, path)), { recursive: true })
  await writeFile(join(root, path), `stranded ${id}`)
  return path
}

async function filled({ small }: Parts, count: number): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, (_, index) =>
      small.store(keyOf(`file-${index}`), Buffer.from('x'), labels())
    )
  )
}

describe('the sweeper', () => {
  it('moves a file that two sweeps a day apart found without a row, and keeps it for 30 days', async t => {
    const parts = await openParts(t)
    await filled(parts, 10)
    const path = await strand(parts.root, 700_000)
    const sweeper = new Sweeper(parts.database, silentLog())
    const at = (days: number) => sweeper.sweep(parts.store, START_MS + days * DAY_MS)
    deepEqual({ ...(await at(0)), atMs: 0 }, { atMs: 0, orphans: 1, moved: 0, alert: undefined })
    equal((await at(0.9))!.moved, 0)
    equal((await at(1))!.moved, 1)
    const lost = join(parts.root, '.lost/2026-01-02', path.replaceAll('/', '-'))
    equal(await readFile(lost, 'utf8'), 'stranded 700000')
    equal((await at(2))!.orphans, 0)
    await at(30)
    equal(await readFile(lost, 'utf8'), 'stranded 700000')
    await at(33)
    deepEqual(
      (await readdir(join(parts.root, '.lost'))).filter(name => name.startsWith('2026')),
      []
    )
  })

  it('begins anew with a file that had its row in between', async t => {
    const parts = await openParts(t)
    const row = await parts.small.store(keyOf('a'), Buffer.from('x'), labels())
    const { files } = parts.database
    const sweeper = new Sweeper(parts.database, silentLog())
    await files.remove(row, row.generation)
    equal((await sweeper.sweep(parts.store, START_MS))!.orphans, 1)
    await files.insert([row])
    equal((await sweeper.sweep(parts.store, START_MS + DAY_MS))!.orphans, 0)
    await files.remove(row, row.generation)
    equal((await sweeper.sweep(parts.store, START_MS + 2 * DAY_MS))!.moved, 0)
  })

  it('moves nothing when it would be too much, or when the database is another cluster’s', async t => {
    const parts = await openParts(t)
    await filled(parts, 20)
    for (let id = 700_000; id < 700_003; id++) await strand(parts.root, id)
    const sweeper = new Sweeper(parts.database, silentLog())
    await sweeper.sweep(parts.store, START_MS)
    const report = await sweeper.sweep(parts.store, START_MS + 2 * DAY_MS)
    equal(report!.moved, 0)
    match(report!.alert ?? '', /3 of 23 files .* too many/)
    const strange = Object.assign(Object.create(parts.database) as Database, {
      clusterId: () => Promise.resolve('another')
    })
    const other = new Sweeper(strange, silentLog())
    match((await other.sweep(parts.store, START_MS + 4 * DAY_MS))!.alert ?? '', /cluster/)
    ok((await readdir(join(parts.root, '.lost'))).every(name => !name.startsWith('2026')))
  })

  it('is one member’s at a time', async t => {
    const parts = await openParts(t)
    await parts.database.leases.take(`sweep ${parts.store.uuid}`, 'member9.0', 60_000)
    equal(await new Sweeper(parts.database, silentLog()).sweep(parts.store, START_MS), undefined)
  })
})
