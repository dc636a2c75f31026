/** Tables of access, as both engines have them. Texts are compared byte for byte on both. */
import type { ColumnType } from 'kysely'

type Integer = ColumnType<number | bigint | string, number, number>
/** What an insert computes from another table. */
type Revision = ColumnType<number | bigint | string, unknown, unknown>

export interface AccessTables {
  access_state: { name: string; revision: Integer }
  tokens: TokensTable
  application_rules: ApplicationRulesTable
  signing_keys: SigningKeysTable
  shares: SharesTable
  audit: AuditTable
  plays: PlaysTable
  webhooks: WebhooksTable
  deliveries: DeliveriesTable
}

export interface TokensTable {
  id: string
  /** SHA-256 of the token, hexadecimal. */
  hash: string
  /** Of a session: the token that it was opened with. */
  parent: string
  name: string
  /** JSON. */
  grants: string
  created_at_ms: Integer
  expires_at_ms: Integer
  used_day: Integer
  revoked_at_ms: Integer
  /** Of `access_state`, when it last changed. */
  revision: Revision
}

export interface ApplicationRulesTable {
  application: string
  read_rule: string
  bytes_max: Integer
  files_max: Integer
  user_bytes_max: Integer
  user_files_max: Integer
  requests_per_s: Integer
  revision: Revision
}

export interface SigningKeysTable {
  id: string
  application: string
  secret: string
  state: string
  created_at_ms: Integer
  revision: Revision
}

export interface SharesTable {
  id: string
  application: string
  user: string
  file: string
  secret: string
  password_hash: string
  network: string
  created_by: string
  created_at_ms: Integer
  expires_at_ms: Integer
  revoked_at_ms: Integer
}

export interface AuditTable {
  at_ms: Integer
  id: string
  who: string
  token: string
  what: string
  application: string
  user: string
  file: string
  address: string
  outcome: string
  code: string
}

export interface PlaysTable {
  application: string
  user: string
  file: string
  generation: string
  day: Integer
  starts: Integer
  seconds: Integer
  /** Viewings that came so far, in tenths of the film. */
  reached_0: Integer
  reached_1: Integer
  reached_2: Integer
  reached_3: Integer
  reached_4: Integer
  reached_5: Integer
  reached_6: Integer
  reached_7: Integer
  reached_8: Integer
  reached_9: Integer
  reached_10: Integer
}

export interface WebhooksTable {
  id: string
  url: string
  secret: string
  /** Separated by commas. */
  events: string
  application: string
  created_at_ms: Integer
}

export interface DeliveriesTable {
  id: string
  webhook: string
  event: string
  body: string
  created_at_ms: Integer
  tries: Integer
  state: string
  due_at_ms: Integer
  holder: string
  failure: string
}

/** Places of a film whose reaching is counted, its beginning and its end among them. */
export const PLAY_TENTHS = 11

const SQLITE = [
  `CREATE TABLE IF NOT EXISTS access_state (
     name TEXT NOT NULL PRIMARY KEY,
     revision INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS tokens (
     id TEXT NOT NULL PRIMARY KEY,
     hash TEXT NOT NULL,
     parent TEXT NOT NULL,
     name TEXT NOT NULL,
     grants TEXT NOT NULL,
     created_at_ms INTEGER NOT NULL,
     expires_at_ms INTEGER NOT NULL,
     used_day INTEGER NOT NULL,
     revoked_at_ms INTEGER NOT NULL,
     revision INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID`,
  'CREATE INDEX IF NOT EXISTS tokens_revision ON tokens (revision)',
  'CREATE INDEX IF NOT EXISTS tokens_parent ON tokens (parent, created_at_ms)',
  `CREATE TABLE IF NOT EXISTS application_rules (
     application TEXT NOT NULL PRIMARY KEY,
     read_rule TEXT NOT NULL,
     bytes_max INTEGER NOT NULL,
     files_max INTEGER NOT NULL,
     user_bytes_max INTEGER NOT NULL,
     user_files_max INTEGER NOT NULL,
     requests_per_s INTEGER NOT NULL,
     revision INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS signing_keys (
     id TEXT NOT NULL PRIMARY KEY,
     application TEXT NOT NULL,
     secret TEXT NOT NULL,
     state TEXT NOT NULL,
     created_at_ms INTEGER NOT NULL,
     revision INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS shares (
     id TEXT NOT NULL PRIMARY KEY,
     application TEXT NOT NULL,
     user TEXT NOT NULL,
     file TEXT NOT NULL,
     secret TEXT NOT NULL,
     password_hash TEXT NOT NULL,
     network TEXT NOT NULL,
     created_by TEXT NOT NULL,
     created_at_ms INTEGER NOT NULL,
     expires_at_ms INTEGER NOT NULL,
     revoked_at_ms INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID`,
  'CREATE INDEX IF NOT EXISTS shares_film ON shares (application, user, file, created_at_ms)',
  'CREATE INDEX IF NOT EXISTS shares_time ON shares (created_at_ms, id)',
  `CREATE TABLE IF NOT EXISTS audit (
     at_ms INTEGER NOT NULL,
     id TEXT NOT NULL,
     who TEXT NOT NULL,
     token TEXT NOT NULL,
     what TEXT NOT NULL,
     application TEXT NOT NULL,
     user TEXT NOT NULL,
     file TEXT NOT NULL,
     address TEXT NOT NULL,
     outcome TEXT NOT NULL,
     code TEXT NOT NULL,
     PRIMARY KEY (at_ms, id)
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS plays (
     application TEXT NOT NULL,
     user TEXT NOT NULL,
     file TEXT NOT NULL,
     generation TEXT NOT NULL,
     day INTEGER NOT NULL,
     starts INTEGER NOT NULL,
     seconds INTEGER NOT NULL,
     reached_0 INTEGER NOT NULL,
     reached_1 INTEGER NOT NULL,
     reached_2 INTEGER NOT NULL,
     reached_3 INTEGER NOT NULL,
     reached_4 INTEGER NOT NULL,
     reached_5 INTEGER NOT NULL,
     reached_6 INTEGER NOT NULL,
     reached_7 INTEGER NOT NULL,
     reached_8 INTEGER NOT NULL,
     reached_9 INTEGER NOT NULL,
     reached_10 INTEGER NOT NULL,
     PRIMARY KEY (application, user, file, day, generation)
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS webhooks (
     id TEXT NOT NULL PRIMARY KEY,
     url TEXT NOT NULL,
     secret TEXT NOT NULL,
     events TEXT NOT NULL,
     application TEXT NOT NULL,
     created_at_ms INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS deliveries (
     id TEXT NOT NULL PRIMARY KEY,
     webhook TEXT NOT NULL,
     event TEXT NOT NULL,
     body TEXT NOT NULL,
     created_at_ms INTEGER NOT NULL,
     tries INTEGER NOT NULL,
     state TEXT NOT NULL,
     due_at_ms INTEGER NOT NULL,
     holder TEXT NOT NULL,
     failure TEXT NOT NULL
   ) STRICT, WITHOUT ROWID`,
  'CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due_at_ms)',
  'CREATE INDEX IF NOT EXISTS deliveries_webhook ON deliveries (webhook, state, created_at_ms)'
]

/** Bytes wherever something is compared: even the _bin collations ignore trailing spaces. */
const MYSQL_TABLE = 'ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4'
const MYSQL = [
  `CREATE TABLE IF NOT EXISTS access_state (
     name VARBINARY(16) NOT NULL PRIMARY KEY,
     revision BIGINT NOT NULL
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS tokens (
     id VARBINARY(32) NOT NULL PRIMARY KEY,
     hash VARBINARY(64) NOT NULL,
     parent VARBINARY(40) NOT NULL,
     name VARBINARY(400) NOT NULL,
     grants VARBINARY(8000) NOT NULL,
     created_at_ms BIGINT NOT NULL,
     expires_at_ms BIGINT NOT NULL,
     used_day INT NOT NULL,
     revoked_at_ms BIGINT NOT NULL,
     revision BIGINT NOT NULL,
     KEY tokens_revision (revision),
     KEY tokens_parent (parent, created_at_ms)
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS application_rules (
     application VARBINARY(15) NOT NULL PRIMARY KEY,
     read_rule VARBINARY(8) NOT NULL,
     bytes_max BIGINT NOT NULL,
     files_max BIGINT NOT NULL,
     user_bytes_max BIGINT NOT NULL,
     user_files_max BIGINT NOT NULL,
     requests_per_s BIGINT NOT NULL,
     revision BIGINT NOT NULL
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS signing_keys (
     id VARBINARY(32) NOT NULL PRIMARY KEY,
     application VARBINARY(15) NOT NULL,
     secret VARBINARY(64) NOT NULL,
     state VARBINARY(8) NOT NULL,
     created_at_ms BIGINT NOT NULL,
     revision BIGINT NOT NULL
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS shares (
     id VARBINARY(32) NOT NULL PRIMARY KEY,
     application VARBINARY(15) NOT NULL,
     user VARBINARY(255) NOT NULL,
     file VARBINARY(127) NOT NULL,
     secret VARBINARY(64) NOT NULL,
     password_hash VARBINARY(300) NOT NULL,
     network VARBINARY(60) NOT NULL,
     created_by VARBINARY(400) NOT NULL,
     created_at_ms BIGINT NOT NULL,
     expires_at_ms BIGINT NOT NULL,
     revoked_at_ms BIGINT NOT NULL,
     KEY shares_film (application, user, file, created_at_ms),
     KEY shares_time (created_at_ms, id)
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS audit (
     at_ms BIGINT NOT NULL,
     id VARBINARY(16) NOT NULL,
     who VARBINARY(1200) NOT NULL,
     token VARBINARY(40) NOT NULL,
     what VARBINARY(1200) NOT NULL,
     application VARBINARY(15) NOT NULL,
     user VARBINARY(1020) NOT NULL,
     file VARBINARY(1200) NOT NULL,
     address VARBINARY(64) NOT NULL,
     outcome VARBINARY(8) NOT NULL,
     code VARBINARY(40) NOT NULL,
     PRIMARY KEY (at_ms, id)
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS plays (
     application VARBINARY(15) NOT NULL,
     user VARBINARY(255) NOT NULL,
     file VARBINARY(127) NOT NULL,
     generation VARBINARY(32) NOT NULL,
     day INT NOT NULL,
     starts BIGINT NOT NULL,
     seconds BIGINT NOT NULL,
     reached_0 BIGINT NOT NULL,
     reached_1 BIGINT NOT NULL,
     reached_2 BIGINT NOT NULL,
     reached_3 BIGINT NOT NULL,
     reached_4 BIGINT NOT NULL,
     reached_5 BIGINT NOT NULL,
     reached_6 BIGINT NOT NULL,
     reached_7 BIGINT NOT NULL,
     reached_8 BIGINT NOT NULL,
     reached_9 BIGINT NOT NULL,
     reached_10 BIGINT NOT NULL,
     PRIMARY KEY (application, user, file, day, generation)
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS webhooks (
     id VARBINARY(32) NOT NULL PRIMARY KEY,
     url VARBINARY(4000) NOT NULL,
     secret VARBINARY(800) NOT NULL,
     events VARBINARY(100) NOT NULL,
     application VARBINARY(15) NOT NULL,
     created_at_ms BIGINT NOT NULL
   ) ${MYSQL_TABLE}`,
  `CREATE TABLE IF NOT EXISTS deliveries (
     id VARBINARY(32) NOT NULL PRIMARY KEY,
     webhook VARBINARY(32) NOT NULL,
     event VARBINARY(16) NOT NULL,
     body BLOB NOT NULL,
     created_at_ms BIGINT NOT NULL,
     tries INT NOT NULL,
     state VARBINARY(8) NOT NULL,
     due_at_ms BIGINT NOT NULL,
     holder VARBINARY(64) NOT NULL,
     failure VARBINARY(1200) NOT NULL,
     KEY deliveries_due (state, due_at_ms),
     KEY deliveries_webhook (webhook, state, created_at_ms)
   ) ${MYSQL_TABLE}`
]

/** Tables of these that backups keep; deliveries are of their moment. */
export const ACCESS_KEPT_TABLES = [
  { name: 'access_state', since: 5, key: ['name'], numbers: ['revision'] },
  {
    name: 'tokens',
    since: 5,
    key: ['id'],
    numbers: ['created_at_ms', 'expires_at_ms', 'used_day', 'revoked_at_ms', 'revision']
  },
  {
    name: 'application_rules',
    since: 5,
    key: ['application'],
    numbers: ['bytes_max', 'files_max', 'user_bytes_max', 'user_files_max', 'requests_per_s', 'revision']
  },
  { name: 'signing_keys', since: 5, key: ['id'], numbers: ['created_at_ms', 'revision'] },
  { name: 'shares', since: 5, key: ['id'], numbers: ['created_at_ms', 'expires_at_ms', 'revoked_at_ms'] },
  { name: 'webhooks', since: 5, key: ['id'], numbers: ['created_at_ms'] },
  {
    name: 'plays',
    since: 5,
    key: ['application', 'user', 'file', 'day', 'generation'],
    numbers: [
      'day',
      'starts',
      'seconds',
      ...Array.from({ length: PLAY_TENTHS }, (_, tenth) => `reached_${tenth}`)
    ]
  },
  { name: 'audit', since: 5, key: ['at_ms', 'id'], numbers: ['at_ms'] }
]

/** The one row of `access_state`. */
export const ACCESS_STATE = 'access'

export function accessTables(engine: 'sqlite' | 'mysql'): readonly string[] {
  return engine === 'sqlite' ? SQLITE : MYSQL
}
