import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { MysqlAdapter, MysqlIntrospector, MysqlQueryCompiler, sql, type Dialect, type Kysely } from 'kysely'
import { DatabaseUnavailableError } from './errors.ts'
import { ExecuteDriver, type Execute } from './execute-driver.ts'
import type { Schema } from './schema.ts'

/** Kysely over our pool. */
export class PooledMysqlDialect implements Dialect {
  readonly #execute: Execute

  constructor(execute: Execute) {
    this.#execute = execute
  }

  createDriver(): ExecuteDriver {
    return new ExecuteDriver(this.#execute, 'START TRANSACTION')
  }

  createQueryCompiler(): MysqlQueryCompiler {
    return new MysqlQueryCompiler()
  }

  createAdapter(): MysqlAdapter {
    return new LeasedMysqlAdapter()
  }

  createIntrospector(database: Kysely<unknown>): MysqlIntrospector {
    return new MysqlIntrospector(database)
  }
}

/** Longer than any one migration takes; whoever dies in the middle holds the others up this long. */
const LEASE_MS = 120_000
const LOOK_AGAIN_MS = 100
const NOW_MS = sql.raw('CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)')

/** GET_LOCK does not reach from one Galera node to the next; a row with a lease does. */
class LeasedMysqlAdapter extends MysqlAdapter {
  readonly #holder = randomUUID()

  override async acquireMigrationLock(database: Kysely<Schema>): Promise<void> {
    await sql`CREATE TABLE IF NOT EXISTS migration_lease (
      id TINYINT NOT NULL PRIMARY KEY, holder VARBINARY(36) NOT NULL, until_ms BIGINT NOT NULL
    ) ENGINE=InnoDB`.execute(database)
    await sql`INSERT INTO migration_lease (id, holder, until_ms) VALUES (1, '', 0)
      ON DUPLICATE KEY UPDATE id = id`.execute(database)
    const deadline = performance.now() + 2 * LEASE_MS
    for (;;) {
      const { numAffectedRows } = await sql`UPDATE migration_lease
        SET holder = ${this.#holder}, until_ms = ${NOW_MS} + ${sql.lit(LEASE_MS)}
        WHERE id = 1 AND until_ms <= ${NOW_MS}`.execute(database)
      if (numAffectedRows === 1n) return
      if (performance.now() > deadline)
        throw new DatabaseUnavailableError('another program keeps on migrating')
      await sleep(LOOK_AGAIN_MS)
    }
  }

  override async releaseMigrationLock(database: Kysely<Schema>): Promise<void> {
    await sql`UPDATE migration_lease SET until_ms = 0 WHERE id = 1 AND holder = ${this.#holder}`.execute(
      database
    )
  }
}
