import { CompiledQuery, type DatabaseConnection, type Driver, type QueryResult } from 'kysely'

/** Runs one statement; rows have a property per column. */
export type Execute = (sql: string, parameters: readonly unknown[]) => Promise<ExecuteResult>

export interface ExecuteResult {
  rows: unknown[]
  changes: number
}

/** Kysely's driver over a function: deadlines, retries and where the connection lives are the engine's affair. */
export class ExecuteDriver implements Driver {
  readonly #connection: ExecuteConnection
  readonly #begin: string

  constructor(execute: Execute, begin: string) {
    this.#connection = new ExecuteConnection(execute)
    this.#begin = begin
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    return this.#connection
  }

  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw(this.#begin))
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('COMMIT'))
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('ROLLBACK'))
  }

  async releaseConnection(): Promise<void> {}

  async destroy(): Promise<void> {}
}

class ExecuteConnection implements DatabaseConnection {
  readonly #execute: Execute

  constructor(execute: Execute) {
    this.#execute = execute
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const { rows, changes } = await this.#execute(sql, parameters)
    return { rows: rows as R[], numAffectedRows: BigInt(changes) }
  }

  streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('pages are read by key, not streamed')
  }
}
