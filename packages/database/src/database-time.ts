import { sql, type RawBuilder } from 'kysely'
import type { Control } from './control.ts'

/** UNIX milliseconds by the database's clock, on SQLite the machine's: for leases, which several machines judge. */
export function databaseNow({ engine }: Pick<Control, 'engine'>): RawBuilder<number> {
  return engine === 'sqlite'
    ? sql<number>`CAST(unixepoch('subsec') * 1000 AS INTEGER)`
    : sql<number>`CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)`
}
