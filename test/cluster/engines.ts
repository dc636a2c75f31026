/** What a cluster keeps its index in. Every suite of a whole cluster runs on each. */
import { noMariadb, startMariadb, type Mariadb } from '../testkit/mariadb.ts'
import { noRedis, startRedis, type RedisServer } from '../testkit/redis.ts'

export interface Backing {
  databaseUrl?: string
  redisUrl?: string
  mariadb?: Mariadb
  redis?: RedisServer
  stop(): Promise<void>
}

export interface Engine {
  name: string
  /** Why it cannot be had here; false where it can. */
  skip: string | false
  start(): Promise<Backing>
}

export const ENGINES: readonly Engine[] = [
  { name: 'SQLite', skip: false, start: async () => ({ stop: async () => {} }) },
  { name: 'MariaDB and Redis', skip: noMariadb() ?? noRedis() ?? false, start: startMariadbAndRedis }
]

export async function startMariadbAndRedis(): Promise<Required<Backing>> {
  const mariadb = await startMariadb()
  let redis: RedisServer
  try {
    redis = await startRedis()
  } catch (error) {
    await mariadb.stop()
    throw error
  }
  return {
    databaseUrl: mariadb.url,
    redisUrl: redis.url,
    mariadb,
    redis,
    stop: async () => {
      await redis.stop()
      await mariadb.stop()
    }
  }
}
