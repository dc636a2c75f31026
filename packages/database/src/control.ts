import { sql, type Compilable, type Insertable, type Kysely } from 'kysely'
import type { FileKey } from './file-index.ts'
import type { Schema } from './schema.ts'

/** A statement as Kysely compiles it, and how many rows it has to change; undefined: as many as it does. */
export interface ControlStatement {
  readonly sql: string
  readonly parameters: readonly unknown[]
  readonly changes?: number | undefined
}

/** `done: false`: nothing was changed, because statement `at` changed another number of rows than it was to. */
export type ChangeOutcome =
  | { readonly done: true; readonly changes: readonly number[] }
  | { readonly done: false; readonly at: number }

/**
 * The control plane's way to its tables: what is asked a few times a second, not a thousand times, and is written once
 * for both engines. The data path has statements of its own.
 */
export interface Control {
  readonly engine: 'sqlite' | 'mysql'
  /** For reads, and to build statements with. Reads are causal: they see what was acknowledged before. */
  readonly queries: Kysely<Schema>

  /**
   * Carries the statements out as one transaction, all or none.
   *
   * An update on MySQL that leaves a row as it was changes no row: whoever demands a number changes something.
   *
   * @throws {DatabaseUnavailableError} nothing was changed.
   * @throws {CommitOutcomeUnknownError} it may have been: it is not repeated, because it may have been demanded to change something.
   */
  change(...statements: readonly ControlStatement[]): Promise<ChangeOutcome>

  /** The same for what can be made again: on SQLite a power cut may take it back. */
  jot(...statements: readonly ControlStatement[]): Promise<ChangeOutcome>
}

/** @param changes rows that it must change, or everything is undone. */
export function statement(query: Compilable, changes?: number): ControlStatement {
  const { sql, parameters } = query.compile()
  return { sql, parameters, changes }
}

/** Inserts a row whose key is free; where it is taken nothing changes. */
export function insertNew<T extends keyof Schema>(
  { engine, queries }: Control,
  table: T,
  row: Insertable<Schema[T]>
): Compilable {
  const insert = queries.insertInto(table).values(row as never)
  if (engine === 'sqlite') return insert.onConflict(conflict => conflict.doNothing())
  const [column] = Object.keys(row) as [string]
  // Not IGNORE, which would also cut values that do not fit.
  return insert.onDuplicateKeyUpdate({ [column]: sql.ref(column) } as never)
}

/** The row of one file, in any table that has its key: keys are bytes on both engines. */
export function keyIs({ application, user, file }: FileKey) {
  return sql<boolean>`application = ${Buffer.from(application)} AND user = ${Buffer.from(user)} AND file = ${Buffer.from(file)}`
}
