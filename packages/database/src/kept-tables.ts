/**
 * Tables of the control plane that a backup keeps as they are, row by row. Left out is what is of its moment (leases, jobs,
 * uploads on their way), and what is made again from the files (the library; its titles go by themselves).
 */
import { sql, type Kysely } from 'kysely'
import { ACCESS_KEPT_TABLES } from './access-schema.ts'
import { textOf } from './file-record.ts'
import { safeIntegerOf } from './file-row.ts'
import type { Schema } from './schema.ts'

export interface KeptTable {
  readonly name: string
  /** Of the schema that first had it. */
  readonly since: number
  /** Its primary key, in order. */
  readonly key: readonly string[]
  /** Columns of whole numbers; all others are text. */
  readonly numbers: readonly string[]
}

/** In an order in which they can be filled. Append only. */
export const KEPT_TABLES: readonly KeptTable[] = [...ACCESS_KEPT_TABLES]

export type KeptRow = Record<string, string | number>

export interface KeptRecord {
  table: string
  row: KeptRow
}

const PAGE_ROWS = 1_000

/** All rows of a table, in the order of its key. */
export async function* rowsOf(
  queries: Kysely<Schema>,
  { name, key, numbers }: KeptTable
): AsyncGenerator<KeptRow[]> {
  const isNumber = new Set(numbers)
  const columns = sql.join(key.map(column => sql.ref(column)))
  let after: KeptRow | undefined
  for (;;) {
    const last = after
    const behind = last ? sql`WHERE (${columns}) > (${sql.join(key.map(column => last[column]))})` : sql``
    const { rows } = await sql<
      Record<string, string | Uint8Array | number | bigint>
    >`SELECT * FROM ${sql.table(name)}
      ${behind} ORDER BY ${columns} LIMIT ${sql.lit(PAGE_ROWS)}`.execute(queries)
    const page = rows.map(row =>
      Object.fromEntries(
        Object.entries(row).map(([column, value]) => [
          column,
          isNumber.has(column) ? safeIntegerOf(value as number) : textOf(value as string)
        ])
      )
    )
    if (page.length > 0) yield page
    if (page.length < PAGE_ROWS) return
    after = page.at(-1)
  }
}
