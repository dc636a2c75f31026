/** A brick, or a client of the volume, that is there and answers nothing: who waits for it, and how long. */
import { equal, ok, rejects } from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@tributary/client'
import { cleanUp } from '../faults/cleanup.ts'
import { contentOf } from '../faults/random.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import { startCluster, type TestCluster } from '../testkit/cluster.ts'
import { noGlusterfs, TestVolume, type TestMount } from '../testkit/glusterfs.ts'
import { freePort } from '../testkit/ports.ts'
import { membersOf, startMirroredGroup } from './mirrored-group.ts'

const DEADLINE_MS = 1_000
/** Twice the volume's `network.ping-timeout`: the first one may begin just after the brick was last heard of. */
const STALL_MS = 2 * 5_000 + 2_000
const SOON_MS = 10_000
/** On a busy machine. */
const QUICK_MS = 500
const FILE_BYTES = 200_000

const options = { skip: noGlusterfs() ?? false, timeout: 150_000 }
describe('a GlusterFS volume that hangs', options, () => {
  it('goes on without a frozen brick, and meanwhile health and heartbeats tell the truth', async t => {
    const adminPort = await freePort()
    const { cluster, volume } = await startMirroredGroup(t, {
      // Longer than GlusterFS itself takes to give a brick up: nobody need be told of it.
      storage: { 'volume-deadline-s': String(STALL_MS / 1_000) },
      members: [{ 'admin-port': String(adminPort) }]
    })
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())
    await peer.upload(key('before'), contentOf('before', FILE_BYTES))

    await volume.freezeBrick(2)
    const frozenMs = performance.now()
    const end = new AbortController()
    let healthMs = 0
    const watching = (async () => {
      while (!end.signal.aborted) {
        const askedMs = performance.now()
        equal((await fetch(`http://127.0.0.1:${adminPort}/healthz`)).status, 200)
        healthMs = Math.max(healthMs, performance.now() - askedMs)
        const [member] = await membersOf(cluster)
        ok(Date.now() / 1_000 - member!.beatAtS < 4, 'heartbeats go on')
        ok(member!.serving && member!.taking, 'and no member is out of use')
        await sleep(100)
      }
    })()
    let longestMs = 0
    for (let index = 0; performance.now() - frozenMs < STALL_MS; index++) {
      const startMs = performance.now()
      const own = await WirePeer.greeted(cluster.storages[index % 2]!)
      const content = contentOf(`during-${index}`, FILE_BYTES)
      await own.upload(key(`during-${index}`), content)
      ok((await own.download(key(`during-${index}`))).equals(content))
      own.close()
      longestMs = Math.max(longestMs, performance.now() - startMs)
    }
    end.abort()
    await watching
    t.diagnostic(
      `longest upload and read ${Math.round(longestMs)} ms, slowest health answer ${Math.round(healthMs)} ms`
    )
    ok(longestMs < STALL_MS)
    ok(healthMs < QUICK_MS)
    await volume.thawBrick(2)
    await peer.upload(key('after'), contentOf('after', FILE_BYTES))
    ok((await peer.download(key('before'))).equals(contentOf('before', FILE_BYTES)))
  })

  it('behind a frozen client costs requests to it a deadline, and requests to other store paths nothing', async t => {
    const { cluster, mount, adminPort } = await startTwoPaths(t)
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())

    await mount.freeze()
    cleanUp(t, () => mount.thaw())
    const askedMs = performance.now()
    await rejects(
      WirePeer.greeted(cluster.storages[0]!).then(other => other.download(key('mirrored'))),
      { code: 'STORE_UNAVAILABLE' }
    )
    const waitedMs = performance.now() - askedMs
    t.diagnostic(`told after ${Math.round(waitedMs)} ms, with a deadline of ${DEADLINE_MS} ms`)
    ok(waitedMs < DEADLINE_MS + 1_000)
    await until(async () => (await membersOf(cluster))[0]!.reason !== '', 'the tracker knows')
    for (let index = 0; index < 10; index++) {
      const startMs = performance.now()
      await peer.upload(key(`local-${index}`), contentOf(`local-${index}`, 3_000))
      ok((await peer.download(key(`local-${index}`))).equals(contentOf(`local-${index}`, 3_000)))
      ok(performance.now() - startMs < QUICK_MS, 'at its usual speed')
    }
    equal((await fetch(`http://127.0.0.1:${adminPort}/healthz`)).status, 200)
    const [member] = await membersOf(cluster)
    ok(member!.serving && member!.taking && Date.now() / 1_000 - member!.beatAtS < 4)

    mount.thaw()
    await until(async () => (await membersOf(cluster))[0]!.reason === '', 'it is in use again')
    ok((await peer.download(key('mirrored'))).equals(contentOf('mirrored', FILE_BYTES)))
  })

  it('is left to the other member where its client froze or died, and taken back when it is mounted again', async t => {
    const { cluster, mounts } = await startMirroredGroup(t, {
      storage: { 'volume-deadline-s': String(DEADLINE_MS / 1_000) }
    })
    const client = new Client({ trackers: [cluster.tracker] })
    cleanUp(t, () => client.close())
    const film = contentOf('film', FILE_BYTES)
    await client.upload(film, { key: key('film') })

    await mounts[0].freeze()
    t.diagnostic(`read through the library beside a frozen client: ${await slowestRead(client, film)} ms`)
    await until(async () => !(await membersOf(cluster))[0]!.serving, 'nobody is sent there')
    mounts[0].thaw()
    await until(async () => (await membersOf(cluster))[0]!.serving, 'it serves again')

    await mounts[0].kill()
    const killedMs = performance.now()
    await until(async () => !(await membersOf(cluster))[0]!.serving, 'nobody is sent there')
    const noticedMs = performance.now() - killedMs
    t.diagnostic(`a dead client was noticed after ${Math.round(noticedMs)} ms`)
    ok(noticedMs < 2_000)
    t.diagnostic(`read through the library beside a dead client: ${await slowestRead(client, film)} ms`)
    await mounts[0].stop()
    await client.upload(contentOf('meanwhile', FILE_BYTES), { key: key('meanwhile') })
    await rejects(
      WirePeer.greeted(cluster.storages[0]!).then(peer => peer.upload(key('refused'), film)),
      { code: 'STORE_UNAVAILABLE' }
    )
    equal((await readdir(mounts[0].point)).length, 0, 'nothing is written beneath')

    await mounts[0].start()
    await until(async () => (await membersOf(cluster))[0]!.serving, 'it serves again')
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())
    ok((await peer.download(key('meanwhile'))).equals(contentOf('meanwhile', FILE_BYTES)))
    await peer.upload(key('again'), film)
    ok((await peer.download(key('again'))).equals(film))
  })
})

interface TwoPaths {
  cluster: TestCluster
  mount: TestMount
  adminPort: number
}

/** One storage server with a path on a volume, which has more room and gets what is large, and one on a local disk. */
async function startTwoPaths(t: TestContext): Promise<TwoPaths> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-glusterfs-'))
  cleanUp(t, () => rm(folder, { recursive: true, force: true }))
  const volume = await TestVolume.start({ folder })
  cleanUp(t, () => volume.stop())
  const mount = await volume.mount(join(folder, 'mount'))
  const adminPort = await freePort()
  const roots = [join(mount.point, 'store'), join(folder, 'local')]
  const storage = {
    mount: 'fuse.glusterfs,any',
    'volume-deadline-s': String(DEADLINE_MS / 1_000),
    'admin-port': String(adminPort)
  }
  // Both have the same room: a start with the volume alone decides where the first file lies.
  const first = await startCluster({
    folder,
    storeRoots: roots,
    storage: { ...storage, mount: 'fuse.glusterfs', stores: roots[0] }
  })
  const peer = await WirePeer.greeted(first.storages[0]!)
  await peer.upload(key('mirrored'), contentOf('mirrored', FILE_BYTES))
  peer.close()
  await first.stop()
  const cluster = await startCluster({ folder, storeRoots: roots, storage })
  cleanUp(t, () => cluster.stop())
  return { cluster, mount, adminPort }
}

async function slowestRead(client: Client, film: Buffer): Promise<number> {
  let slowestMs = 0
  for (let index = 0; index < 6; index++) {
    const startMs = performance.now()
    const { stream } = await client.download(key('film'))
    ok((await buffer(stream)).equals(film))
    slowestMs = Math.max(slowestMs, performance.now() - startMs)
    await sleep(50)
  }
  return Math.round(slowestMs)
}

function key(file: string) {
  return { application: 'media', user: 'hanging', file }
}

async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + SOON_MS
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`in ${SOON_MS} ms it did not happen that ${what}`)
    await sleep(20)
  }
}
