/** What `mount` demands of store paths: nothing is taken, served or written where the volume is not mounted. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { COMMANDS, encodeFrame, extension, type ClusterMember } from '@tributary/protocol'
import { Connection } from '@tributary/transport'
import { startCluster, type ClusterOptions, type TestCluster } from '../testkit/cluster.ts'
import { freePort } from '../testkit/ports.ts'
import { runTributary } from '../testkit/program.ts'
import { Bindfs } from './bindfs.ts'
import { cleanUp } from './cleanup.ts'
import { execute, mountTmpfs, noMounts, unmount } from './mounts.ts'
import { contentOf } from './random.ts'
import { WirePeer } from './wire-peer.ts'

/** Within so long a store path that went away is out of use, and the tracker knows. */
const NOTICED_MS = 2_000
const SOON_MS = 20_000
const FILE_BYTES = 200_000

describe('a storage server whose mount is demanded', { skip: noMounts(['bindfs']) ?? false }, () => {
  it('refuses to start where the volume is not mounted, in one sentence', async t => {
    const folder = await temporaryFolder(t)
    const root = join(folder, 'store')
    const starting = start(t, { folder, storeRoots: [root], storage: { mount: 'fuse.glusterfs' } })
    await rejects(starting, ({ message }: Error) => {
      match(
        message,
        /must be on a mount of type fuse\.glusterfs, and is on \S+ at \/.*: its volume is not mounted/
      )
      ok(message.includes(root) && !message.includes('\n'))
      return true
    })
    deepEqual((await readdir(root)).sort(), ['.tributary-store'], 'nothing was written')
    const other = join(folder, 'other')
    const database = `sqlite:${join(folder, 'index.db')}`
    const init = ['storage', 'init', other, '--mount', 'fuse.glusterfs', '--database', database]
    const { exitCode, stderr } = await runTributary(init)
    equal(exitCode, 1)
    match(stderr, /other must be on a mount of type fuse\.glusterfs/)
    await rejects(stat(other), { code: 'ENOENT' }, 'nor is a store made there')
  })

  it('refuses to start where the marker is missing, or of another group', async t => {
    const folder = await temporaryFolder(t)
    const { mounted } = await Bindfs.start(t, join(folder, 'backing'), join(folder, 'mounted'))
    const made = await start(t, { folder, storeRoots: [mounted], storage: { mount: 'fuse' } })
    await made.stop()
    await rejects(
      start(t, { folder, storeRoots: [mounted], storage: { mount: 'fuse', group: 'other' } }),
      /is a store of group group001, this server is of other/
    )
    const empty = join(folder, 'empty')
    await mkdir(empty)
    await rejects(
      start(t, { folder, storeRoots: [mounted], storage: { stores: empty } }),
      /it has no \.tributary-store\. If it should be a mounted volume, mount it/
    )
    deepEqual(await readdir(empty), [])
  })

  for (const dies of [false, true]) {
    const how = dies ? 'whose client dies' : 'that is unmounted'
    it(`leaves a volume ${how} alone within 2 s, even where a look-alike is beneath, and uses it again when it is back`, async t => {
      const folder = await temporaryFolder(t)
      const bindfs = await Bindfs.start(t, join(folder, 'backing'), join(folder, 'mounted'))
      const { backing, mounted } = bindfs
      const adminPort = await freePort()
      const cluster = await start(t, {
        folder,
        storeRoots: [mounted],
        storage: { mount: 'fuse', 'admin-port': String(adminPort), 'volume-deadline-s': '1' }
      })
      const peer = await WirePeer.greeted(cluster.storages[0]!)
      cleanUp(t, () => peer.close())
      await peer.upload(key('before'), contentOf('before', FILE_BYTES))
      await peer.upload(key('small'), contentOf('small', 2_000))
      await peer.download(key('small'))

      const load = uploadsUntil(cluster)
      await sleep(200)
      await bindfs.unmount(dies)
      const goneMs = performance.now()
      // A marker of the same store, as a copy of the volume would have it.
      await cp(join(backing, '.tributary-store'), join(mounted, '.tributary-store'))
      let member = await memberOf(cluster)
      while (member.serving || member.taking) {
        ok(performance.now() - goneMs < NOTICED_MS, 'the tracker knows')
        await sleep(20)
        member = await memberOf(cluster)
      }
      t.diagnostic(`the tracker knew after ${Math.round(performance.now() - goneMs)} ms`)
      match(member.reason ?? '', /must be on a mount of type fuse/)
      await rejects(peer.download(key('small')), { code: 'STORE_UNAVAILABLE' })
      await rejects(peer.upload(key('refused'), contentOf('refused', 100)), { code: 'STORE_UNAVAILABLE' })
      const readyz = await (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).text()
      match(readyz, /"ready":false.*its volume is not mounted/)
      await load.stop()
      deepEqual(await readdir(mounted), ['.tributary-store'], 'the folder beneath is as it was')

      await rm(join(mounted, '.tributary-store'))
      await bindfs.mount()
      await until(async () => (await memberOf(cluster)).serving, 'it is in use again')
      const other = await WirePeer.greeted(cluster.storages[0]!)
      cleanUp(t, () => other.close())
      ok((await other.download(key('before'))).equals(contentOf('before', FILE_BYTES)))
      ok((await other.download(key('small'))).equals(contentOf('small', 2_000)))
      await other.upload(key('after'), contentOf('after', FILE_BYTES))
      await other.upload(key('after-small'), contentOf('after-small', 100))
      equal(await other.size(key('after')), FILE_BYTES)
      for (const { file, bytes } of load.stored) {
        ok((await other.download(key(file))).equals(contentOf(file, bytes)), `${file} was acknowledged`)
      }
    })
  }

  it('whose worker dies while the volume is away waits with its successor for the volume', async t => {
    const folder = await temporaryFolder(t)
    const bindfs = await Bindfs.start(t, join(folder, 'backing'), join(folder, 'mounted'))
    const options = { folder, storeRoots: [bindfs.mounted], storage: { mount: 'fuse' } }
    const cluster = await start(t, options)
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    await peer.upload(key('before'), contentOf('before', FILE_BYTES))
    peer.close()
    await bindfs.unmount()
    const [worker] = await workersOf(process.pid)
    process.kill(worker!, 'SIGKILL')
    await until(async () => (await workersOf(process.pid)).some(pid => pid !== worker), 'it is replaced')
    await until(
      async () => /mount of type fuse/.test((await memberOf(cluster)).reason ?? ''),
      'it says what is missing'
    )
    equal((await memberOf(cluster)).serving, false)
    await bindfs.mount()
    await until(async () => (await memberOf(cluster)).serving, 'it serves')
    const again = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => again.close())
    ok((await again.download(key('before'))).equals(contentOf('before', FILE_BYTES)))
    await again.upload(key('after'), contentOf('after', 100))
  })

  it('on a local disk begins anew where another file system with the same store takes its place', async t => {
    const folder = await temporaryFolder(t)
    const mounted = join(folder, 'mounted')
    const kept = join(folder, 'kept')
    await mountTmpfs(t, mounted, '256M')
    const storage = { mount: 'tmpfs', 'redo-bytes': '16MiB' }
    const cluster = await start(t, { folder, storeRoots: [mounted], storage })
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    await peer.upload(key('small'), contentOf('small', 500))
    await peer.upload(key('large'), contentOf('large', FILE_BYTES))
    peer.close()
    await cp(mounted, kept, { recursive: true })
    await unmount(mounted, false)
    await until(async () => !(await memberOf(cluster)).serving, 'it is out of use')
    deepEqual(await readdir(mounted), [])
    await mkdir(join(folder, 'next'))
    await mountTmpfs(t, join(folder, 'next'), '256M')
    await cp(kept, join(folder, 'next'), { recursive: true })
    await execute('mount', ['--bind', join(folder, 'next'), mounted])
    cleanUp(t, () => unmount(mounted, false))
    await until(async () => (await memberOf(cluster)).serving, 'it serves')
    const again = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => again.close())
    ok((await again.download(key('small'))).equals(contentOf('small', 500)))
    await again.upload(key('small-after'), contentOf('small-after', 500))
    await again.upload(key('large-after'), contentOf('large-after', FILE_BYTES))
    ok((await again.download(key('large-after'))).equals(contentOf('large-after', FILE_BYTES)))
    ok((await again.download(key('large'))).equals(contentOf('large', FILE_BYTES)))
  })

  it('serves from the paths that are there, and takes in the missing one when it is mounted', async t => {
    const folder = await temporaryFolder(t)
    const steady = await Bindfs.start(t, join(folder, 'steady-backing'), join(folder, 'steady'))
    const late = await Bindfs.start(t, join(folder, 'late-backing'), join(folder, 'late'))
    const storeRoots = [steady.mounted, late.mounted]
    const first = await start(t, { folder, storeRoots, storage: { mount: 'fuse', stores: late.mounted } })
    const peer = await WirePeer.greeted(first.storages[0]!)
    for (let index = 0; index < 4; index++) await peer.upload(key(`f${index}`), contentOf(`f${index}`, 1_000))
    peer.close()
    await first.stop()
    await late.unmount()

    const cluster = await start(t, {
      folder,
      storeRoots: [steady.mounted], // these get a marker: the other one's is on its volume, and only there
      storage: { mount: 'fuse', stores: storeRoots.join(',') }
    })
    const member = await memberOf(cluster)
    ok(member.serving && member.taking)
    match(member.reason ?? '', /late must be on a mount of type fuse/)
    const again = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => again.close())
    await again.upload(key('meanwhile'), contentOf('meanwhile', 1_000))
    for (let index = 0; index < 4; index++) {
      await rejects(again.download(key(`f${index}`)), { code: 'STORE_UNAVAILABLE' }, 'never "not found"')
    }
    await rejects(again.delete(key('f0')), { code: 'STORE_UNAVAILABLE' })
    deepEqual(await readdir(late.mounted), [])

    await late.mount()
    await until(async () => !(await memberOf(cluster)).reason, 'it is in use')
    for (let index = 0; index < 4; index++) {
      ok((await again.download(key(`f${index}`))).equals(contentOf(`f${index}`, 1_000)))
    }
  })
})

function key(file: string) {
  return { application: 'media', user: 'mounted', file }
}

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-demanded-'))
  cleanUp(t, () => rm(folder, { recursive: true, force: true }))
  return folder
}

async function start(t: TestContext, options: ClusterOptions): Promise<TestCluster> {
  const cluster = await startCluster(options)
  cleanUp(t, () => cluster.stop())
  return cluster
}

/** Small and large uploads, one after the other on two connections, whatever becomes of them. */
function uploadsUntil(cluster: TestCluster): {
  stored: { file: string; bytes: number }[]
  stop: () => Promise<void>
} {
  const stored: { file: string; bytes: number }[] = []
  const stopping = new AbortController()
  const upload = async (name: string, bytes: number): Promise<void> => {
    for (let index = 0; !stopping.signal.aborted; index++) {
      const file = `${name}-${index}`
      const peer = await WirePeer.greeted(cluster.storages[0]!)
      await peer.upload(key(file), contentOf(file, bytes)).then(
        () => stored.push({ file, bytes }),
        () => sleep(5)
      )
      peer.close()
    }
  }
  const running = Promise.all([upload('load-large', FILE_BYTES), upload('load-small', 500)])
  return {
    stored,
    stop: async () => {
      stopping.abort()
      await running
    }
  }
}

/** Data workers among the children of a process. */
async function workersOf(pid: number): Promise<number[]> {
  const tasks = await readdir(`/proc/${pid}/task`)
  const lists = await Promise.all(
    tasks.map(task => readFile(`/proc/${pid}/task/${task}/children`, 'utf8').catch(() => ''))
  )
  const children = lists.join(' ').split(' ').filter(Boolean).map(Number)
  const commands = await Promise.all(
    children.map(child => readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => ''))
  )
  return children.filter((_, at) => commands[at]!.includes('storage/src/worker/main'))
}

async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + SOON_MS
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`in ${SOON_MS} ms it did not happen that ${what}`)
    await sleep(20)
  }
}

async function memberOf(cluster: TestCluster): Promise<ClusterMember> {
  const connection = await Connection.open('tracker', cluster.tracker, { timeoutMs: 2_000 })
  try {
    await connection.greet({ role: 'client', cluster: '', version: '0.0.0' }, { timeoutMs: 2_000 })
    const body = await connection.call(encodeFrame(COMMANDS.CLUSTER.code), { timeoutMs: 2_000 })
    const members = extension.clusterReply.decode(body).groups.flatMap(group => group.members)
    return members.find(({ status }) => status === 'ACTIVE')!
  } finally {
    connection.destroy()
  }
}
