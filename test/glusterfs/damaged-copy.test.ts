/** A byte that flips in one copy of a mirrored store: whoever reads that copy, as docs/OPERATIONS.md tells, finds it. */
import { deepEqual, equal, match } from 'node:assert/strict'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { cleanUp } from '../faults/cleanup.ts'
import { contentOf } from '../faults/random.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import { HONEST_OPTIONS, noGlusterfs } from '../testkit/glusterfs.ts'
import { runTributary } from '../testkit/program.ts'
import { startMirroredGroup } from './mirrored-group.ts'

const FILE_BYTES = 200_000
const FLIPPED_AT = 123_456
/** Of three, counted from 1; GlusterFS counts from 0. */
const DAMAGED = 2
const BRICKS = [1, 2, 3]
const KEY = { application: 'media', user: 'damaged', file: 'film' }
/** `fsck`: index and disk differ. */
const DIFFER = 7

const options = { skip: noGlusterfs() ?? false, timeout: 150_000 }
describe('a byte that flips in one of three copies', options, () => {
  it('is found by fsck when that copy is the one that is read, and by none that reads another', async t => {
    const { folder, cluster, volume } = await startMirroredGroup(t, {
      volume: {
        options: { ...HONEST_OPTIONS, 'performance.io-cache': 'off', 'cluster.choose-local': 'off' }
      }
    })
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())
    await peer.upload(KEY, contentOf('film', FILE_BYTES))
    await flip(join(volume.brickFolder(DAMAGED), 'store'))

    const check = async (store: string): Promise<{ exitCode: number | null; kinds: string[] }> => {
      const flags = ['--database', cluster.databaseUrl, '--checksums', '--settle', '0', '--json']
      const { exitCode, stdout } = await runTributary(['fsck', store, ...flags])
      const { findings } = JSON.parse(stdout) as { findings: { kind: string; file: string }[] }
      return { exitCode, kinds: findings.map(({ kind, file }) => `${kind} ${file}`) }
    }
    const found: string[] = []
    for (const number of BRICKS) {
      await volume.set({ 'cluster.read-subvolume-index': String(number - 1) })
      // A mount that has had the file in its hands gives what it remembers, and not what the brick has.
      const { point } = await volume.mount(join(folder, `reading-${number}`))
      const { exitCode, kinds } = await check(join(point, 'store'))
      equal(exitCode, kinds.length > 0 ? DIFFER : 0)
      for (const kind of kinds) found.push(`brick ${number}: ${kind}`)
    }
    deepEqual(found, [`brick ${DAMAGED}: wrong-checksum media/damaged/film`])
    match(await volume.gluster('volume', 'heal', volume.name, 'info'), /Number of entries: 0/)
  })
})

/** The one file of this size, behind the mount's back. */
async function flip(store: string): Promise<void> {
  for (const name of await readdir(store, { recursive: true })) {
    if ((await stat(join(store, name))).size !== FILE_BYTES) continue
    const file = await open(join(store, name), 'r+')
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, FLIPPED_AT)
    byte[0]! ^= 1
    await file.write(byte, 0, 1, FLIPPED_AT)
    await file.close()
    return
  }
  throw new Error(`no file of ${FILE_BYTES} bytes in the brick`)
}
