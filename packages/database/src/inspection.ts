/** What can be seen of a database and of a cache from outside, without changing anything; for `tributary doctor`. */
import { SCHEMA_VERSION_MAX, SCHEMA_VERSION_MIN } from './schema.ts'
import { mysqlAddressOf } from './mysql-address.ts'

export interface DatabaseInspection {
  /** Without user and password: `10.0.0.9:3306/tributary`, or a path. */
  label: string
  engine: 'mysql' | 'sqlite'
  /** Why nothing below is known. */
  error?: string
  version?: string
  /** The schema's, 0 where it was never migrated; and those that this program knows. */
  schemaVersion?: number
  knownVersions: { min: number; max: number }
  clusterId?: string
  /** Its clock less ours, in milliseconds; half the way there and back is already taken off. */
  clockAheadMs?: number
  /** Settings and states of the server, by the engine's own names; of SQLite `journal_mode`. */
  settings: ReadonlyMap<string, string>
}

export interface RedisInspection {
  error?: string
  version?: string
  /** 0: no bound. */
  maxmemoryBytes?: number
  policy?: string
}

/** Looks at each address by itself. Never rejects: what does not answer in time has an `error`. */
export async function inspectDatabase(
  urls: readonly string[],
  timeoutMs: number
): Promise<DatabaseInspection[]> {
  return Promise.all(
    urls.map(async url => {
      const knownVersions = { min: SCHEMA_VERSION_MIN, max: SCHEMA_VERSION_MAX }
      const [, path] = /^sqlite:(?:\/\/)?(\/.+)$/.exec(url) ?? []
      const what =
        path === undefined
          ? ({ label: labelOf(url), engine: 'mysql', knownVersions, settings: new Map() } as const)
          : ({ label: path, engine: 'sqlite', knownVersions, settings: new Map() } as const)
      try {
        const seen =
          path === undefined
            ? await (await import('./mysql-inspection.ts')).inspectMysql(url, timeoutMs)
            : (await import('./sqlite-inspection.ts')).inspectSqlite(path)
        return { ...what, ...seen }
      } catch (error) {
        return { ...what, error: error instanceof Error ? error.message : String(error) }
      }
    })
  )
}

/** Never rejects. */
export async function inspectRedis(url: string, timeoutMs: number): Promise<RedisInspection> {
  const { lookAtRedis } = await import('./redis-inspection.ts')
  return lookAtRedis(url, timeoutMs).catch((error: unknown) => ({
    error: error instanceof Error ? error.message : String(error)
  }))
}

function labelOf(url: string): string {
  try {
    return mysqlAddressOf(url).label
  } catch {
    return 'the database address'
  }
}
