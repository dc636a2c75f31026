/** The disk of a brick dies in a host that lives: a new one takes its place as docs/OPERATIONS.md says, under a member that serves. */
import { deepEqual, ok } from 'node:assert/strict'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanUp } from '../faults/cleanup.ts'
import { contentOf } from '../faults/random.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import { noGlusterfs } from '../testkit/glusterfs.ts'
import { startMirroredGroup } from './mirrored-group.ts'

const FILE_BYTES = 100_000
const FILES = 20
/** Of three, counted from 1. */
const DEAD = 2
const HEALER_MS = 5_000
const HEALED_MS = 60_000
const POLL_MS = 200

const options = { skip: noGlusterfs() ?? false, timeout: 150_000 }
describe('a new disk in the place of one that died', options, () => {
  it('gets every file, those too that are stored meanwhile, while all can be read', async t => {
    const { cluster, volume } = await startMirroredGroup(t)
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())
    const names: string[] = []
    const store = async (name: string): Promise<void> => {
      await peer.upload(keyOf(name), contentOf(name, FILE_BYTES))
      names.push(name)
    }
    const readAll = async (when: string): Promise<void> => {
      for (const name of names)
        ok((await peer.download(keyOf(name))).equals(contentOf(name, FILE_BYTES)), `${name} ${when}`)
    }
    for (let at = 0; at < FILES; at++) await store(`before-${at}`)

    const brick = volume.brickFolder(DEAD)
    await volume.killBrick(DEAD)
    await rm(brick, { recursive: true })
    await readAll('while the disk is dead')
    await store('meanwhile')
    const name = volume.brickName(DEAD)
    await volume.gluster('volume', 'reset-brick', volume.name, name, 'start')
    await mkdir(brick)
    await volume.gluster('volume', 'reset-brick', volume.name, name, name, 'commit', 'force')
    await volume.untilConnected(DEAD)
    await sleep(HEALER_MS) // its way to the new brick is its own
    await volume.gluster('volume', 'heal', volume.name, 'full')
    await readAll('while it heals')
    await store('after')

    const whole = await filesOf(volume.brickFolder(1))
    const endMs = performance.now() + HEALED_MS
    let lacking = whole
    while (lacking.length > 0) {
      ok(performance.now() < endMs, `${lacking.length} of ${whole.length} are lacking`)
      await sleep(POLL_MS)
      const own = new Set(await filesOf(brick).catch(() => []))
      lacking = whole.filter(file => !own.has(file))
    }
    deepEqual(lacking, [])
    await readAll('when it is whole')
  })
})

const keyOf = (file: string) => ({ application: 'media', user: 'new-disk', file })

/** Paths and sizes of what is stored, without what GlusterFS keeps for itself. */
async function filesOf(brick: string): Promise<string[]> {
  const folder = join(brick, 'store', '000')
  const found: string[] = []
  for (const name of await readdir(folder, { recursive: true })) {
    const { size } = await stat(join(folder, name))
    if (size === FILE_BYTES) found.push(name)
  }
  return found
}
