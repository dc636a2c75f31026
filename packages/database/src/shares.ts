import { sql, type Selectable } from 'kysely'
import type { SharesTable } from './access-schema.ts'
import { insertNew, statement, type Control } from './control.ts'
import { textOf } from './file-record.ts'
import { safeIntegerOf } from './file-row.ts'

export interface ShareRow {
  id: string
  application: string
  user: string
  file: string
  /** Signs the addresses that the share opens. */
  secret: string
  /** Empty: without a password. */
  passwordHash: string
  network: string
  createdBy: string
  createdAtMs: number
  /** 0: never. */
  expiresAtMs: number
  /** 0: it is not. */
  revokedAtMs: number
}

export interface SharesOf {
  application?: string | undefined
  user?: string | undefined
  file?: string | undefined
}

/** Links that open a film to whoever has them. */
export class Shares {
  readonly #control: Control

  constructor(control: Control) {
    this.#control = control
  }

  /** @returns false: there is one of this id. */
  async add(row: Omit<ShareRow, 'revokedAtMs'>): Promise<boolean> {
    const outcome = await this.#control.change(
      statement(
        insertNew(this.#control, 'shares', {
          id: row.id,
          application: row.application,
          user: row.user,
          file: row.file,
          secret: row.secret,
          password_hash: row.passwordHash,
          network: row.network,
          created_by: row.createdBy,
          created_at_ms: row.createdAtMs,
          expires_at_ms: row.expiresAtMs,
          revoked_at_ms: 0
        }),
        1
      )
    )
    return outcome.done
  }

  async find(id: string): Promise<ShareRow | undefined> {
    const row = await this.#control.queries
      .selectFrom('shares')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst()
    return row && shareOf(row)
  }

  /** Those that can be used. */
  async countOf({ application, user, file }: Required<SharesOf>, nowMs: number): Promise<number> {
    const { count } = await this.#control.queries
      .selectFrom('shares')
      .select(sql<number>`count(*)`.as('count'))
      .where('application', '=', application!)
      .where('user', '=', user!)
      .where('file', '=', file!)
      .where('revoked_at_ms', '=', 0)
      .where(({ or, eb }) => or([eb('expires_at_ms', '=', 0), eb('expires_at_ms', '>', nowMs)]))
      .executeTakeFirstOrThrow()
    return safeIntegerOf(count)
  }

  /** The newest first; `before`: those made before this one. */
  async list(
    of: SharesOf,
    before: { createdAtMs: number; id: string } | undefined,
    limit: number
  ): Promise<ShareRow[]> {
    let query = this.#control.queries.selectFrom('shares').selectAll()
    for (const part of ['application', 'user', 'file'] as const) {
      const value = of[part]
      if (value !== undefined) query = query.where(part, '=', value)
    }
    if (before) {
      query = query.where(({ or, and, eb }) =>
        or([
          eb('created_at_ms', '<', before.createdAtMs),
          and([eb('created_at_ms', '=', before.createdAtMs), eb('id', '<', before.id)])
        ])
      )
    }
    const rows = await query
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(sql.lit(limit))
      .execute()
    return rows.map(shareOf)
  }

  /** @returns false: there is none. */
  async revoke(id: string, nowMs: number): Promise<boolean> {
    const outcome = await this.#control.change(
      statement(
        this.#control.queries
          .updateTable('shares')
          .set({ revoked_at_ms: nowMs })
          .where('id', '=', id)
          .where('revoked_at_ms', '=', 0)
      )
    )
    return (outcome.done && outcome.changes[0] === 1) || (await this.find(id)) !== undefined
  }

  /** Those that ended before this time. */
  async forgetEnded(beforeMs: number): Promise<void> {
    await this.#control.change(
      statement(
        this.#control.queries
          .deleteFrom('shares')
          .where('expires_at_ms', '>', 0)
          .where('expires_at_ms', '<', beforeMs)
      )
    )
  }
}

function shareOf(row: Selectable<SharesTable>): ShareRow {
  return {
    id: textOf(row.id),
    application: textOf(row.application),
    user: textOf(row.user),
    file: textOf(row.file),
    secret: textOf(row.secret),
    passwordHash: textOf(row.password_hash),
    network: textOf(row.network),
    createdBy: textOf(row.created_by),
    createdAtMs: safeIntegerOf(row.created_at_ms),
    expiresAtMs: safeIntegerOf(row.expires_at_ms),
    revokedAtMs: safeIntegerOf(row.revoked_at_ms)
  }
}
