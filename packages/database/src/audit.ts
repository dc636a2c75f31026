import { sql, type Selectable } from 'kysely'
import type { AuditTable } from './access-schema.ts'
import { insertNew, statement, type Control } from './control.ts'
import { textOf } from './file-record.ts'
import { safeIntegerOf } from './file-row.ts'

export interface AuditRow {
  id: string
  atMs: number
  who: string
  token: string
  what: string
  application: string
  user: string
  file: string
  address: string
  outcome: string
  /** Of what was refused or failed. */
  code: string
}

export interface AuditFilter {
  outcome: string | undefined
  application: string | undefined
}

/** Rows removed by one statement, so that none holds others up for long. */
const TRIM_ROWS_MAX = 1_000

/** What was changed and what was refused. */
export class Audit {
  readonly #control: Control

  constructor(control: Control) {
    this.#control = control
  }

  /** Entries that are there already stay as they are. */
  async add(rows: readonly AuditRow[]): Promise<void> {
    if (rows.length === 0) return
    await this.#control.change(
      ...rows.map(({ id, atMs, ...rest }) =>
        statement(insertNew(this.#control, 'audit', { id, at_ms: atMs, ...rest }))
      )
    )
  }

  /** The newest first; `before`: those before this one. */
  async list(
    { outcome, application }: AuditFilter,
    before: { atMs: number; id: string } | undefined,
    limit: number
  ): Promise<AuditRow[]> {
    let query = this.#control.queries.selectFrom('audit').selectAll()
    if (outcome !== undefined) query = query.where('outcome', '=', outcome)
    if (application !== undefined) query = query.where('application', '=', application)
    if (before) {
      query = query.where(({ or, and, eb }) =>
        or([eb('at_ms', '<', before.atMs), and([eb('at_ms', '=', before.atMs), eb('id', '<', before.id)])])
      )
    }
    const rows = await query.orderBy('at_ms', 'desc').orderBy('id', 'desc').limit(sql.lit(limit)).execute()
    return rows.map(auditOf)
  }

  /** Removes what is too old or too much, a piece at a time. @returns whether there may be more to remove. */
  async trim(beforeMs: number, rowsMax: number): Promise<boolean> {
    const { queries } = this.#control
    const { count } = await queries
      .selectFrom('audit')
      .select(sql<number>`count(*)`.as('count'))
      .executeTakeFirstOrThrow()
    const surplus = Math.max(0, safeIntegerOf(count) - rowsMax)
    // Up to which time: rows of one millisecond go together.
    const oldest = await queries
      .selectFrom('audit')
      .select('at_ms')
      .orderBy('at_ms')
      .limit(sql.lit(TRIM_ROWS_MAX))
      .execute()
    const times = oldest.map(row => safeIntegerOf(row.at_ms))
    const upToMs = times.findLast((atMs, index) => atMs < beforeMs || index < surplus)
    if (upToMs === undefined) return false
    await this.#control.change(statement(queries.deleteFrom('audit').where('at_ms', '<=', upToMs)))
    return times.length === TRIM_ROWS_MAX
  }
}

function auditOf(row: Selectable<AuditTable>): AuditRow {
  return {
    id: textOf(row.id),
    atMs: safeIntegerOf(row.at_ms),
    who: textOf(row.who),
    token: textOf(row.token),
    what: textOf(row.what),
    application: textOf(row.application),
    user: textOf(row.user),
    file: textOf(row.file),
    address: textOf(row.address),
    outcome: textOf(row.outcome),
    code: textOf(row.code)
  }
}
