/** Every copy of a mirrored store dies and comes back, one after the other: what a member has open must not be lost with them. */
import { ok } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanUp } from '../faults/cleanup.ts'
import { contentOf } from '../faults/random.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import { noGlusterfs } from '../testkit/glusterfs.ts'
import { startMirroredGroup } from './mirrored-group.ts'

/** Too long to be kept in memory: it is read by its descriptor each time. */
const FILM_BYTES = 1_000_000
const BRICKS = [1, 2, 3]
const SOON_MS = 20_000
const POLL_MS = 50
const KEY = { application: 'media', user: 'in-turn', file: 'film' }

const options = { skip: noGlusterfs() ?? false, timeout: 150_000 }
describe('a member that reads a film while the copies come and go in turn', options, () => {
  it('reads on, and takes uploads', async t => {
    const { cluster, volume, mounts } = await startMirroredGroup(t)
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    cleanUp(t, () => peer.close())
    const film = contentOf('film', FILM_BYTES)
    await peer.upload(KEY, film)
    const readsOn = async (when: string): Promise<void> => {
      ok((await peer.download(KEY)).equals(film), when)
    }
    await readsOn('before')

    for (const number of BRICKS) {
      await volume.killBrick(number)
      await untilGone(
        join(mounts[0].point, '.meta', 'graphs', 'active', `${volume.name}-client-${number - 1}`)
      )
      await readsOn(`brick ${number} is dead`)
      await volume.startBricks()
      await volume.untilConnected(number)
      await readsOn(`brick ${number} is back`)
    }
    for (const number of BRICKS) {
      const key = { ...KEY, file: `after-${number}` }
      await peer.upload(key, contentOf(key.file, FILM_BYTES))
      ok((await peer.download(key)).equals(contentOf(key.file, FILM_BYTES)))
    }
  })
})

/** Until the mount knows that this brick is not there. */
async function untilGone(client: string): Promise<void> {
  const endMs = performance.now() + SOON_MS
  while (!(await readFile(join(client, 'private'), 'utf8')).includes('connected = 0')) {
    if (performance.now() > endMs) throw new Error(`${client} is still connected`)
    await sleep(POLL_MS)
  }
}
