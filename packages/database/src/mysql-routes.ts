import { textOf } from './file-record.ts'
import { assertApplication, assertGroup, assertRegion, assertUser } from './file-row.ts'
import type { Catalog } from './catalog.ts'
import type { MysqlConnection, MysqlValue } from './mysql-connection.ts'
import type { MysqlPool } from './mysql-pool.ts'
import type { MysqlTimeouts } from './mysql-timeouts.ts'
import type { GroupRow, Routes, UserKey } from './routes.ts'

const REMOVE_GROUP = `DELETE FROM storage_groups
  WHERE name = ? AND NOT EXISTS (SELECT 1 FROM user_routes WHERE group_name = ?)`
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

  async setRegion(name: string, region: string): Promise<boolean> {
    assertGroup(name)
    assertRegion(region)
    return this.#setGroup('region', Buffer.from(region), name)
  }

  async setDraining(name: string, draining: boolean): Promise<boolean> {
    assertGroup(name)
    return this.#setGroup('draining', Number(draining), name)
  }

  async removeGroup(name: string): Promise<boolean> {
    assertGroup(name)
    return this.#pool.run(
      async (connection, isResent) => {
        const values = [Buffer.from(name), Buffer.from(name)]
        return (await connection.change(REMOVE_GROUP, values)).affectedRows === 1 || isResent
      },
      { timeoutMs: this.#timeouts.writeMs, isWrite: true }
    )
  }

  usersOf(group: string, limit: number, after?: UserKey): Promise<UserKey[]> {
    return this.#catalog.usersOf(group, limit, after)
  }

  countUsers(group: string): Promise<number> {
    return this.#catalog.countUsers(group)
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

  async retie(application: string, user: string, from: string, to: string): Promise<string> {
    assertApplication(application)
    assertUser(user)
    assertGroup(to)
    const route = [Buffer.from(application), Buffer.from(user)]
    return this.#write(async connection => {
      const { affectedRows } = await connection.change(
        'UPDATE user_routes SET group_name = ? WHERE application = ? AND user = ? AND group_name = ?',
        [Buffer.from(to), ...route, Buffer.from(from)]
      )
      if (affectedRows === 1) return to
      return groupIn(await connection.selectCausally(GROUP_OF, route)) ?? to
    })
  }

  /** An update that changes nothing counts nothing: whether the group is there is asked. */
  #setGroup(column: 'region' | 'draining', value: MysqlValue, name: string): Promise<boolean> {
    return this.#write(async connection => {
      const group = Buffer.from(name)
      await connection.change(`UPDATE storage_groups SET ${column} = ? WHERE name = ?`, [value, group])
      const found = await connection.selectCausally('SELECT name FROM storage_groups WHERE name = ?', [group])
      return found.length === 1
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
