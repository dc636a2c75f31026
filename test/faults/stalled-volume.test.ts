/** A file system that hangs, and one that goes away: nobody else notices, and nothing is written where it was. */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { COMMANDS, encodeFrame, extension, type ClusterMember } from '@tributary/protocol'
import { Connection } from '@tributary/transport'
import { startCluster, type TestCluster } from '../testkit/cluster.ts'
import { freePort } from '../testkit/ports.ts'
import { programPath } from '../testkit/service.ts'
import { cleanUp } from './cleanup.ts'
import { mountTmpfs, noMounts, unmount } from './mounts.ts'
import { contentOf } from './random.ts'
import { uploadHead, WirePeer } from './wire-peer.ts'

const DEADLINE_MS = 1_000
const SOON_MS = 8_000
/** On a busy machine. */
const QUICK_MS = 500
const FILE_BYTES = 200_000

describe('a store path that hangs', { skip: noMounts(['bindfs']) ?? false, timeout: 120_000 }, () => {
  it('stops neither health nor heartbeats nor other store paths, and is in use again when it answers', async t => {
    const stage = await startStage(t)
    const { cluster, bindfs, healthUrl } = stage
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())
    const onSlow = key('on-slow') // the volume with more room is taken first
    await peer.upload(onSlow, contentOf('on-slow', FILE_BYTES))
    await peer.upload(key('small-on-slow'), contentOf('small', 2_000))

    bindfs.kill('SIGSTOP')
    const askedMs = performance.now()
    const asking = WirePeer.greeted(cluster.storages[0]!)
    await rejects(
      asking.then(other => other.download(onSlow, 1_000)),
      { code: 'STORE_UNAVAILABLE' }
    )
    ok(performance.now() - askedMs < DEADLINE_MS + 2_000, 'at the deadline')
    await until(async () => !(await healthOf(healthUrl)).includes('"ready":true'), 'it is told')

    for (let index = 0; index < 20; index++) {
      const startMs = performance.now()
      await peer.upload(key(`fast-${index}`), contentOf(`fast-${index}`, index % 2 ? FILE_BYTES : 3_000))
      const back = await peer.download(key(`fast-${index}`))
      ok(back.equals(contentOf(`fast-${index}`, index % 2 ? FILE_BYTES : 3_000)))
      ok(performance.now() - startMs < QUICK_MS, 'at its usual speed')
    }
    // More requests than threads hang, and the others go on all the same.
    const hanging = Array.from({ length: 40 }, async () => {
      const other = await WirePeer.greeted(cluster.storages[0]!)
      cleanUp(t, () => other.close())
      await rejects(other.download(key('small-on-slow')), { code: 'STORE_UNAVAILABLE' })
    })
    const startMs = performance.now()
    await peer.download(key('fast-1'))
    ok(performance.now() - startMs < QUICK_MS)
    await Promise.all(hanging)

    const member = await memberOf(cluster)
    equal(member.status, 'ACTIVE')
    ok(member.serving && Date.now() / 1_000 - member.beatAtS < 4, 'heartbeats go on')
    ok(member.reason, 'the tracker knows why')
    const { status } = await fetch(new URL('/healthz', healthUrl))
    equal(status, 200, 'it is alive')

    bindfs.kill('SIGCONT')
    await until(async () => (await memberOf(cluster)).reason === '', 'all is well again')
    ok((await peer.download(onSlow)).equals(contentOf('on-slow', FILE_BYTES)))
    await peer.upload(key('again'), contentOf('again', FILE_BYTES))
    ok((await peer.download(key('again'))).equals(contentOf('again', FILE_BYTES)))
    equal((await stat(join(stage.backing, '.tmp'))).isDirectory(), true)
    deepEqual(await filesBelow(join(stage.backing, '.tmp')), [])
  })

  it('that is unmounted gets nothing written beneath', async t => {
    const stage = await startStage(t)
    const { cluster, mounted } = stage
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())
    await peer.upload(key('before'), contentOf('before', FILE_BYTES))
    await peer.upload(key('before-2'), contentOf('before-2', 100))
    await unmountOnly(mounted)
    // In the second before it is noticed, uploads fail or go elsewhere; none is lost.
    let refused = 0
    for (let index = 0; index < 30; index++) {
      const other = await WirePeer.greeted(cluster.storages[0]!)
      await other
        .upload(key(`after-${index}`), contentOf(`after-${index}`, index % 2 ? FILE_BYTES : 100))
        .then(
          async () => ok((await other.size(key(`after-${index}`))) > 0),
          () => refused++
        )
      other.close()
      await sleep(70)
    }
    ok(refused < 30, 'the other store path takes them')
    await rejects(
      WirePeer.greeted(cluster.storages[0]!).then(other => other.download(key('before-2'))),
      { code: 'STORE_UNAVAILABLE' }
    )
    await rejects(
      WirePeer.greeted(cluster.storages[0]!).then(other => other.delete(key('before'))),
      { code: 'STORE_UNAVAILABLE' }
    )
    ok(((await memberOf(cluster)).reason ?? '').includes(mounted))
    await cluster.stop()
    deepEqual(await readdir(mounted), [], 'the folder beneath is as it was')
  })

  it('whose mount died and came back gives what it gave before, by descriptors of the dead one', async t => {
    const { cluster, bindfs, mounted, backing } = await startStage(t)
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())
    const sizes = { 'kept-small': 2_000, 'kept-large': FILE_BYTES, 'deleted-later': FILE_BYTES }
    for (const [file, bytes] of Object.entries(sizes)) {
      await peer.upload(key(file), contentOf(file, bytes))
      await peer.download(key(file))
    }
    const cut = await WirePeer.greeted(cluster.storages[0]!)
    cut.socket.write(uploadHead(key('cut'), 10 * FILE_BYTES))
    cut.socket.write(contentOf('cut', FILE_BYTES))
    await until(async () => (await filesBelow(join(backing, '.tmp'))).length > 0, 'an upload has begun')
    bindfs.kill('SIGKILL')
    cut.close()
    await until(async () => (await memberOf(cluster)).reason !== '', 'it is told')
    await unmountOnly(mounted)
    await bindfs.again()
    await until(async () => (await memberOf(cluster)).reason === '', 'all is well again')
    for (const [file, bytes] of Object.entries(sizes))
      ok((await peer.download(key(file))).equals(contentOf(file, bytes)), file)
    await peer.delete(key('deleted-later'))
    await rejects(peer.download(key('deleted-later')), { code: 'FILE_NOT_FOUND' })
    await until(
      async () => (await filesBelow(join(backing, '.tmp'))).length === 0,
      'the upload has left nothing'
    )
  })
})

interface Stage {
  cluster: TestCluster
  /** `again`: mounts it once more, when it was killed and unmounted. */
  bindfs: { kill: (signal: NodeJS.Signals) => void; again: () => Promise<void> }
  healthUrl: string
  mounted: string
  backing: string
}

/** A storage server with a small fast store path, and one with much room on a file system that can be frozen. */
async function startStage(t: TestContext): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-stalled-'))
  cleanUp(t, () => rm(folder, { recursive: true, force: true }))
  const fast = join(folder, 'fast')
  await mountTmpfs(t, fast, '256M')
  const backing = join(folder, 'backing')
  const mounted = join(folder, 'mounted')
  await mkdir(backing)
  await mkdir(mounted)
  const beneath = (await stat(folder)).dev
  const mount = async (): Promise<ChildProcess> => {
    const child = spawn(programPath('bindfs')!, ['-f', '--no-allow-other', backing, mounted], {
      stdio: 'ignore'
    })
    await until(async () => (await stat(mounted)).dev !== beneath, 'bindfs is mounted')
    return child
  }
  let bindfs = await mount()
  cleanUp(t, async () => {
    await unmountOnly(mounted)
    const gone = bindfs.exitCode === null && bindfs.signalCode === null ? once(bindfs, 'exit') : undefined
    bindfs.kill('SIGCONT')
    bindfs.kill('SIGKILL')
    await gone
  })
  const adminPort = await freePort()
  const cluster = await startCluster({
    storeRoots: [fast, mounted],
    folder,
    storage: {
      'volume-deadline-s': String(DEADLINE_MS / 1_000),
      'admin-port': String(adminPort)
    }
  })
  cleanUp(t, async () => {
    bindfs.kill('SIGCONT')
    await cluster.stop()
  })
  return {
    cluster,
    bindfs: {
      kill: signal => void bindfs.kill(signal),
      again: async () => {
        bindfs = await mount()
      }
    },
    healthUrl: `http://127.0.0.1:${adminPort}/readyz`,
    mounted,
    backing
  }
}

function key(file: string) {
  return { application: 'media', user: 'stalled', file }
}

async function healthOf(url: string): Promise<string> {
  return (await fetch(url)).text()
}

async function memberOf(cluster: TestCluster): Promise<ClusterMember> {
  const connection = await Connection.open('tracker', cluster.tracker, { timeoutMs: 2_000 })
  try {
    await connection.greet({ role: 'client', cluster: '', version: '0.0.0' }, { timeoutMs: 2_000 })
    const body = await connection.call(encodeFrame(COMMANDS.CLUSTER.code), { timeoutMs: 2_000 })
    return extension.clusterReply.decode(body).groups.flatMap(({ members }) => members)[0]!
  } finally {
    connection.destroy()
  }
}

async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + SOON_MS
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`in ${SOON_MS} ms it did not happen that ${what}`)
    await sleep(20)
  }
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter(entry => entry.isFile()).map(({ name }) => name)
}

async function unmountOnly(folder: string): Promise<void> {
  await unmount(folder, false)
}
