import type { DatabaseInspection } from './inspection.ts'
import { mysqlAddressOf } from './mysql-address.ts'
import { MysqlConnection, type MysqlRecord } from './mysql-connection.ts'
import { errnoOf } from './mysql-error.ts'
import { textOf } from './file-record.ts'

const NO_SUCH_TABLE = 1146
const VARIABLES = [
  'version',
  'version_comment',
  'innodb_flush_log_at_trx_commit',
  'innodb_doublewrite',
  'log_bin',
  'sync_binlog',
  'read_only',
  'super_read_only',
  'innodb_read_only',
  'max_connections',
  'wsrep_on'
]
const STATES = [
  'Threads_connected',
  'wsrep_ready',
  'wsrep_cluster_status',
  'wsrep_cluster_size',
  'wsrep_local_state_comment'
]

/** @throws {Error} it does not answer, or does not let us in. */
export async function inspectMysql(
  url: string,
  timeoutMs: number
): Promise<
  Pick<DatabaseInspection, 'version' | 'schemaVersion' | 'clusterId' | 'clockAheadMs' | 'settings'>
> {
  const connection = new MysqlConnection(mysqlAddressOf(url))
  const timer = setTimeout(() => connection.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs)
  try {
    await connection.connect()
    const askedMs = Date.now()
    const [now] = await connection.command('SELECT UNIX_TIMESTAMP(NOW(6)) * 1000 AS ms')
    const clockAheadMs = Number(now!['ms']) - (askedMs + Date.now()) / 2
    const settings = new Map<string, string>()
    for (const [kind, names] of [['VARIABLES', VARIABLES] as const, ['STATUS', STATES] as const]) {
      const list = names.map(name => `'${name}'`).join(', ')
      const rows = await connection.command(`SHOW GLOBAL ${kind} WHERE Variable_name IN (${list})`)
      for (const row of rows) settings.set(String(row['Variable_name']), String(row['Value']))
    }
    const migrations = await rowsIfThere(connection, 'SELECT name AS value FROM kysely_migration')
    const identity = await rowsIfThere(connection, "SELECT value FROM meta WHERE name = 'cluster_id'")
    return {
      version: settings.get('version') ?? '',
      schemaVersion: Math.max(0, ...migrations.map(value => Number.parseInt(value, 10))),
      ...(identity[0] !== undefined && { clusterId: identity[0] }),
      clockAheadMs,
      settings
    }
  } finally {
    clearTimeout(timer)
    connection.end()
  }
}

async function rowsIfThere(connection: MysqlConnection, statement: string): Promise<string[]> {
  let rows: MysqlRecord[]
  try {
    rows = await connection.command(statement)
  } catch (error) {
    if (errnoOf(error) === NO_SUCH_TABLE) return []
    throw error
  }
  return rows.map(row => textOf(row['value'] as string | Uint8Array))
}
