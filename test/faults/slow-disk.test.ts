/**
 * A start on a disk that has much to write: it serves before that is written, and whatever happens meanwhile nothing is lost and
 * nothing comes back. The disk is made slow where the storage server waits for it: at sync(1).
 */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { runFsck } from '@tributary/storage'
import { cleanUp } from './cleanup.ts'
import { Ledger } from './ledger.ts'
import { prepareHost, sqliteIn } from './storage-host.ts'
import { WirePeer } from './wire-peer.ts'

const SYNC_S = 6
const GONE_WITHIN_MS = 15_000
const UPLOADS = 40

describe('a storage server that starts on a slow disk', { timeout: 120_000 }, () => {
  it('serves at once, and keeps what brings back what was acknowledged until the disk has it', async t => {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-slow-'))
    cleanUp(t, () => rm(folder, { recursive: true, force: true }))
    const programs = join(folder, 'programs')
    await mkdir(programs)
    const slowSync = join(programs, 'sync')
    await writeFile(slowSync, `#!/bin/sh\nsleep ${SYNC_S}\nexec /usr/bin/sync "$@"\n`)
    await chmod(slowSync, 0o755)
    const store = join(folder, 'store')
    const host = await prepareHost({
      folder,
      databaseUrl: sqliteIn(folder),
      stores: [store],
      env: { PATH: `${programs}:${process.env['PATH']}` }
    })
    cleanUp(t, () => host.close())
    const boots = (): Promise<string[]> => readdir(join(store, '.redo', 'member1.0'))
    const ledger = new Ledger('slow')
    const upload = async (prefix: string): Promise<void> => {
      const peer = await WirePeer.open(host.address)
      for (let at = 0; at < UPLOADS; at++) await ledger.upload(peer, `${prefix}${at}`, 100 + at)
      peer.close()
    }
    const isKept = async (): Promise<void> => deepEqual((await ledger.verify(host.address)).broken, [])

    await host.start()
    await upload('a')
    await host.killMain(true)
    const startMs = performance.now()
    await host.start()
    ok(performance.now() - startMs < SYNC_S * 1_000, 'it does not wait for the disk')
    equal((await boots()).length, 2, 'the log of the boot before is still there')
    await isKept()
    const peer = await WirePeer.open(host.address)
    for (const entry of ledger.stored().slice(0, UPLOADS / 2)) await ledger.delete(peer, entry)
    peer.close()
    await upload('b')

    await host.killMain(true)
    await host.start()
    equal((await boots()).length, 3, 'both boots are done again')
    await isKept()
    const endMs = performance.now() + GONE_WITHIN_MS
    while ((await boots()).length > 1) {
      ok(performance.now() < endMs, 'the logs go when the disk has it all')
      await sleep(100)
    }
    await isKept()
    await host.stop()
    const { findings } = await runFsck({ stores: [store], database: sqliteIn(folder), checksums: true })
    deepEqual(findings, [])
  })
})
