/** Resumable uploads through two mounts of one GlusterFS volume: what one member acknowledged, the other one goes on with. */
import { equal, ok } from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import {
  COMMANDS,
  encodeAppendHead,
  encodeFrame,
  extension,
  type PartBegin,
  type PartStatus
} from '@tributary/protocol'
import { cleanUp } from '../faults/cleanup.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import { noGlusterfs } from '../testkit/glusterfs.ts'
import { startMirroredGroup } from './mirrored-group.ts'

const FILM_BYTES = 6 * 1024 * 1024 + 5
const STEPS = 9
const PARTS = 4
/** GlusterFS's defaults, in seconds. */
const DEFAULT_TIMEOUTS = { 'attribute-timeout': '1', 'entry-timeout': '1', 'negative-timeout': '0' }
const OWNER = { application: 'media', user: 'anna' }

describe('resumable uploads on GlusterFS', { skip: noGlusterfs() ?? false, timeout: 150_000 }, () => {
  it('go on through either member, piece by piece and in parts, as if there were one', async t => {
    const { cluster } = await startMirroredGroup(t, { secondTimeouts: DEFAULT_TIMEOUTS })
    const peers = await Promise.all(cluster.storages.map(address => WirePeer.greeted(address)))
    for (const peer of peers) cleanUp(t, () => peer.close())
    const film = randomBytes(FILM_BYTES)
    const id = newId()
    await begin(peers[0]!, { ...OWNER, file: 'in-turn', id, sizeBytes: FILM_BYTES })
    const stepBytes = Math.ceil(FILM_BYTES / STEPS)
    for (let step = 0; step < STEPS; step++) {
      const [writer, reader] = step % 2 ? [peers[1]!, peers[0]!] : [peers[0]!, peers[1]!]
      const start = step * stepBytes
      const end = Math.min(FILM_BYTES, start + stepBytes)
      equal((await append(writer, id, start, film.subarray(start, end))).offsetBytes, end)
      ok((await read(reader, id, end - 1_000, 1_000)).equals(film.subarray(end - 1_000, end)), `step ${step}`)
    }
    await commit(peers[STEPS % 2]!, id)
    for (const peer of peers) ok((await peer.download({ ...OWNER, file: 'in-turn' })).equals(film))

    const whole = newId()
    const partBytes = Math.floor(FILM_BYTES / PARTS)
    const parts = await Promise.all(
      Array.from({ length: PARTS }, async (_, part) => {
        const peer = await WirePeer.greeted(cluster.storages[part % 2]!)
        cleanUp(t, () => peer.close())
        const start = part * partBytes
        const end = part === PARTS - 1 ? FILM_BYTES : start + partBytes
        const place = { whole, part, parts: PARTS, totalBytes: FILM_BYTES }
        const own = newId()
        await begin(peer, { ...OWNER, id: own, sizeBytes: end - start, ...place })
        const half = Math.floor((end - start) / 2)
        await append(peer, own, 0, film.subarray(start, start + half))
        await append(peers[1 - (part % 2)]!, own, half, film.subarray(start + half, end))
        return own
      })
    )
    const joined = newId()
    await begin(peers[1]!, {
      ...OWNER,
      file: 'parts',
      id: joined,
      sizeBytes: FILM_BYTES,
      joins: parts.join('')
    })
    await commit(peers[1]!, joined)
    for (const peer of peers) ok((await peer.download({ ...OWNER, file: 'parts' })).equals(film))
  })
})

function newId(): string {
  return randomBytes(16).toString('hex')
}

async function begin(peer: WirePeer, request: PartBegin): Promise<void> {
  await peer.ask(encodeFrame(COMMANDS.PART_BEGIN.code, extension.partBegin.encode(request)))
}

async function append(peer: WirePeer, id: string, offsetBytes: number, content: Buffer): Promise<PartStatus> {
  const head = encodeAppendHead({ id, offsetBytes, fence: 0 })
  return extension.partStatus.decode(await peer.ask(encodeFrame(COMMANDS.PART_APPEND.code, head, content)))
}

async function commit(peer: WirePeer, id: string): Promise<void> {
  await peer.ask(encodeFrame(COMMANDS.PART_COMMIT.code, extension.partId.encode({ id })))
}

async function read(peer: WirePeer, id: string, start: number, lengthBytes: number): Promise<Buffer> {
  const request = extension.partRead.encode({ id, start, lengthBytes })
  const body = await peer.ask(encodeFrame(COMMANDS.PART_READ.code, request))
  return body.subarray(4 + body.readUInt32BE(0))
}
