import { sql, type RawBuilder, type Selectable, type SelectQueryBuilder } from 'kysely'
import {
  ACCESS_STATE,
  type SigningKeysTable,
  type TokensTable,
  type ApplicationRulesTable
} from './access-schema.ts'
import { insertNew, statement, type Control, type ControlStatement } from './control.ts'
import { textOf } from './file-record.ts'
import { safeIntegerOf } from './file-row.ts'
import type { Schema } from './schema.ts'

/** Tables whose rows have the revision of their last change. */
type RevisedTable = 'tokens' | 'application_rules' | 'signing_keys'

export interface TokenRow {
  id: string
  /** SHA-256, 64 hexadecimal digits. */
  hash: string
  /** Of a session: the token that it was opened with; empty: it is a token. */
  parent: string
  name: string
  /** JSON, which nobody looks into here. */
  grants: string
  createdAtMs: number
  /** 0: never. */
  expiresAtMs: number
  usedDay: number
  /** 0: it is not. */
  revokedAtMs: number
}

export interface RulesRow {
  application: string
  reads: string
  quotas: {
    bytesMax: number
    filesMax: number
    userBytesMax: number
    userFilesMax: number
    requestsPerS: number
  }
}

export interface SigningKeyRow {
  id: string
  application: string
  secret: string
  state: string
  createdAtMs: number
}

export interface AccessChangesRow {
  revision: number
  more: boolean
  tokens: TokenRow[]
  rules: RulesRow[]
  keys: SigningKeyRow[]
}

/** Tokens and sessions, the rules of applications, signing keys. Each change has a revision, so that others follow. */
export class Access {
  readonly #control: Control

  constructor(control: Control) {
    this.#control = control
  }

  /** What changed after a revision, the oldest first. */
  async changes(since: number, limit: number): Promise<AccessChangesRow> {
    const { queries } = this.#control
    // What happens meanwhile is behind `now`, and so is not missed the next time.
    const now = await this.#revision()
    const empty = { revision: now, more: false, tokens: [], rules: [], keys: [] }
    if (since >= now) return empty
    const page = <Row>(rows: SelectQueryBuilder<Schema, RevisedTable, Row>): Promise<Row[]> =>
      rows.where('revision', '>', since).orderBy('revision').limit(sql.lit(limit)).execute()
    const [tokens, rules, keys] = await Promise.all([
      page(queries.selectFrom('tokens').selectAll()),
      page(queries.selectFrom('application_rules').selectAll()),
      page(queries.selectFrom('signing_keys').selectAll())
    ])
    const all = [tokens, rules, keys].map(rows => rows.map(({ revision }) => safeIntegerOf(revision)))
    // Of a list that was cut nothing is known behind its last entry: that is how far all three are given. One revision is one change.
    const reached = Math.min(...all.filter(list => list.length >= limit).map(list => list.at(-1)!), Infinity)
    const within = ({ revision }: { revision: number | bigint | string }): boolean =>
      safeIntegerOf(revision) <= reached
    const last = Math.max(since, ...all.flat().filter(revision => revision <= reached))
    return {
      revision: reached === Infinity ? Math.max(now, last) : reached,
      more: reached !== Infinity,
      tokens: tokens.filter(within).map(tokenOf),
      rules: rules.filter(within).map(rulesOf),
      keys: keys.filter(within).map(keyOf)
    }
  }

  /** In the order of their ids. */
  async tokens(after: string, limit: number, revoked: boolean): Promise<TokenRow[]> {
    let query = this.#control.queries
      .selectFrom('tokens')
      .selectAll()
      .where('parent', '=', '')
      .where('id', '>', after)
      .orderBy('id')
      .limit(sql.lit(limit))
    if (!revoked) query = query.where('revoked_at_ms', '=', 0)
    return (await query.execute()).map(tokenOf)
  }

  async token(id: string): Promise<TokenRow | undefined> {
    const row = await this.#control.queries
      .selectFrom('tokens')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst()
    return row && tokenOf(row)
  }

  /** Tokens that can be used. */
  async countTokens(): Promise<number> {
    const { count } = await this.#control.queries
      .selectFrom('tokens')
      .select(sql<number>`count(*)`.as('count'))
      .where('parent', '=', '')
      .where('revoked_at_ms', '=', 0)
      .executeTakeFirstOrThrow()
    return safeIntegerOf(count)
  }

  /** Sessions that can be used. */
  async countSessions(nowMs: number): Promise<number> {
    const { count } = await this.#control.queries
      .selectFrom('tokens')
      .select(sql<number>`count(*)`.as('count'))
      .where('parent', '<>', '')
      .where('revoked_at_ms', '=', 0)
      .where('expires_at_ms', '>', nowMs)
      .executeTakeFirstOrThrow()
    return safeIntegerOf(count)
  }

  /** @returns false: there is one of this id, and it stays as it is. */
  async addToken(row: Omit<TokenRow, 'usedDay' | 'revokedAtMs'>): Promise<boolean> {
    const outcome = await this.#control.change(
      this.#next(),
      statement(
        insertNew(this.#control, 'tokens', {
          id: row.id,
          hash: row.hash,
          parent: row.parent,
          name: row.name,
          grants: row.grants,
          created_at_ms: row.createdAtMs,
          expires_at_ms: row.expiresAtMs,
          used_day: 0,
          revoked_at_ms: 0,
          revision: REVISION
        }),
        1
      )
    )
    return outcome.done
  }

  /** The token and the sessions opened with it. @returns false: there is none. */
  async revokeToken(id: string, nowMs: number): Promise<boolean> {
    const token = await this.token(id)
    if (token === undefined) return false
    if (token.revokedAtMs > 0) return true
    // Each row has a revision of its own: a page of changes ends between two of them.
    const children = await this.#control.queries
      .selectFrom('tokens')
      .select('id')
      .where('parent', '=', id)
      .where('revoked_at_ms', '=', 0)
      .execute()
    for (const each of [id, ...children.map(row => textOf(row.id))]) {
      await this.#control.change(
        this.#next(),
        statement(
          this.#control.queries
            .updateTable('tokens')
            .set({ revoked_at_ms: nowMs, revision: REVISION })
            .where('id', '=', each)
            .where('revoked_at_ms', '=', 0),
          1
        )
      )
    }
    return true
  }

  /** Sessions of a token that are open, the oldest first. */
  async sessionsOf(parent: string, nowMs: number): Promise<string[]> {
    const rows = await this.#control.queries
      .selectFrom('tokens')
      .select('id')
      .where('parent', '=', parent)
      .where('revoked_at_ms', '=', 0)
      .where('expires_at_ms', '>', nowMs)
      .orderBy('created_at_ms')
      .execute()
    return rows.map(row => textOf(row.id))
  }

  async noteUse(ids: readonly string[], day: number): Promise<void> {
    if (ids.length === 0) return
    await this.#control.change(
      statement(
        this.#control.queries
          .updateTable('tokens')
          .set({ used_day: day })
          .where('id', 'in', [...ids])
          .where('used_day', '<', day)
      )
    )
  }

  /** Sessions that ended, and tokens that were revoked or expired, before this time: nobody needs to follow them any more. */
  async forgetEnded(beforeMs: number): Promise<void> {
    const { queries } = this.#control
    await this.#control.change(
      statement(
        queries
          .deleteFrom('tokens')
          .where('parent', '<>', '')
          .where(({ or, and, eb }) =>
            or([
              and([eb('expires_at_ms', '>', 0), eb('expires_at_ms', '<', beforeMs)]),
              and([eb('revoked_at_ms', '>', 0), eb('revoked_at_ms', '<', beforeMs)])
            ])
          )
      )
    )
  }

  async rules(): Promise<RulesRow[]> {
    const rows = await this.#control.queries.selectFrom('application_rules').selectAll().execute()
    return rows.map(rulesOf)
  }

  /** Of an application that has none yet, or instead of those that it has. */
  async setRules({ application, reads, quotas }: RulesRow): Promise<void> {
    const values = {
      read_rule: reads,
      bytes_max: quotas.bytesMax,
      files_max: quotas.filesMax,
      user_bytes_max: quotas.userBytesMax,
      user_files_max: quotas.userFilesMax,
      requests_per_s: quotas.requestsPerS,
      revision: REVISION
    }
    await this.#control.change(
      this.#next(),
      statement(this.#control.queries.deleteFrom('application_rules').where('application', '=', application)),
      statement(this.#control.queries.insertInto('application_rules').values({ application, ...values }), 1)
    )
  }

  async keys(): Promise<SigningKeyRow[]> {
    const rows = await this.#control.queries
      .selectFrom('signing_keys')
      .selectAll()
      .where('state', '<>', 'removed')
      .orderBy('created_at_ms')
      .orderBy('id')
      .execute()
    return rows.map(keyOf)
  }

  /** A new key that signs; `retire`: those of the same application that did are old. */
  async addKey(row: Omit<SigningKeyRow, 'state'>, retire: readonly string[]): Promise<void> {
    const { queries } = this.#control
    for (const id of retire) {
      await this.#control.change(
        this.#next(),
        statement(
          queries
            .updateTable('signing_keys')
            .set({ state: 'old', revision: REVISION })
            .where('id', '=', id)
            .where('state', '=', 'active')
        )
      )
    }
    await this.#control.change(
      this.#next(),
      statement(
        queries.insertInto('signing_keys').values({
          id: row.id,
          application: row.application,
          secret: row.secret,
          state: 'active',
          created_at_ms: row.createdAtMs,
          revision: REVISION
        }),
        1
      )
    )
  }

  /** Its secret goes with it. @returns false: there is none. */
  async removeKey(id: string): Promise<boolean> {
    const row = await this.#control.queries
      .selectFrom('signing_keys')
      .select('state')
      .where('id', '=', id)
      .executeTakeFirst()
    if (row === undefined) return false
    await this.#control.change(
      this.#next(),
      statement(
        this.#control.queries
          .updateTable('signing_keys')
          .set({ state: 'removed', secret: '', revision: REVISION })
          .where('id', '=', id)
      )
    )
    return true
  }

  async #revision(): Promise<number> {
    const { revision } = await this.#control.queries
      .selectFrom('access_state')
      .select('revision')
      .where('name', '=', ACCESS_STATE)
      .executeTakeFirstOrThrow()
    return safeIntegerOf(revision)
  }

  /** First in a change: its row is locked until the commit, so that revisions become visible in their order. */
  #next(): ControlStatement {
    return statement(
      this.#control.queries
        .updateTable('access_state')
        .set({ revision: sql<number>`revision + 1` })
        .where('name', '=', ACCESS_STATE),
      1
    )
  }
}

const REVISION: RawBuilder<number> = sql`(SELECT revision FROM access_state WHERE name = ${sql.lit(ACCESS_STATE)})`

function tokenOf(row: Selectable<TokensTable>): TokenRow {
  return {
    id: textOf(row.id),
    hash: textOf(row.hash),
    parent: textOf(row.parent),
    name: textOf(row.name),
    grants: textOf(row.grants),
    createdAtMs: safeIntegerOf(row.created_at_ms),
    expiresAtMs: safeIntegerOf(row.expires_at_ms),
    usedDay: safeIntegerOf(row.used_day),
    revokedAtMs: safeIntegerOf(row.revoked_at_ms)
  }
}

function rulesOf(row: Selectable<ApplicationRulesTable>): RulesRow {
  return {
    application: textOf(row.application),
    reads: textOf(row.read_rule),
    quotas: {
      bytesMax: safeIntegerOf(row.bytes_max),
      filesMax: safeIntegerOf(row.files_max),
      userBytesMax: safeIntegerOf(row.user_bytes_max),
      userFilesMax: safeIntegerOf(row.user_files_max),
      requestsPerS: safeIntegerOf(row.requests_per_s)
    }
  }
}

function keyOf(row: Selectable<SigningKeysTable>): SigningKeyRow {
  return {
    id: textOf(row.id),
    application: textOf(row.application),
    secret: textOf(row.secret),
    state: textOf(row.state),
    createdAtMs: safeIntegerOf(row.created_at_ms)
  }
}
