/** What one member of a group has acknowledged, every other one knows: on a real GlusterFS, whatever its mounts remember. */
import { equal, ok, rejects } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanUp } from '../faults/cleanup.ts'
import { contentOf } from '../faults/random.ts'
import { Refused, WirePeer } from '../faults/wire-peer.ts'
import { noGlusterfs } from '../testkit/glusterfs.ts'
import { startMirroredGroup } from './mirrored-group.ts'

const FILES = 30
const SMALL_BYTES = 3_000
const LARGE_BYTES = 300_000
const REUSES = 8
/** A delete is seen by every member within so long. */
const SEEN_MS = 1_000
/** What the mount of a careless operator remembers, in seconds; these are GlusterFS's defaults. */
const DEFAULT_TIMEOUTS = { 'attribute-timeout': '1', 'entry-timeout': '1', 'negative-timeout': '0' }

const options = { skip: noGlusterfs() ?? false, timeout: 150_000 }
describe('two members of a group on GlusterFS', options, () => {
  for (const [mounts, secondTimeouts] of [
    ['mounts that remember nothing', undefined],
    ['a mount that remembers for a second', DEFAULT_TIMEOUTS]
  ] as const) {
    it(`agree about every upload, delete and reuse of an id at once, with ${mounts}`, async t => {
      const { cluster } = await startMirroredGroup(t, secondTimeouts ? { secondTimeouts } : {})
      const peers = await Promise.all(cluster.storages.map(address => WirePeer.greeted(address)))
      for (const peer of peers) cleanUp(t, () => peer.close())

      const readMs: number[] = []
      for (let index = 0; index < FILES; index++) {
        const [writer, reader] = index % 2 ? [peers[1]!, peers[0]!] : [peers[0]!, peers[1]!]
        const file = `file-${index}`
        const content = contentOf(file, index % 3 ? SMALL_BYTES : LARGE_BYTES)
        // Asked before it is there: whoever remembers the "no" must forget it in time.
        await rejects(reader.download(key(file)), { code: 'FILE_NOT_FOUND' })
        await writer.upload(key(file), content)
        const startMs = performance.now()
        ok((await reader.download(key(file))).equals(content), file)
        readMs.push(performance.now() - startMs)
      }
      t.diagnostic(`first read through the other member: ${spread(readMs)}`)

      const seenMs: number[] = []
      for (let index = 0; index < REUSES; index++) {
        const [writer, reader] = index % 2 ? [peers[1]!, peers[0]!] : [peers[0]!, peers[1]!]
        const file = `reused-${index}`
        const sizeBytes = index % 3 ? SMALL_BYTES : LARGE_BYTES
        const old = contentOf(`${file}-old`, sizeBytes)
        const fresh = contentOf(`${file}-fresh`, sizeBytes)
        await writer.upload(key(file), old)
        await reader.download(key(file))
        await reader.download(key(file)) // hot there
        const stop = new AbortController()
        let replacedMs = Infinity
        const polling = (async () => {
          const other = await WirePeer.greeted(cluster.storages[index % 2 ? 0 : 1]!)
          cleanUp(t, () => other.close())
          let lastOldMs = 0
          while (!stop.signal.aborted) {
            const askedMs = performance.now()
            const got = await other.download(key(file)).catch((error: unknown) => {
              if (error instanceof Refused && error.code === 'FILE_NOT_FOUND') return undefined
              throw error
            })
            if (got?.equals(old)) {
              ok(askedMs < replacedMs, 'no old bytes after the new ones were acknowledged')
              lastOldMs = askedMs
            } else if (got) ok(got.equals(fresh), 'old or new, never something else')
            await sleep(1)
          }
          return lastOldMs
        })()
        await sleep(50)
        await writer.delete(key(file))
        const deletedMs = performance.now()
        await writer.upload(key(file), fresh)
        replacedMs = performance.now()
        ok((await reader.download(key(file))).equals(fresh), 'the new content at once')
        await sleep(300)
        stop.abort()
        seenMs.push(Math.max(0, (await polling) - deletedMs))
        await writer.delete(key(file))
        await rejects(reader.size(key(file)), { code: 'FILE_NOT_FOUND' })
      }
      t.diagnostic(`served after the delete was acknowledged: ${spread(seenMs)}`)
      ok(Math.max(...seenMs) < SEEN_MS)
      equal(seenMs.length, REUSES)
    })
  }
})

function key(file: string) {
  return { application: 'media', user: 'mirrored', file }
}

function spread(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number): string => sorted[Math.floor(share * (sorted.length - 1))]!.toFixed(1)
  return `median ${at(0.5)} ms, p90 ${at(0.9)} ms, longest ${at(1)} ms`
}
