import type { SQLInputValue } from './sqlite-connection.ts'
import type { ExecuteResult } from './execute-driver.ts'
import type { DatabaseSync } from './sqlite-connection.ts'

/** Runs one statement, whether it answers rows or not. */
export function executeSync(
  database: DatabaseSync,
  sql: string,
  parameters: readonly unknown[]
): ExecuteResult {
  const statement = database.prepare(sql)
  const values = parameters as SQLInputValue[]
  if (statement.columns().length > 0) return { rows: statement.all(...values), changes: 0 }
  return { rows: [], changes: Number(statement.run(...values).changes) }
}
