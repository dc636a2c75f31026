/** Redis in front of MariaDB: killed, frozen, or full of rows that are no longer true. No answer changes. */
import { equal, ok, rejects } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { startCluster } from '../testkit/cluster.ts'
import { noMariadb, startMariadb } from '../testkit/mariadb.ts'
import { noRedis, startRedis } from '../testkit/redis.ts'
import { cleanUp } from './cleanup.ts'
import { contentOf } from './random.ts'
import { WirePeer } from './wire-peer.ts'

/** While Redis is away a request may wait for it a moment, not longer. */
const PATIENCE_MS = 3_000
const key = (file: string) => ({ application: 'media', user: 'cached', file })

describe(
  'two storage servers behind MariaDB and Redis',
  { skip: noMariadb() ?? noRedis() ?? false, timeout: 120_000 },
  () => {
    it('answer rightly whatever Redis says, or does not say', async t => {
      const mariadb = await startMariadb()
      cleanUp(t, () => mariadb.stop())
      const redis = await startRedis()
      cleanUp(t, () => redis.stop())
      const cluster = await startCluster({ storages: 2, databaseUrl: mariadb.url, redisUrl: redis.url })
      cleanUp(t, () => cluster.stop())
      const [one, two] = await Promise.all(cluster.storages.map(address => WirePeer.greeted(address)))
      cleanUp(t, () => [one, two].forEach(peer => peer!.close()))
      const notFound = async (file: string): Promise<void> => {
        for (const address of cluster.storages) {
          const peer = await WirePeer.greeted(address)
          await rejects(peer.download(key(file)), { code: 'FILE_NOT_FOUND' })
          peer.close()
        }
      }
      const replace = async (file: string, round: number): Promise<void> => {
        const [first, second] = [contentOf(`${file}-1`, 3_000), contentOf(`${file}-2`, 90_000)]
        await one!.upload(key(file), first)
        ok((await two!.download(key(file))).equals(first), `round ${round}`)
        const other = await WirePeer.greeted(cluster.storages[1]!)
        await other.delete(key(file))
        await notFound(file)
        await other.upload(key(file), second)
        ok((await one!.download(key(file))).equals(second))
        ok((await other.download(key(file))).equals(second))
        other.close()
      }
      await replace('fresh', 0)

      // Rows of files that were deleted, put back into the cache as a slow member might.
      const before = contentOf('stale-1', 2_000)
      await one!.upload(key('stale'), before)
      await two!.download(key('stale'))
      const names = (await redis.command('KEYS *stale*')).split('\r\n').filter(line => line.includes('file:'))
      equal(names.length, 1, 'the row is cached')
      const quoted = `"${names[0]!.replaceAll('\0', '\\x00')}"`
      await redis.command(`COPY ${quoted} saved`)
      await two!.delete(key('stale'))
      await redis.command(`COPY saved ${quoted} REPLACE`)
      await notFound('stale')
      const after = contentOf('stale-2', 2_000)
      const writer = await WirePeer.greeted(cluster.storages[0]!)
      await writer.upload(key('stale'), after)
      await redis.command(`COPY saved ${quoted} REPLACE`)
      for (const address of cluster.storages) {
        const reader = await WirePeer.greeted(address)
        ok((await reader.download(key('stale'))).equals(after))
        reader.close()
      }
      writer.close()

      await redis.freeze()
      let startMs = performance.now()
      await replace('frozen', 2)
      ok(performance.now() - startMs < PATIENCE_MS, `${performance.now() - startMs} ms with Redis frozen`)
      redis.kill('SIGCONT')
      redis.kill('SIGKILL')
      startMs = performance.now()
      await replace('killed', 3)
      ok(performance.now() - startMs < PATIENCE_MS, `${performance.now() - startMs} ms without Redis`)
      await redis.restart()
      await replace('back', 4)
    })
  }
)
