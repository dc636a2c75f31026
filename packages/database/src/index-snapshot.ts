import { sql, type Kysely } from 'kysely'
import { Catalog } from './catalog.ts'
import { hexOf, textOf } from './file-record.ts'
import { KEPT_TABLES, rowsOf, type KeptRecord } from './kept-tables.ts'
import { FilePages } from './file-pages.ts'
import { schemaVersionOf } from './schema-version.ts'
import type { FileKey, FileRow } from './file-index.ts'
import type { Engine } from './migrations.ts'
import type { GroupRow } from './routes.ts'
import { LIBRARY_SCHEMA_VERSION, type Schema } from './schema.ts'

const PAGE_ROWS = 1_000

export interface UserRoute {
  application: string
  user: string
  group: string
}

export interface FilmTitle extends FileKey {
  generation: string
  title: string
}

export interface CounterValue {
  key: string
  /** The next value that nobody has reserved; below 2^63. */
  next: bigint
}

/**
 * The whole index as it was at one moment, read a page at a time while servers go on writing. Leases are left out: they
 * are of their moment only.
 */
export class IndexSnapshot {
  readonly engine: Engine
  readonly #queries: Kysely<Schema>
  readonly #pages: FilePages
  readonly #catalog: Catalog
  readonly #close: () => Promise<void>

  /** @param queries On one connection, in a transaction that sees one moment. */
  constructor(engine: Engine, queries: Kysely<Schema>, close: () => Promise<void>) {
    this.engine = engine
    this.#queries = queries
    this.#pages = new FilePages(queries)
    this.#catalog = new Catalog(queries)
    this.#close = close
  }

  schemaVersion(): Promise<number> {
    return schemaVersionOf(this.#queries)
  }

  clusterId(): Promise<string> {
    return this.#catalog.clusterId()
  }

  applications(): Promise<string[]> {
    return this.#catalog.applications()
  }

  groups(): Promise<GroupRow[]> {
    return this.#catalog.groups()
  }

  /** In order of application and user. */
  async *routes(): AsyncGenerator<UserRoute[]> {
    for (let application: Buffer | undefined; ;) {
      let query = this.#queries.selectFrom('user_routes').select('application')
      if (application !== undefined) query = query.where('application', '>', application)
      const [found] = await query.orderBy('application').limit(1).execute()
      if (!found) return
      application = Buffer.from(found.application)
      yield* this.#routesOf(application)
    }
  }

  async *#routesOf(application: Buffer): AsyncGenerator<UserRoute[]> {
    for (let after: Buffer | undefined; ;) {
      let query = this.#queries
        .selectFrom('user_routes')
        .select(['user', 'group_name'])
        .where('application', '=', application)
      if (after !== undefined) query = query.where('user', '>', after)
      const records = await query.orderBy('user').limit(sql.lit(PAGE_ROWS)).execute()
      if (records.length > 0) {
        yield records.map(record => ({
          application: textOf(application),
          user: textOf(record.user),
          group: textOf(record.group_name)
        }))
      }
      if (records.length < PAGE_ROWS) return
      after = Buffer.from(records.at(-1)!.user)
    }
  }

  /** In byte order of the keys. */
  async *counters(): AsyncGenerator<CounterValue[]> {
    for (let after: Buffer | undefined; ;) {
      // As text: past 2^53 a number would be another one.
      let query = this.#queries
        .selectFrom('counters')
        .select(['name', sql<string | Uint8Array>`CAST(next AS CHAR)`.as('next')])
      if (after !== undefined) query = query.where('name', '>', after)
      const records = await query.orderBy('name').limit(sql.lit(PAGE_ROWS)).execute()
      if (records.length > 0) {
        yield records.map(record => ({ key: textOf(record.name), next: BigInt(textOf(record.next)) }))
      }
      if (records.length < PAGE_ROWS) return
      after = Buffer.from(records.at(-1)!.name)
    }
  }

  /** Of every state, store by store in order of their places. */
  async *files(): AsyncGenerator<FileRow[]> {
    for (const store of await this.#pages.stores()) {
      for (let afterPath: string | undefined; ;) {
        const rows = await this.#pages.listStore({
          store,
          limit: PAGE_ROWS,
          ...(afterPath === undefined ? {} : { afterPath })
        })
        if (rows.length > 0) yield rows
        if (rows.length < PAGE_ROWS) break
        afterPath = rows.at(-1)!.path
      }
    }
  }

  /** Titles that people gave, in order of their keys. */
  async *titles(): AsyncGenerator<FilmTitle[]> {
    if ((await this.schemaVersion()) < LIBRARY_SCHEMA_VERSION) return
    for (let last: FilmTitle | undefined; ;) {
      const after = last
      const behind = after
        ? sql<boolean>`(application, user, file) > (${Buffer.from(after.application)}, ${Buffer.from(after.user)}, ${Buffer.from(after.file)})`
        : sql<boolean>`1 = 1`
      const records = await this.#queries
        .selectFrom('library')
        .select(['application', 'user', 'file', 'generation', 'title'])
        .where('titled', '=', 1)
        .where(behind)
        .orderBy('application')
        .orderBy('user')
        .orderBy('file')
        .limit(sql.lit(PAGE_ROWS))
        .execute()
      const page = records.map(record => ({
        application: textOf(record.application),
        user: textOf(record.user),
        file: textOf(record.file),
        generation: hexOf(record.generation),
        title: textOf(record.title)
      }))
      if (page.length > 0) yield page
      if (page.length < PAGE_ROWS) return
      last = page.at(-1)
    }
  }

  /** What else the control plane keeps, table by table. */
  async *records(): AsyncGenerator<KeptRecord[]> {
    const version = await this.schemaVersion()
    for (const table of KEPT_TABLES) {
      if (table.since > version) continue
      for await (const rows of rowsOf(this.#queries, table))
        yield rows.map(row => ({ table: table.name, row }))
    }
  }

  close(): Promise<void> {
    return this.#close()
  }
}
