import { statSync } from 'node:fs'
import { textOf } from './file-record.ts'
import type { DatabaseInspection } from './inspection.ts'
import { openForInspection } from './sqlite-connection.ts'

/** @throws {Error} it is not there, or is no database. */
export function inspectSqlite(
  path: string
): Pick<DatabaseInspection, 'version' | 'schemaVersion' | 'clusterId' | 'settings'> {
  statSync(path)
  const database = openForInspection(path)
  const valuesOf = (query: string): string[] =>
    database
      .prepare(query)
      .all()
      .map(row => textOf(row['value'] as string | Uint8Array))
  try {
    const isThere = (table: string): boolean =>
      valuesOf(`SELECT name AS value FROM sqlite_master WHERE type = 'table' AND name = '${table}'`).length >
      0
    const migrations = isThere('kysely_migration')
      ? valuesOf('SELECT name AS value FROM kysely_migration')
      : []
    const [clusterId] = isThere('meta') ? valuesOf("SELECT value FROM meta WHERE name = 'cluster_id'") : []
    const [journalMode] = database.prepare('PRAGMA journal_mode').all()
    return {
      version: valuesOf('SELECT sqlite_version() AS value')[0] ?? '',
      schemaVersion: Math.max(0, ...migrations.map(value => Number.parseInt(value, 10))),
      ...(clusterId !== undefined && { clusterId }),
      settings: new Map([['journal_mode', String(journalMode?.['journal_mode'])]])
    }
  } finally {
    database.close()
  }
}
