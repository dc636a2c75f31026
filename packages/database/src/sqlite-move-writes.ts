/** The writes of moving files, in the writing thread. Prepared when they are first asked for: a schema may not have them. */
import { STATE_STORED, STATE_TRASHED, hexOfUuid } from './file-row.ts'
import { KEY_IS } from './sqlite-file-row.ts'
import type { Move } from './file-index.ts'
import type { DatabaseSync, StatementSync } from './sqlite-connection.ts'
import type { SqliteWrite } from './sqlite-write.ts'

type MoveVerb = 'move' | 'note-move' | 'withdraw-move' | 'park-move' | 'remove-move' | 'forget-moves'
export type SqliteMoveWrite = Extract<SqliteWrite, readonly [MoveVerb, ...unknown[]]>

const TO_IS = 'to_store=unhex(?) AND to_path=?'
const FROM_IS = 'store=unhex(?) AND path=?'

const statements = new Map<string, StatementSync>()

export function performMove(database: DatabaseSync, write: SqliteMoveWrite): unknown {
  const run = (text: string, ...values: (string | number)[]): boolean => {
    let statement = statements.get(text)
    if (!statement) statements.set(text, (statement = database.prepare(text)))
    return statement.run(...values).changes === 1
  }
  switch (write[0]) {
    case 'move':
      return move(database, run, write[1])
    case 'note-move':
      return note(run, write[1])
    case 'withdraw-move':
      return void run(`DELETE FROM moves WHERE ${TO_IS} AND switched=0`, hexOfUuid(write[1]), write[2])
    case 'park-move':
      return void run(
        `UPDATE moves SET parked_at_ms=? WHERE ${FROM_IS}`,
        write[3],
        hexOfUuid(write[1]),
        write[2]
      )
    case 'remove-move':
      return void run(`DELETE FROM moves WHERE ${FROM_IS}`, hexOfUuid(write[1]), write[2])
    case 'forget-moves':
      return void run('DELETE FROM moves WHERE group_name=?', write[1])
  }
}

type Run = (text: string, ...values: (string | number)[]) => boolean

function note(run: Run, move: Move): void {
  run(
    `INSERT INTO moves (store, path, group_name, application, user, file, generation, to_store, to_path, to_group)
     VALUES (unhex(?), ?, ?, CAST(? AS BLOB), CAST(? AS BLOB), CAST(? AS BLOB), unhex(?), unhex(?), ?, ?)
     ON CONFLICT (store, path) DO UPDATE SET generation=excluded.generation, to_store=excluded.to_store,
       to_path=excluded.to_path, to_group=excluded.to_group WHERE switched=0`,
    hexOfUuid(move.store),
    move.path,
    move.group,
    move.application,
    move.user,
    move.file,
    move.generation,
    hexOfUuid(move.toStore),
    move.toPath,
    move.toGroup
  )
}

/** There is one writer at a time: what was looked at stays so until the transaction ends. */
function move(database: DatabaseSync, run: Run, move: Move): boolean {
  const key = [move.application, move.user, move.file, move.generation] as const
  const from = [hexOfUuid(move.store), move.path] as const
  const to = [hexOfUuid(move.toStore), move.toPath] as const
  const isThere = (text: string, ...values: (string | number)[]): boolean =>
    database.prepare(text).get(...values) !== undefined
  const noted = `SELECT 1 FROM moves WHERE ${FROM_IS} AND ${TO_IS} AND generation=unhex(?) AND switched=0`
  if (isThere(noted, ...from, ...to, move.generation)) {
    const switched = run(
      `UPDATE files SET store=unhex(?), path=?, group_name=?
       WHERE ${KEY_IS} AND generation=unhex(?) AND ${FROM_IS} AND state IN (${STATE_STORED}, ${STATE_TRASHED})`,
      ...to,
      move.toGroup,
      ...key,
      ...from
    )
    if (switched) return run(`UPDATE moves SET switched=1 WHERE ${FROM_IS}`, ...from)
  }
  return isThere(`SELECT 1 FROM files WHERE ${KEY_IS} AND generation=unhex(?) AND ${FROM_IS}`, ...key, ...to)
}
