import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { noMariadb, startMariadb, type Mariadb } from '../../../test/testkit/mariadb.ts'
import { noRedis, startRedis, type RedisServer } from '../../../test/testkit/redis.ts'
import { migrateDatabase, openDatabase, type Database, type OpenOptions } from '@tributary/database'

/** An engine that the suites run on: where its databases are, and how to get an empty one. */
export interface EngineUnderTest {
  name: string
  /** Why it cannot be tested here, if so. */
  skip: string | undefined
  start(): Promise<void>
  /** Address of a database that was not migrated yet. */
  emptyUrl(): Promise<string>
  options: OpenOptions
  stop(): Promise<void>
}

export function sqlite(): EngineUnderTest {
  let folder = ''
  let made = 0
  return {
    name: 'SQLite',
    skip: undefined,
    start: async () => void (folder = await mkdtemp(join(tmpdir(), 'tributary-sqlite-'))),
    emptyUrl: async () => `sqlite:${folder}/index-${made++}.db`,
    options: {},
    stop: () => rm(folder, { recursive: true, force: true })
  }
}

export function mysql(): EngineUnderTest {
  let server: Mariadb
  let made = 0
  return {
    name: 'MariaDB',
    skip: noMariadb(),
    start: async () => void (server = await startMariadb()),
    emptyUrl: () => server.createDatabase(`suite_${made++}`),
    options: {},
    stop: () => server.stop()
  }
}

export function mysqlWithRedis(): EngineUnderTest {
  const engine = mysql()
  let redis: RedisServer
  return {
    ...engine,
    name: 'MariaDB behind Redis',
    skip: engine.skip ?? noRedis(),
    start: async () => {
      await engine.start()
      redis = await startRedis()
      engine.options.cache = { redisUrl: redis.url }
    },
    stop: async () => {
      await engine.stop()
      await redis.stop()
    }
  }
}

export async function migrated(engine: EngineUnderTest): Promise<{ url: string; database: Database }> {
  const url = await engine.emptyUrl()
  await migrateDatabase(url)
  return { url, database: await openDatabase(url, engine.options) }
}
