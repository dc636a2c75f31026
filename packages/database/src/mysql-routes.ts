import { textOf } from './file-record.ts'
import { assertApplication, assertGroup, assertUser } from './file-row.ts'
import type { Catalog } from './catalog.ts'
import type { MysqlConnection, MysqlValue } from './mysql-connection.ts'
import type { MysqlPool } from './mysql-pool.ts'
import type { MysqlTimeouts } from './mysql-timeouts.ts'
import type { GroupRow, Routes } from './routes.ts'

const GROUP_OF = 'SELECT group_name FROM user_routes WHERE application = ? AND user = ?'

export class MysqlRoutes implements Routes {
  readonly #pool: MysqlPool
  readonly #timeouts: MysqlTimeouts
  readonly #catalog: Catalog

  constructor(pool: MysqlPool, catalog: Catalog, timeouts: MysqlTimeouts) {
    this.#pool = pool
    this.#timeouts = timeouts
    this.#catalog = catalog
  }

  applications(): Promise<string[]> {
    return this.#catalog.applications()
  }

  async addApplication(name: string): Promise<void> {
    assertApplication(name)
    await this.#add('INSERT INTO applications (name) VALUES (?) ON DUPLICATE KEY UPDATE name = name', name)
  }

  groups(): Promise<GroupRow[]> {
    return this.#catalog.groups()
  }

  async addGroup(name: string): Promise<void> {
    assertGroup(name)
    await this.#add('INSERT INTO storage_groups (name) VALUES (?) ON DUPLICATE KEY UPDATE name = name', name)
  }

  async groupOf(application: string, user: string): Promise<string | undefined> {
    const options = { timeoutMs: this.#timeouts.readMs, isWrite: false }
    const values = [Buffer.from(application), Buffer.from(user)]
    return groupIn(await this.#pool.run(connection => connection.select(GROUP_OF, values), options))
  }

  async tie(application: string, user: string, group: string): Promise<string> {
    assertApplication(application)
    assertUser(user)
    assertGroup(group)
    const route = [Buffer.from(application), Buffer.from(user)]
    return this.#write(async connection => {
      const { affectedRows } = await connection.change(
        `INSERT INTO user_routes (application, user, group_name) VALUES (?, ?, ?)
         ON DUPLICATE KEY UPDATE group_name = group_name`,
        [...route, Buffer.from(group)]
      )
      if (affectedRows === 1) return group
      return groupIn(await connection.selectCausally(GROUP_OF, route)) ?? group
    })
  }

  async #add(statement: string, name: string): Promise<void> {
    const values: MysqlValue[] = [Buffer.from(name)]
    await this.#write(connection => connection.change(statement, values))
  }

  #write<T>(work: (connection: MysqlConnection) => Promise<T>): Promise<T> {
    return this.#pool.run(work, { timeoutMs: this.#timeouts.writeMs, isWrite: true })
  }
}

function groupIn(rows: Record<string, unknown>[]): string | undefined {
  return rows[0] && textOf(rows[0]['group_name'] as Buffer)
}
