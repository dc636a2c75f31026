import { assertApplication, assertGroup, assertUser } from './file-row.ts'
import { SqliteRead } from './sqlite-read.ts'
import type { Catalog } from './catalog.ts'
import type { GroupRow, Routes } from './routes.ts'
import type { DatabaseSync } from './sqlite-connection.ts'
import type { SqliteWriteQueue } from './sqlite-write-queue.ts'

const GROUP_OF =
  'SELECT group_name FROM user_routes WHERE application=CAST(? AS BLOB) AND user=CAST(? AS BLOB)'

export class SqliteRoutes implements Routes {
  readonly #groupOf: SqliteRead
  readonly #queue: SqliteWriteQueue
  readonly #catalog: Catalog

  constructor(database: DatabaseSync, queue: SqliteWriteQueue, catalog: Catalog, timeoutMs: number) {
    this.#groupOf = new SqliteRead(database, GROUP_OF, timeoutMs)
    this.#queue = queue
    this.#catalog = catalog
  }

  applications(): Promise<string[]> {
    return this.#catalog.applications()
  }

  async addApplication(name: string): Promise<void> {
    assertApplication(name)
    await this.#queue.write(['add-application', name])
  }

  groups(): Promise<GroupRow[]> {
    return this.#catalog.groups()
  }

  async addGroup(name: string): Promise<void> {
    assertGroup(name)
    await this.#queue.write(['add-group', name])
  }

  groupOf(application: string, user: string): string | undefined | Promise<string | undefined> {
    return this.#groupOf.get([application, user], row => row[0] as string)
  }

  async tie(application: string, user: string, group: string): Promise<string> {
    assertApplication(application)
    assertUser(user)
    assertGroup(group)
    return (await this.#queue.write(['tie', application, user, group])) as string
  }
}
