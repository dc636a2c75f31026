import type { Kysely } from 'kysely'
import type { ChangeOutcome, Control, ControlStatement } from './control.ts'
import type { Schema } from './schema.ts'
import type { SqliteWriteQueue } from './sqlite-write-queue.ts'

export class SqliteControl implements Control {
  readonly engine = 'sqlite'
  readonly queries: Kysely<Schema>
  readonly #queue: SqliteWriteQueue

  constructor(queue: SqliteWriteQueue, queries: Kysely<Schema>) {
    this.#queue = queue
    this.queries = queries
  }

  async change(...statements: readonly ControlStatement[]): Promise<ChangeOutcome> {
    return (await this.#queue.write(['change', [...statements]])) as ChangeOutcome
  }

  async jot(...statements: readonly ControlStatement[]): Promise<ChangeOutcome> {
    return (await this.#queue.write(['change', [...statements]], false)) as ChangeOutcome
  }
}
