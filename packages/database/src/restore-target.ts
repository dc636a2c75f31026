import { sql, type Kysely } from 'kysely'
import { RestoreRefusedError } from './errors.ts'
import { KEPT_TABLES, type KeptRecord } from './kept-tables.ts'
import { markRestoring, restoringSince, unmarkRestoring } from './restore-mark.ts'
import type { Engine } from './migrations.ts'
import type { GroupRow } from './routes.ts'
import type { Schema } from './schema.ts'

/** Rows that one statement removes: a Galera cluster takes no transaction of any size. */
const DELETE_ROWS = 10_000
const TABLES = [
  'files',
  'library',
  'film_facts',
  'library_words',
  'user_routes',
  'storage_groups',
  'applications'
]

/** An index that is about to be filled from a backup. Until `end` nobody else can open it. */
export class RestoreTarget {
  readonly #engine: Engine
  readonly #queries: Kysely<Schema>
  readonly #close: () => Promise<void>

  constructor(engine: Engine, queries: Kysely<Schema>, close: () => Promise<void>) {
    this.#engine = engine
    this.#queries = queries
    this.#close = close
  }

  /**
   * Makes it empty, but for the counters, which never go back, and marks it.
   *
   * @param replaces Whether rows that are there may go. Those of a restore that broke off always may.
   * @throws {RestoreRefusedError} it has rows.
   */
  async begin({ replaces }: { replaces: boolean }): Promise<void> {
    const brokeOff = (await restoringSince(this.#queries)) !== undefined
    if (!replaces && !brokeOff && !(await this.#isEmpty()))
      throw new RestoreRefusedError('the database has rows already; --replace puts the backup in their place')
    await markRestoring(this.#queries, new Date().toISOString())
    for (const table of [...TABLES, ...KEPT_TABLES.map(({ name }) => name)]) await this.#empty(table)
  }

  /** Region and state of groups as well, which have no other way in. */
  async addGroups(groups: readonly GroupRow[]): Promise<void> {
    for (const { name, region, draining } of groups) {
      const row = { name, region, draining: draining ? 1 : 0 }
      await this.#queries.insertInto('storage_groups').values(row).execute()
    }
  }

  /** Rows of a table that backups keep; of one that this program does not know, nothing. @returns how many were taken. */
  async addRecords(records: readonly KeptRecord[]): Promise<number> {
    let added = 0
    for (const { table, row } of records) {
      if (!KEPT_TABLES.some(({ name }) => name === table)) continue
      await this.#queries
        .insertInto(table as keyof Schema)
        .values(row as never)
        .execute()
      added++
    }
    return added
  }

  /** From now on it is an index like any other. */
  async end(): Promise<void> {
    await unmarkRestoring(this.#queries)
  }

  close(): Promise<void> {
    return this.#close()
  }

  async #isEmpty(): Promise<boolean> {
    const [file] = await this.#queries.selectFrom('files').select('path').limit(1).execute()
    const [route] = await this.#queries.selectFrom('user_routes').select('group_name').limit(1).execute()
    return !file && !route
  }

  async #empty(table: string): Promise<void> {
    if (this.#engine === 'sqlite') {
      await sql`DELETE FROM ${sql.table(table)}`.execute(this.#queries)
      return
    }
    for (;;) {
      const statement = sql`DELETE FROM ${sql.table(table)} LIMIT ${sql.lit(DELETE_ROWS)}`
      const { numAffectedRows } = await statement.execute(this.#queries)
      if ((numAffectedRows ?? 0n) < BigInt(DELETE_ROWS)) return
    }
  }
}
