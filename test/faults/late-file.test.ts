/** A member that knows a file from the index, and does not see it on the volume yet, or no more. */
import { ok, rejects } from 'node:assert/strict'
import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase } from '@tributary/database'
import { startCluster, type TestCluster } from '../testkit/cluster.ts'
import { Bindfs } from './bindfs.ts'
import { cleanUp } from './cleanup.ts'
import { noMounts } from './mounts.ts'
import { contentOf } from './random.ts'
import { WirePeer } from './wire-peer.ts'

/** CALL_TIMEOUT_MS of the client library, and time for the way. */
const TOLD_MS = 4_000
const LATE_MS = 600
const FILE_BYTES = 100_000

describe('a file that a member knows and does not see', { skip: noMounts(['bindfs']) ?? false }, () => {
  it('is waited for, as another member may have stored it a moment ago', async t => {
    const { cluster, backing } = await startStage(t)
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())
    const { path, hide, show } = await hiddenFile(cluster, backing, peer)
    await hide()
    const startMs = performance.now()
    const reading = peer.download(key('late'))
    await sleep(LATE_MS)
    await show()
    ok((await reading).equals(contentOf('late', FILE_BYTES)), path)
    ok(performance.now() - startMs >= LATE_MS - 50)
  })

  it('is said to be unavailable, never not to be there, before the client gives up', async t => {
    const { cluster, backing } = await startStage(t)
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())
    const { hide } = await hiddenFile(cluster, backing, peer)
    await hide()
    const startMs = performance.now()
    await rejects(peer.download(key('late')), { code: 'STORE_UNAVAILABLE' })
    ok(performance.now() - startMs < TOLD_MS)
    await rejects(peer.download(key('never-was')), { code: 'FILE_NOT_FOUND' })
  })
})

async function startStage(t: TestContext): Promise<{ cluster: TestCluster; backing: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-late-'))
  cleanUp(t, () => rm(folder, { recursive: true, force: true }))
  const { backing, mounted } = await Bindfs.start(t, join(folder, 'backing'), join(folder, 'mounted'))
  const cluster = await startCluster({ folder, storeRoots: [mounted] })
  cleanUp(t, () => cluster.stop())
  return { cluster, backing }
}

/** An upload whose file can be taken out of sight behind the mount's back. */
async function hiddenFile(cluster: TestCluster, backing: string, peer: WirePeer) {
  await peer.upload(key('late'), contentOf('late', FILE_BYTES))
  const database = await openDatabase(cluster.databaseUrl)
  const row = await database.files.find(key('late'), { causal: true })
  await database.close()
  const path = join(backing, row!.path)
  return {
    path,
    hide: () => rename(path, `${path}.hidden`),
    show: () => rename(`${path}.hidden`, path)
  }
}

function key(file: string) {
  return { application: 'media', user: 'late', file }
}
