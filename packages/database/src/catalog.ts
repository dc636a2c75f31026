import { sql, type Kysely } from 'kysely'
import { textOf } from './file-record.ts'
import { assertLimit, safeIntegerOf } from './file-row.ts'
import { PAGE_ROWS_MAX } from './file-index.ts'
import type { GroupRow, UserKey } from './routes.ts'
import type { Schema } from './schema.ts'

/** The short tables, read whole: applications, groups, and what the cluster is called; and who is tied to a group. */
export class Catalog {
  readonly #database: Kysely<Schema>

  constructor(database: Kysely<Schema>) {
    this.#database = database
  }

  async applications(): Promise<string[]> {
    const rows = await this.#database.selectFrom('applications').select('name').orderBy('name').execute()
    return rows.map(row => textOf(row.name))
  }

  async groups(): Promise<GroupRow[]> {
    const rows = await this.#database.selectFrom('storage_groups').selectAll().orderBy('name').execute()
    return rows.map(row => ({
      name: textOf(row.name),
      region: textOf(row.region),
      draining: row.draining !== 0
    }))
  }

  async usersOf(group: string, limit: number, after?: UserKey): Promise<UserKey[]> {
    assertLimit(limit, PAGE_ROWS_MAX)
    let query = this.#database.selectFrom('user_routes').select(['application', 'user'])
    if (after) {
      const application = Buffer.from(after.application)
      query = query.where(({ and, eb, or }) =>
        or([
          eb('application', '>', application),
          and([eb('application', '=', application), eb('user', '>', Buffer.from(after.user))])
        ])
      )
    }
    const rows = await query
      .where('group_name', '=', group)
      .orderBy('application')
      .orderBy('user')
      .limit(sql.lit(limit))
      .execute()
    return rows.map(row => ({ application: textOf(row.application), user: textOf(row.user) }))
  }

  async countUsers(group: string): Promise<number> {
    const { users } = await this.#database
      .selectFrom('user_routes')
      .select(sql<number>`count(*)`.as('users'))
      .where('group_name', '=', group)
      .executeTakeFirstOrThrow()
    return safeIntegerOf(users)
  }

  async clusterId(): Promise<string> {
    const query = this.#database.selectFrom('meta').select('value').where('name', '=', 'cluster_id')
    return textOf((await query.executeTakeFirstOrThrow()).value)
  }
}
