import { assertApplication, assertGroup, assertRegion, assertUser } from './file-row.ts'
import { SqliteRead } from './sqlite-read.ts'
import type { Catalog } from './catalog.ts'
import type { GroupRow, Routes, UserKey } from './routes.ts'
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

  async setRegion(name: string, region: string): Promise<boolean> {
    assertGroup(name)
    assertRegion(region)
    return (await this.#queue.write(['set-region', name, region])) as boolean
  }

  async setDraining(name: string, draining: boolean): Promise<boolean> {
    assertGroup(name)
    return (await this.#queue.write(['set-draining', name, draining])) as boolean
  }

  async removeGroup(name: string): Promise<boolean> {
    assertGroup(name)
    return (await this.#queue.write(['remove-group', name])) as boolean
  }

  usersOf(group: string, limit: number, after?: UserKey): Promise<UserKey[]> {
    return this.#catalog.usersOf(group, limit, after)
  }

  countUsers(group: string): Promise<number> {
    return this.#catalog.countUsers(group)
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

  async retie(application: string, user: string, from: string, to: string): Promise<string> {
    assertApplication(application)
    assertUser(user)
    assertGroup(to)
    return (await this.#queue.write(['retie', application, user, from, to])) as string
  }
}
