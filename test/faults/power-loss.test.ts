/**
 * Power loss: the store and the index lie on a file system of their own in a file. At a random moment the server is
 * stopped, and the file is copied as it is: what only the page cache knows is not in it. A server that starts on the
 * copy has to have everything that was acknowledged up to that moment.
 */
import { deepEqual, ok } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { runFsck, type Finding } from '@tributary/storage'
import { cleanUp } from './cleanup.ts'
import { Ledger } from './ledger.ts'
import { CONNECTIONS, Load } from './load.ts'
import { execute, makeImage, mountImage, mountTmpfs, noMounts, unmount } from './mounts.ts'
import { Random } from './random.ts'
import { prepareHost, sqliteIn } from './storage-host.ts'

const IMAGE_BYTES = 192 * 1024 * 1024
const ROUNDS = Number(process.env['TRIBUTARY_FAULT_ROUNDS'] ?? 4)
const ROUND_MS_MAX = 900
/** Whatever was on its way to the device when the processes stopped has arrived after this time. */
const SETTLE_MS = 60

describe('a power loss', { skip: noMounts(['losetup', 'mkfs.ext4']) ?? false, timeout: 300_000 }, () => {
  it('takes nothing that was acknowledged', async t => {
    const losses = await lose(t, 'disk', ROUNDS)
    for (const { broken } of losses) deepEqual(broken, [])
  })

  it('takes what was promised the page cache only, or else this test proves nothing', async t => {
    const losses = await lose(t, 'page-cache', 1)
    ok(losses[0]!.broken.some(text => text.includes('is gone')))
  })
})

interface Loss {
  acknowledged: number
  broken: string[]
}

async function lose(t: TestContext, durability: string, rounds: number): Promise<Loss[]> {
  const random = new Random()
  const folder = await mkdtemp(join(tmpdir(), 'tributary-power-'))
  cleanUp(t, () => rm(folder, { recursive: true, force: true }))
  // In memory: a copy takes a moment only, and a sync of the device costs nothing.
  const images = join(folder, 'images')
  await mountTmpfs(t, images, '2G')
  const disk = join(folder, 'disk')
  await makeImage(join(images, 'disk'), IMAGE_BYTES)
  await mountImage(t, join(images, 'disk'), disk)
  const host = await prepareHost({
    folder,
    databaseUrl: sqliteIn(disk),
    idDatabaseUrl: `sqlite:${join(folder, 'ids.db')}`,
    stores: [join(disk, 'store')],
    flags: { durability }
  })
  cleanUp(t, () => host.close())
  await execute('sync', ['-f', disk]) // so far nobody was promised anything
  await host.start()

  const ledger = new Ledger('power')
  const load = new Load({
    address: () => host.address,
    ledger,
    random,
    operations: 1_000_000,
    sizeOf: smallerSize
  })
  cleanUp(t, () => load.stop().catch(() => {}))
  const copies: { image: string; promised: Ledger }[] = []
  for (let round = 0; round < rounds; round++) {
    const wanted = ledger.entries.size + 20
    while (ledger.entries.size < wanted && !load.isOver) await sleep(5)
    await sleep(random.below(ROUND_MS_MAX))
    await host.signal('SIGSTOP')
    await sleep(SETTLE_MS) // replies that have left are heard
    const promised = ledger.snapshot()
    const image = join(images, `copy-${round}`)
    await execute('cp', ['--sparse=always', join(images, 'disk'), image])
    await host.signal('SIGCONT')
    copies.push({ image, promised })
  }
  await load.stop()
  await host.stop()

  const losses: Loss[] = []
  for (const [round, { image, promised }] of copies.entries()) {
    const copy = join(folder, `copy-${round}`)
    await mountImage(t, image, copy)
    const stores = [join(copy, 'store')]
    await host.start({ databaseUrl: sqliteIn(copy), stores })
    const verdict = await promised.verify(host.address)
    await host.stop()
    losses.push({ acknowledged: promised.count('stored'), broken: verdict.broken })
    t.diagnostic(
      `seed ${random.seed}, round ${round}: ${promised.count('stored')} stored and ${promised.count('deleted')} deleted ` +
        `acknowledged, ${verdict.whole} whole, ${verdict.broken.length} broken`
    )
    if (durability === 'disk') {
      const { findings } = await runFsck({ stores, database: sqliteIn(copy), checksums: true })
      // A name may reach the disk before the journal's record, while neither was promised: empty, and the sweeper's.
      const isNobodys = ({ kind, detail }: Finding): boolean =>
        kind === 'orphaned' && detail.startsWith('0 bytes,')
      deepEqual(
        findings.filter(finding => !isNobodys(finding)),
        []
      )
      const nobodys = findings.length
      ok(nobodys <= CONNECTIONS, `${nobodys} names that nobody has`)
      if (nobodys > 0) t.diagnostic(`${nobodys} names of uploads that were on their way`)
    }
    await unmount(copy)
  }
  return losses
}

/** The disk is small. */
function smallerSize(random: Random): number {
  return random.below(6) === 0 ? 66_000 + random.below(100_000) : random.below(8_000)
}
