import { SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler, type Dialect, type Kysely } from 'kysely'
import { ExecuteDriver, type Execute } from './execute-driver.ts'

/** Kysely over node:sqlite, in whichever thread the connection lives. */
export class NodeSqliteDialect implements Dialect {
  readonly #execute: Execute

  constructor(execute: Execute) {
    this.#execute = execute
  }

  createDriver(): ExecuteDriver {
    return new ExecuteDriver(this.#execute, 'BEGIN IMMEDIATE')
  }

  createQueryCompiler(): SqliteQueryCompiler {
    return new SqliteQueryCompiler()
  }

  createAdapter(): SqliteAdapter {
    return new TransactionalSqliteAdapter()
  }

  createIntrospector(database: Kysely<unknown>): SqliteIntrospector {
    return new SqliteIntrospector(database)
  }
}

/** SQLite changes tables inside transactions: migrations of two processes then exclude each other. */
class TransactionalSqliteAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true
  }
}
