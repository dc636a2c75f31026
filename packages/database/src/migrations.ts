import { randomUUID } from 'node:crypto'
import { sql, type Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'
import { ACCESS_STATE, accessTables } from './access-schema.ts'
import type { Schema } from './schema.ts'

export type Engine = 'sqlite' | 'mysql'

// Append only: a released migration is never changed. Each can be run again after it was cut off in the
// middle, because MySQL commits every CREATE by itself.

/** By name, in order; the name's number is the schema version that it makes. */
export function migrationsOf(engine: Engine): Record<string, Migration> {
  return {
    '0001-first-schema': {
      async up(database: Kysely<Schema>) {
        for (const statement of engine === 'sqlite' ? FIRST_SQLITE : FIRST_MYSQL) {
          await sql.raw(statement).execute(database)
        }
        const clusterId = await database
          .selectFrom('meta')
          .select('value')
          .where('name', '=', 'cluster_id')
          .execute()
        if (clusterId.length > 0) return
        await database.insertInto('meta').values({ name: 'cluster_id', value: randomUUID() }).execute()
      }
    },
    '0002-moves': {
      async up(database: Kysely<Schema>) {
        await sql.raw(engine === 'sqlite' ? MOVES_SQLITE : MOVES_MYSQL).execute(database)
        if (engine === 'sqlite') await sql.raw(MOVES_DUE_SQLITE).execute(database)
        // A table more harms no program that does not know it.
        await letWork(database, 2, 1)
      }
    },
    '0003-library': {
      async up(database: Kysely<Schema>) {
        for (const statement of engine === 'sqlite' ? LIBRARY_SQLITE : LIBRARY_MYSQL) {
          await sql.raw(statement).execute(database)
        }
        if (engine === 'mysql') await addKeyMysql(database, 'files', 'files_by_time', 'stored_at_ms')
        await letWork(database, 3, 1)
      }
    },
    '0004-uploads': {
      async up(database: Kysely<Schema>) {
        for (const statement of engine === 'sqlite' ? UPLOADS_SQLITE : UPLOADS_MYSQL) {
          await sql.raw(statement).execute(database)
        }
        await letWork(database, 4, 1)
      }
    },
    '0005-access': {
      async up(database: Kysely<Schema>) {
        for (const statement of accessTables(engine)) await sql.raw(statement).execute(database)
        const state = database.selectFrom('access_state').select('name').where('name', '=', ACCESS_STATE)
        if ((await state.execute()).length === 0) {
          await database.insertInto('access_state').values({ name: ACCESS_STATE, revision: 1 }).execute()
        }
        await letWork(database, 5, 1)
      }
    },
    '0006-jobs': {
      async up(database: Kysely<Schema>) {
        for (const statement of engine === 'sqlite' ? JOBS_SQLITE : JOBS_MYSQL) {
          await sql.raw(statement).execute(database)
        }
        await letWork(database, 6, 1)
      }
    }
  }
}

/** MySQL has no IF NOT EXISTS for keys. */
async function addKeyMysql(
  database: Kysely<Schema>,
  table: string,
  key: string,
  columns: string
): Promise<void> {
  const { rows } = await sql`SELECT 1 FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = ${table} AND index_name = ${key} LIMIT 1`.execute(
    database
  )
  if (rows.length === 0) await sql.raw(`ALTER TABLE ${table} ADD KEY ${key} (${columns})`).execute(database)
}

/**
 * Says of a schema, by its number, the least one that a program has to know to work with it: for migrations that only
 * add. Of one that changes or removes, nothing is said, and older programs refuse it.
 */
async function letWork(database: Kysely<Schema>, version: number, least: number): Promise<void> {
  await database.deleteFrom('meta').where('name', '=', LEAST_VERSION).execute()
  await database
    .insertInto('meta')
    .values({ name: LEAST_VERSION, value: `${version} ${least}` })
    .execute()
}

/** In `meta`: a schema's number, a space, and the least schema that a program has to know to use it. */
export const LEAST_VERSION = 'schema_least'

// files has no index on generation: 128 random bits need none, and it cost 40 % of the inserts. Without a
// rowid a look-up walks one tree instead of two. The partial index holds only what a sweeper looks for.
const FIRST_SQLITE = [
  `CREATE TABLE IF NOT EXISTS meta (
     name TEXT NOT NULL PRIMARY KEY,
     value TEXT NOT NULL
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS applications (
     name TEXT NOT NULL PRIMARY KEY
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS storage_groups (
     name TEXT NOT NULL PRIMARY KEY,
     region TEXT NOT NULL DEFAULT '',
     draining INTEGER NOT NULL DEFAULT 0
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS user_routes (
     application BLOB NOT NULL,
     user BLOB NOT NULL,
     group_name TEXT NOT NULL,
     PRIMARY KEY (application, user)
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS files (
     application BLOB NOT NULL,
     user BLOB NOT NULL,
     file BLOB NOT NULL,
     generation BLOB NOT NULL,
     nonce BLOB NOT NULL,
     state INTEGER NOT NULL,
     trashed_until_ms INTEGER NOT NULL,
     size_bytes INTEGER NOT NULL,
     crc32 INTEGER NOT NULL,
     group_name TEXT NOT NULL,
     store BLOB NOT NULL,
     path TEXT NOT NULL,
     name TEXT NOT NULL,
     media_type TEXT NOT NULL,
     stored_at_ms INTEGER NOT NULL,
     PRIMARY KEY (application, user, file),
     UNIQUE (store, path)
   ) STRICT, WITHOUT ROWID`,
  `CREATE INDEX IF NOT EXISTS files_unsettled ON files (store, state, path) WHERE state <> 0`,
  `CREATE TABLE IF NOT EXISTS counters (
     name BLOB NOT NULL PRIMARY KEY,
     next INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS leases (
     name BLOB NOT NULL PRIMARY KEY,
     holder BLOB NOT NULL,
     token INTEGER NOT NULL,
     until_ms INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID`
]

// Bytes wherever something is compared: even the _bin collations ignore trailing spaces.
const MYSQL_TABLE = 'ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4'
const FIRST_MYSQL = [
  `CREATE TABLE IF NOT EXISTS meta (
     name VARBINARY(64) NOT NULL PRIMARY KEY,
     value VARBINARY(255) NOT NULL
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS applications (
     name VARBINARY(15) NOT NULL PRIMARY KEY
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS storage_groups (
     name VARBINARY(16) NOT NULL PRIMARY KEY,
     region VARBINARY(64) NOT NULL DEFAULT '',
     draining TINYINT NOT NULL DEFAULT 0
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS user_routes (
     application VARBINARY(15) NOT NULL,
     user VARBINARY(255) NOT NULL,
     group_name VARBINARY(16) NOT NULL,
     PRIMARY KEY (application, user)
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS files (
     application VARBINARY(15) NOT NULL,
     user VARBINARY(255) NOT NULL,
     file VARBINARY(127) NOT NULL,
     generation BINARY(16) NOT NULL,
     nonce BINARY(16) NOT NULL,
     state TINYINT UNSIGNED NOT NULL,
     trashed_until_ms BIGINT NOT NULL,
     size_bytes BIGINT NOT NULL,
     crc32 INT UNSIGNED NOT NULL,
     group_name VARBINARY(16) NOT NULL,
     store BINARY(16) NOT NULL,
     path VARBINARY(255) NOT NULL,
     name VARBINARY(1024) NOT NULL,
     media_type VARBINARY(255) NOT NULL,
     stored_at_ms BIGINT NOT NULL,
     PRIMARY KEY (application, user, file),
     UNIQUE KEY files_place (store, path),
     KEY files_state (state)
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS counters (
     name VARBINARY(128) NOT NULL PRIMARY KEY,
     next BIGINT NOT NULL
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS leases (
     name VARBINARY(64) NOT NULL PRIMARY KEY,
     holder VARBINARY(255) NOT NULL,
     token BIGINT NOT NULL,
     until_ms BIGINT NOT NULL
   ) ${MYSQL_TABLE}`
]

const MOVES_SQLITE = `CREATE TABLE IF NOT EXISTS moves (
     store BLOB NOT NULL,
     path TEXT NOT NULL,
     group_name TEXT NOT NULL,
     application BLOB NOT NULL,
     user BLOB NOT NULL,
     file BLOB NOT NULL,
     generation BLOB NOT NULL,
     to_store BLOB NOT NULL,
     to_path TEXT NOT NULL,
     to_group TEXT NOT NULL,
     switched INTEGER NOT NULL DEFAULT 0,
     parked_at_ms INTEGER NOT NULL DEFAULT 0,
     PRIMARY KEY (store, path)
   ) STRICT, WITHOUT ROWID`
const MOVES_DUE_SQLITE = 'CREATE INDEX IF NOT EXISTS moves_due ON moves (store, switched, parked_at_ms, path)'
const MOVES_MYSQL = `CREATE TABLE IF NOT EXISTS moves (
     store BINARY(16) NOT NULL,
     path VARBINARY(255) NOT NULL,
     group_name VARBINARY(16) NOT NULL,
     application VARBINARY(15) NOT NULL,
     user VARBINARY(255) NOT NULL,
     file VARBINARY(127) NOT NULL,
     generation BINARY(16) NOT NULL,
     to_store BINARY(16) NOT NULL,
     to_path VARBINARY(255) NOT NULL,
     to_group VARBINARY(16) NOT NULL,
     switched TINYINT NOT NULL DEFAULT 0,
     parked_at_ms BIGINT NOT NULL DEFAULT 0,
     PRIMARY KEY (store, path),
     KEY moves_due (store, switched, parked_at_ms, path)
   ) ${MYSQL_TABLE}`

// Every order that a page may have is an index, for all films and for those of one user; a page is read by it, never sorted.
const LIBRARY_ORDERS = ['stored_at_ms', 'sort_title', 'size_bytes', 'duration_ms']
const LIBRARY_SQLITE = [
  'CREATE INDEX IF NOT EXISTS files_by_time ON files (stored_at_ms)',
  `CREATE TABLE IF NOT EXISTS library (
     application BLOB NOT NULL,
     user BLOB NOT NULL,
     file BLOB NOT NULL,
     generation BLOB NOT NULL,
     state INTEGER NOT NULL,
     trashed_until_ms INTEGER NOT NULL,
     kind INTEGER NOT NULL,
     title TEXT NOT NULL,
     titled INTEGER NOT NULL,
     sort_title BLOB NOT NULL,
     search_text TEXT NOT NULL,
     size_bytes INTEGER NOT NULL,
     stored_at_ms INTEGER NOT NULL,
     duration_ms INTEGER NOT NULL,
     width INTEGER NOT NULL,
     height INTEGER NOT NULL,
     facts_state INTEGER NOT NULL,
     PRIMARY KEY (application, user, file)
   ) STRICT, WITHOUT ROWID`,
  ...LIBRARY_ORDERS.flatMap(order => [
    `CREATE INDEX IF NOT EXISTS library_${order} ON library (state, ${order}, application, user, file)`,
    `CREATE INDEX IF NOT EXISTS library_user_${order} ON library (application, user, state, ${order}, file)`
  ]),
  'CREATE INDEX IF NOT EXISTS library_kind ON library (state, kind)',
  'CREATE INDEX IF NOT EXISTS library_facts ON library (facts_state, stored_at_ms) WHERE facts_state = 0',
  `CREATE TABLE IF NOT EXISTS film_facts (
     application BLOB NOT NULL,
     user BLOB NOT NULL,
     file BLOB NOT NULL,
     generation BLOB NOT NULL,
     facts TEXT NOT NULL,
     PRIMARY KEY (application, user, file)
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS library_words (
     word BLOB NOT NULL,
     application BLOB NOT NULL,
     user BLOB NOT NULL,
     file BLOB NOT NULL,
     PRIMARY KEY (word, application, user, file)
   ) STRICT, WITHOUT ROWID`
]
const LIBRARY_MYSQL = [
  `CREATE TABLE IF NOT EXISTS library (
     application VARBINARY(15) NOT NULL,
     user VARBINARY(255) NOT NULL,
     file VARBINARY(127) NOT NULL,
     generation BINARY(16) NOT NULL,
     state TINYINT UNSIGNED NOT NULL,
     trashed_until_ms BIGINT NOT NULL,
     kind TINYINT UNSIGNED NOT NULL,
     title VARBINARY(1024) NOT NULL,
     titled TINYINT UNSIGNED NOT NULL,
     sort_title VARBINARY(64) NOT NULL,
     search_text VARBINARY(2048) NOT NULL,
     size_bytes BIGINT NOT NULL,
     stored_at_ms BIGINT NOT NULL,
     duration_ms BIGINT NOT NULL,
     width INT UNSIGNED NOT NULL,
     height INT UNSIGNED NOT NULL,
     facts_state TINYINT UNSIGNED NOT NULL,
     PRIMARY KEY (application, user, file),
     ${LIBRARY_ORDERS.flatMap(order => [
       `KEY library_${order} (state, ${order}, application, user, file)`,
       `KEY library_user_${order} (application, user, state, ${order}, file)`
     ]).join(',\n     ')},
     KEY library_kind (state, kind),
     KEY library_facts (facts_state, stored_at_ms)
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS film_facts (
     application VARBINARY(15) NOT NULL,
     user VARBINARY(255) NOT NULL,
     file VARBINARY(127) NOT NULL,
     generation BINARY(16) NOT NULL,
     facts MEDIUMBLOB NOT NULL,
     PRIMARY KEY (application, user, file)
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS library_words (
     word VARBINARY(48) NOT NULL,
     application VARBINARY(15) NOT NULL,
     user VARBINARY(255) NOT NULL,
     file VARBINARY(127) NOT NULL,
     PRIMARY KEY (word, application, user, file)
   ) ${MYSQL_TABLE}`
]

// Few rows, each for as long as its upload takes. A place in a shared folder is one upload's.
const UPLOADS_SQLITE = [
  `CREATE TABLE IF NOT EXISTS uploads (
     id BLOB NOT NULL PRIMARY KEY,
     application BLOB NOT NULL,
     user BLOB NOT NULL,
     file BLOB NOT NULL,
     name BLOB NOT NULL,
     media_type BLOB NOT NULL,
     metadata BLOB NOT NULL,
     kind INTEGER NOT NULL,
     state INTEGER NOT NULL,
     size_bytes INTEGER NOT NULL,
     offset_bytes INTEGER NOT NULL,
     crc32 INTEGER NOT NULL,
     group_name BLOB NOT NULL,
     store BLOB NOT NULL,
     folder BLOB NOT NULL,
     base_bytes INTEGER NOT NULL,
     total_bytes INTEGER NOT NULL,
     layout BLOB NOT NULL,
     fence INTEGER NOT NULL,
     taker BLOB NOT NULL,
     holder BLOB NOT NULL,
     generation BLOB NOT NULL,
     created_ms INTEGER NOT NULL,
     expires_ms INTEGER NOT NULL,
     UNIQUE (folder, base_bytes)
   ) STRICT, WITHOUT ROWID`,
  'CREATE INDEX IF NOT EXISTS uploads_due ON uploads (store, expires_ms)',
  'CREATE INDEX IF NOT EXISTS uploads_by_file ON uploads (application, user, file)'
]

const UPLOADS_MYSQL = [
  `CREATE TABLE IF NOT EXISTS uploads (
     id BINARY(16) NOT NULL PRIMARY KEY,
     application VARBINARY(15) NOT NULL,
     user VARBINARY(255) NOT NULL,
     file VARBINARY(127) NOT NULL,
     name VARBINARY(1024) NOT NULL,
     media_type VARBINARY(255) NOT NULL,
     metadata VARBINARY(12288) NOT NULL,
     kind TINYINT UNSIGNED NOT NULL,
     state TINYINT UNSIGNED NOT NULL,
     size_bytes BIGINT NOT NULL,
     offset_bytes BIGINT NOT NULL,
     crc32 INT UNSIGNED NOT NULL,
     group_name VARBINARY(16) NOT NULL,
     store BINARY(16) NOT NULL,
     folder BINARY(16) NOT NULL,
     base_bytes BIGINT NOT NULL,
     total_bytes BIGINT NOT NULL,
     layout VARBINARY(8192) NOT NULL,
     fence BIGINT NOT NULL,
     taker VARBINARY(255) NOT NULL,
     holder VARBINARY(255) NOT NULL,
     generation BINARY(16) NOT NULL,
     created_ms BIGINT NOT NULL,
     expires_ms BIGINT NOT NULL,
     UNIQUE KEY uploads_places (folder, base_bytes),
     KEY uploads_due (store, expires_ms),
     KEY uploads_by_file (application, user, file)
   ) ${MYSQL_TABLE}`
]

// By what is due for whom; by state, by film and by everything in the order in which people see them.
const JOBS_SQLITE = [
  `CREATE TABLE IF NOT EXISTS jobs (
     id BLOB NOT NULL PRIMARY KEY,
     application BLOB NOT NULL,
     user BLOB NOT NULL,
     file BLOB NOT NULL,
     generation BLOB NOT NULL,
     kind INTEGER NOT NULL,
     profile TEXT NOT NULL,
     title TEXT NOT NULL,
     state INTEGER NOT NULL,
     token INTEGER NOT NULL,
     worker TEXT NOT NULL,
     due_ms INTEGER NOT NULL,
     attempts INTEGER NOT NULL,
     progress INTEGER NOT NULL,
     error TEXT NOT NULL,
     created_at_ms INTEGER NOT NULL,
     changed_at_ms INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID`,
  'CREATE INDEX IF NOT EXISTS jobs_due ON jobs (state, kind, profile, due_ms)',
  'CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (created_at_ms, id)',
  'CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created_at_ms, id)',
  'CREATE INDEX IF NOT EXISTS jobs_by_application ON jobs (application, created_at_ms, id)',
  'CREATE INDEX IF NOT EXISTS jobs_by_film ON jobs (application, user, file, created_at_ms, id)',
  `CREATE TABLE IF NOT EXISTS job_workers (
     name BLOB NOT NULL PRIMARY KEY,
     version TEXT NOT NULL,
     lacks TEXT NOT NULL,
     seen_at_ms INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID`
]
const JOBS_MYSQL = [
  `CREATE TABLE IF NOT EXISTS jobs (
     id BINARY(16) NOT NULL PRIMARY KEY,
     application VARBINARY(15) NOT NULL,
     user VARBINARY(255) NOT NULL,
     file VARBINARY(127) NOT NULL,
     generation BINARY(16) NOT NULL,
     kind TINYINT UNSIGNED NOT NULL,
     profile VARBINARY(32) NOT NULL,
     title VARBINARY(1024) NOT NULL,
     state TINYINT UNSIGNED NOT NULL,
     token BIGINT NOT NULL,
     worker VARBINARY(255) NOT NULL,
     due_ms BIGINT NOT NULL,
     attempts INT UNSIGNED NOT NULL,
     progress INT UNSIGNED NOT NULL,
     error VARBINARY(4096) NOT NULL,
     created_at_ms BIGINT NOT NULL,
     changed_at_ms BIGINT NOT NULL,
     KEY jobs_due (state, kind, profile, due_ms),
     KEY jobs_by_time (created_at_ms, id),
     KEY jobs_by_state (state, created_at_ms, id),
     KEY jobs_by_application (application, created_at_ms, id),
     KEY jobs_by_film (application, user, file, created_at_ms, id)
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS job_workers (
     name VARBINARY(255) NOT NULL PRIMARY KEY,
     version VARBINARY(255) NOT NULL,
     lacks VARBINARY(16000) NOT NULL,
     seen_at_ms BIGINT NOT NULL
   ) ${MYSQL_TABLE}`
]
