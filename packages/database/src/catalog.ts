import { textOf } from './file-record.ts'
import type { Kysely } from 'kysely'
import type { GroupRow } from './routes.ts'
import type { Schema } from './schema.ts'

/** The short tables, read whole: applications, groups, and what the cluster is called. */
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

  async clusterId(): Promise<string> {
    const query = this.#database.selectFrom('meta').select('value').where('name', '=', 'cluster_id')
    return textOf((await query.executeTakeFirstOrThrow()).value)
  }
}
