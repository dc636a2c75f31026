import { sql, type Kysely } from 'kysely'
import { DERIVED_END, DERIVED_PREFIX } from '@tributary/protocol'
import { fileRowOfRecord, hexOf, textOf } from './file-record.ts'
import {
  assertApplication,
  assertLimit,
  assertUser,
  FILE_STATES,
  hexOfUuid,
  safeIntegerOf,
  STATE_STORED,
  uuidOfHex
} from './file-row.ts'
import { PAGE_ROWS_MAX, type FileIndex, type FileRow } from './file-index.ts'
import type { Schema } from './schema.ts'

/** Derived files of one film. */
const DERIVED_MAX = 500
/** Paths asked for in one statement; engines bound the number of parameters. */
const PATHS_PER_QUERY_MAX = 500

/** The reads that both engines answer by the same SQL: pages, sums, and rows by place. */
export class FilePages implements Pick<
  FileIndex,
  'list' | 'listDerived' | 'listStore' | 'findPaths' | 'groupStores' | 'totals' | 'stores'
> {
  readonly #database: Kysely<Schema>

  constructor(database: Kysely<Schema>) {
    this.#database = database
  }

  async list(where: {
    application: string
    user: string
    after?: string
    limit: number
  }): Promise<FileRow[]> {
    assertApplication(where.application)
    assertUser(where.user)
    assertLimit(where.limit, PAGE_ROWS_MAX)
    let query = this.#database
      .selectFrom('files')
      .selectAll()
      .where('application', '=', Buffer.from(where.application))
      .where('user', '=', Buffer.from(where.user))
      .where('state', '=', STATE_STORED)
    // Derived files are a range of their own among the ids of a user; what comes before it and behind it is listed.
    const isListed = sql<boolean>`(file < ${Buffer.from(DERIVED_PREFIX)} OR file >= ${Buffer.from(DERIVED_END)})`
    query = query.where(isListed)
    if (where.after !== undefined) query = query.where('file', '>', Buffer.from(where.after))
    return (await query.orderBy('file').limit(sql.lit(where.limit)).execute()).map(fileRowOfRecord)
  }

  async listDerived({
    application,
    user,
    generation
  }: Parameters<FileIndex['listDerived']>[0]): Promise<FileRow[]> {
    const rows = await this.#database
      .selectFrom('files')
      .selectAll()
      .where('application', '=', Buffer.from(application))
      .where('user', '=', Buffer.from(user))
      .where('file', '>', Buffer.from(`${DERIVED_PREFIX}${generation}/`))
      .where('file', '<', Buffer.from(`${DERIVED_PREFIX}${generation}0`))
      .where('state', '=', STATE_STORED)
      .orderBy('file')
      .limit(sql.lit(DERIVED_MAX))
      .execute()
    return rows.map(fileRowOfRecord)
  }

  async listStore(where: Parameters<FileIndex['listStore']>[0]): Promise<FileRow[]> {
    assertLimit(where.limit, PAGE_ROWS_MAX)
    let query = this.#database.selectFrom('files').selectAll().where('store', '=', storeBytesOf(where.store))
    if (where.afterPath !== undefined) query = query.where('path', '>', where.afterPath)
    if (where.state !== undefined) {
      // Written out: SQLite uses a partial index only where it can see that its condition holds.
      query = query.where('state', '=', sql.lit(FILE_STATES.indexOf(where.state)))
    }
    return (await query.orderBy('path').limit(sql.lit(where.limit)).execute()).map(fileRowOfRecord)
  }

  async findPaths(store: string, paths: readonly string[]): Promise<FileRow[]> {
    const rows: FileRow[] = []
    for (let at = 0; at < paths.length; at += PATHS_PER_QUERY_MAX) {
      const part = paths.slice(at, at + PATHS_PER_QUERY_MAX)
      const query = this.#database.selectFrom('files').selectAll().where('store', '=', storeBytesOf(store))
      rows.push(...(await query.where('path', 'in', part).execute()).map(fileRowOfRecord))
    }
    return rows
  }

  async groupStores(): Promise<{ store: string; group: string }[]> {
    const stores: { store: string; group: string }[] = []
    let after: Uint8Array | undefined
    for (;;) {
      // From one store to the next by the index of places: a look for each store, however many rows it has.
      let query = this.#database.selectFrom('files').select(['store', 'group_name'])
      if (after !== undefined) query = query.where('store', '>', after)
      const next = await query.orderBy('store').orderBy('path').limit(sql.lit(1)).executeTakeFirst()
      if (!next) return stores
      stores.push({ store: uuidOfHex(hexOf(next.store)), group: textOf(next.group_name) })
      after = Buffer.from(next.store)
    }
  }

  async totals(store: string): Promise<{ files: number; bytes: number }> {
    const { files, bytes } = await this.#database
      .selectFrom('files')
      .select([sql<number>`count(*)`.as('files'), sql<string>`coalesce(sum(size_bytes), 0)`.as('bytes')])
      .where('store', '=', storeBytesOf(store))
      .executeTakeFirstOrThrow()
    return { files: safeIntegerOf(files), bytes: safeIntegerOf(bytes) }
  }

  async stores(): Promise<string[]> {
    const stores: string[] = []
    for (let after: Buffer | undefined; ;) {
      // From one to the next in the index of places: there are few, of very many rows.
      let query = this.#database.selectFrom('files').select('store')
      if (after !== undefined) query = query.where('store', '>', after)
      const [found] = await query.orderBy('store').limit(1).execute()
      if (!found) return stores
      stores.push(uuidOfHex(hexOf(found.store)))
      after = Buffer.from(found.store)
    }
  }
}

function storeBytesOf(store: string): Buffer {
  return Buffer.from(hexOfUuid(store), 'hex')
}
