import type { Kysely } from 'kysely'
import { CommitOutcomeUnknownError } from './errors.ts'
import type { ChangeOutcome, Control, ControlStatement } from './control.ts'
import type { MysqlValue } from './mysql-connection.ts'
import type { MysqlPool } from './mysql-pool.ts'
import type { MysqlTimeouts } from './mysql-timeouts.ts'
import type { Schema } from './schema.ts'

export class MysqlControl implements Control {
  readonly engine = 'mysql'
  readonly queries: Kysely<Schema>
  readonly #pool: MysqlPool
  readonly #timeoutMs: number

  constructor(pool: MysqlPool, queries: Kysely<Schema>, timeouts: MysqlTimeouts) {
    this.#pool = pool
    this.queries = queries
    this.#timeoutMs = timeouts.writeMs
  }

  async change(...statements: readonly ControlStatement[]): Promise<ChangeOutcome> {
    try {
      const changes = await this.#pool.run(
        (connection, isResent) => {
          if (isResent) throw new CommitOutcomeUnknownError('the connection was lost under a change')
          return connection.transact(async () => {
            const changed: number[] = []
            for (const [at, { sql, parameters, changes }] of statements.entries()) {
              const { affectedRows } = await connection.change(sql, parameters as MysqlValue[])
              if (changes !== undefined && affectedRows !== changes) throw new DemandMissed(at)
              changed.push(affectedRows)
            }
            return changed
          })
        },
        { timeoutMs: this.#timeoutMs, isWrite: true }
      )
      return { done: true, changes }
    } catch (error) {
      if (error instanceof DemandMissed) return { done: false, at: error.at }
      throw error
    }
  }

  /** The server's own setting decides what a commit promises. */
  jot(...statements: readonly ControlStatement[]): Promise<ChangeOutcome> {
    return this.change(...statements)
  }
}

/** Leaves the transaction, which is then rolled back. */
class DemandMissed extends Error {
  readonly at: number
  constructor(at: number) {
    super('a statement changed another number of rows than it was to')
    this.at = at
  }
}
