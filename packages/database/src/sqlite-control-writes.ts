/** Changes of the control plane, in the writing thread. */
import type { ChangeOutcome, ControlStatement } from './control.ts'
import type { DatabaseSync, SQLInputValue, StatementSync } from './sqlite-connection.ts'

/** Kept prepared; there are a few dozen texts, and lists of other lengths. */
const STATEMENTS_MAX = 256
const statements = new Map<string, StatementSync>()

/** Others' writes share the transaction: what is undone is undone to a savepoint. */
export function performChange(database: DatabaseSync, changes: readonly ControlStatement[]): ChangeOutcome {
  database.exec('SAVEPOINT change')
  const changed: number[] = []
  for (const [at, { sql, parameters, changes: demanded }] of changes.entries()) {
    const count = Number(prepared(database, sql).run(...(parameters as SQLInputValue[])).changes)
    if (demanded !== undefined && count !== demanded) {
      database.exec('ROLLBACK TO change; RELEASE change')
      return { done: false, at }
    }
    changed.push(count)
  }
  database.exec('RELEASE change')
  return { done: true, changes: changed }
}

function prepared(database: DatabaseSync, sql: string): StatementSync {
  let statement = statements.get(sql)
  if (!statement) {
    if (statements.size >= STATEMENTS_MAX) statements.clear()
    statements.set(sql, (statement = database.prepare(sql)))
  }
  return statement
}
