import type { RedisInspection } from './inspection.ts'
import { redisClientOf } from './redis-cache.ts'

/** Behind Sentinels it is the primary that is looked at. @throws {Error} it does not answer, or does not let us in. */
export async function lookAtRedis(url: string, timeoutMs: number): Promise<RedisInspection> {
  const redis = redisClientOf(url, {
    protocol: 2,
    lazyConnect: true,
    connectTimeout: timeoutMs,
    commandTimeout: timeoutMs,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    sentinelCommandTimeout: timeoutMs,
    sentinelRetryStrategy: () => null
  })
  let reason: Error | undefined
  redis.on('error', (error: Error) => (reason ??= error)) // the promise below only says that it is closed
  try {
    await redis.connect()
    const info = await redis.info()
    const field = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
    return {
      version: field('redis_version') ?? '',
      maxmemoryBytes: Number(field('maxmemory') ?? 0),
      policy: field('maxmemory_policy') ?? ''
    }
  } catch (error) {
    throw reason ?? error
  } finally {
    redis.disconnect()
  }
}
