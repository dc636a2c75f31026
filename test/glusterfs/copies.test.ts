/** Copies that are missing: who is told, what is refused, and that all is well again by itself. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { formatAddress } from '@tributary/protocol'
import { GlusterReplication } from '../../packages/storage/src/gluster-replication.ts'
import { Volume } from '../../packages/storage/src/volume.ts'
import { cleanUp } from '../faults/cleanup.ts'
import { contentOf } from '../faults/random.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import { noGlusterfs, TestVolume } from '../testkit/glusterfs.ts'
import { freePort } from '../testkit/ports.ts'
import { runTributary } from '../testkit/program.ts'
import { membersOf, startMirroredGroup } from './mirrored-group.ts'

const execute = promisify(execFile)
/** Two servers' polls and a heartbeat. */
const TOLD_MS = 3_000
/** A brick that was started is connected to within seconds. */
const SOON_MS = 20_000
const FILE_BYTES = 200_000
const NOBODY = 65_534

const options = { skip: noGlusterfs() ?? false, timeout: 150_000 }
describe('a group whose copies are counted', options, () => {
  it('with two copies and an arbiter takes nothing new while one copy is left, serves, and says why everywhere', async t => {
    const adminPort = await freePort()
    const reports = await mkdtemp(join(tmpdir(), 'tributary-heal-'))
    cleanUp(t, () => rm(reports, { recursive: true, force: true }))
    const { cluster, volume } = await startMirroredGroup(t, {
      volume: { arbiter: true },
      storage: { replication: 'glusterfs', 'heal-reports': reports },
      members: [{ 'admin-port': String(adminPort) }, { 'degraded-writes': 'accept' }]
    })
    const report = async (): Promise<void> => {
      const path = join(reports, `${volume.name}.xml`)
      await writeFile(`${path}.new`, await volume.healSummary())
      await rename(`${path}.new`, path)
    }
    const page = async (path: string): Promise<string> =>
      (await fetch(`http://127.0.0.1:${adminPort}${path}`)).text()
    const copies = async () => (await membersOf(cluster)).map(member => [member.copies, member.copiesWanted])
    const [refusing, accepting] = await Promise.all(
      cluster.storages.map(address => WirePeer.greeted(address))
    )
    cleanUp(t, () => {
      refusing!.close()
      accepting!.close()
    })
    deepEqual(await copies(), [
      [2, 2],
      [2, 2]
    ])
    await refusing!.upload(key('before'), contentOf('before', FILE_BYTES))
    await refusing!.upload(key('doomed'), contentOf('doomed', 100))

    await volume.killBrick(3)
    await sleep(TOLD_MS)
    deepEqual((await copies())[0], [2, 2], 'an arbiter is no copy')
    await volume.startBricks()
    await volume.untilConnected(3)

    await volume.killBrick(1)
    const killedMs = performance.now()
    await until(async () => !(await membersOf(cluster))[0]!.taking, 'it takes nothing new')
    const toldMs = performance.now() - killedMs
    t.diagnostic(`the tracker knew after ${Math.round(toldMs)} ms`)
    ok(toldMs < TOLD_MS)
    await until(
      async () => (await membersOf(cluster)).every(({ copies }) => copies === 1),
      'each of them tells'
    )
    const [member, other] = await membersOf(cluster)
    ok(member!.serving && other!.serving && other!.taking)
    match(member!.reason ?? '', /takes no uploads and deletes now: 1 of 2 copies can be reached/)
    match(other!.reason ?? '', /1 of 2 copies can be reached/)
    const { stdout } = await runTributary(['groups', '-t', formatAddress(cluster.tracker)])
    match(stdout, /1 of 2 copies, takes nothing new: .*takes no uploads and deletes now/)
    match(stdout, /1 of 2 copies: /)
    await rejects(refusing!.upload(key('refused'), contentOf('refused', FILE_BYTES)), { code: 'DEGRADED' })
    await rejects(refusing!.upload(key('refused'), contentOf('refused', 10)), { code: 'DEGRADED' })
    await rejects(refusing!.delete(key('doomed')), { code: 'DEGRADED' })
    ok((await refusing!.download(key('before'))).equals(contentOf('before', FILE_BYTES)))
    await accepting!.upload(key('accepted'), contentOf('accepted', FILE_BYTES))
    ok((await refusing!.download(key('accepted'))).equals(contentOf('accepted', FILE_BYTES)))
    const readyz = await fetch(`http://127.0.0.1:${adminPort}/readyz`)
    equal(readyz.status, 200, 'files can be read: an address that follows readiness must stay')
    match(await readyz.text(), /1 of 2 copies can be reached/)
    await report()
    match(await page('/metrics'), /tributary_storage_store_copies\{store="[^"]+"\} 1\n/)
    match(await page('/metrics'), /tributary_storage_store_copies_wanted\{store="[^"]+"\} 2\n/)
    match(await page('/metrics'), /tributary_storage_store_degraded\{store="[^"]+"\} 1\n/)

    await volume.startBricks()
    await until(
      async () => (await membersOf(cluster)).every(each => each.taking && each.copies === 2),
      'it takes again'
    )
    await refusing!.upload(key('after'), contentOf('after', FILE_BYTES))
    await refusing!.delete(key('doomed'))
    match(await page('/metrics'), /tributary_storage_store_degraded\{store="[^"]+"\} 0\n/)
    await until(async () => {
      await report()
      return /tributary_storage_store_unhealed_entries\{store="[^"]+"\} 0\n/.test(await page('/metrics'))
    }, 'it is healed')
  })

  it('are counted through the mount by any user, at little cost, and one of three may be missing', async t => {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-copies-'))
    cleanUp(t, () => rm(folder, { recursive: true, force: true }))
    const volume = await TestVolume.start({ folder })
    cleanUp(t, () => volume.stop())
    const mount = await volume.mount(join(folder, 'mount'))
    await execute('chmod', ['755', folder])
    await mkdir(join(mount.point, 'store'))
    const replication = new GlusterReplication({
      volume: await Volume.open(join(mount.point, 'store')),
      path: join(mount.point, 'store'),
      wanted: undefined,
      reports: undefined
    })
    equal(replication.trouble(), 'the copies cannot be counted: not asked yet')
    await replication.refresh()
    deepEqual(replication.copiesNow(), { reachable: 3, wanted: 3 })
    equal(replication.isHealed(), undefined, 'nobody has said so')
    const rounds = 200
    const startMs = performance.now()
    for (let round = 0; round < rounds; round++) await replication.refresh()
    t.diagnostic(`one count takes ${((performance.now() - startMs) / rounds).toFixed(2)} ms`)

    const graph = join(mount.point, '.meta', 'graphs', 'active', `${volume.name}-replicate-0`)
    const asNobody = [
      '--reuid',
      String(NOBODY),
      '--regid',
      String(NOBODY),
      '--clear-groups',
      'cat',
      join(graph, 'private')
    ]
    match((await execute('setpriv', asNobody)).stdout, /^child_up\[2\] = 1$/m)

    await volume.killBrick(3)
    await replication.refresh()
    await until(async () => {
      await replication.refresh()
      return replication.copiesNow().reachable === 2
    }, 'one is missing')
    equal(replication.isHealed(), false)
    await rejects(replication.waitForCopies(3, AbortSignal.timeout(200)), { code: 'DEGRADED' })
    await volume.startBricks()
    await replication.waitForCopies(3, AbortSignal.timeout(SOON_MS))
  })
})

function key(file: string) {
  return { application: 'media', user: 'counted', file }
}

async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + SOON_MS
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`in ${SOON_MS} ms it did not happen that ${what}`)
    await sleep(50)
  }
}
