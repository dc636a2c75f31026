import { sql, type Kysely, type Selectable } from 'kysely'
import { hexOf, textOf } from './file-record.ts'
import { assertLimit, hexOfUuid, safeIntegerOf, uuidOfHex } from './file-row.ts'
import { MOVES_PAGE_MAX, type Moves } from './moves.ts'
import type { Move } from './file-index.ts'
import type { SchemaGate } from './schema-gate.ts'
import type { MovesTable, Schema } from './schema.ts'

/** The reads of moves, by the same SQL on both engines. */
export class MovePages implements Pick<Moves, 'toPark' | 'toRemove' | 'find' | 'count'> {
  readonly #database: Kysely<Schema>
  readonly #gate: SchemaGate

  constructor(database: Kysely<Schema>, gate: SchemaGate) {
    this.#database = database
    this.#gate = gate
  }

  async toPark(store: string, limit: number): Promise<Move[]> {
    assertLimit(limit, MOVES_PAGE_MAX)
    await this.#gate.pass()
    const query = this.#ofStore(store).where('switched', '=', 1).where('parked_at_ms', '=', 0)
    return (await query.orderBy('path').limit(sql.lit(limit)).execute()).map(moveOf)
  }

  async toRemove(store: string, parkedBeforeMs: number, limit: number): Promise<Move[]> {
    assertLimit(limit, MOVES_PAGE_MAX)
    await this.#gate.pass()
    const query = this.#ofStore(store)
      .where('switched', '=', 1)
      .where('parked_at_ms', '>', 0)
      .where('parked_at_ms', '<', parkedBeforeMs)
    return (await query.orderBy('parked_at_ms').limit(sql.lit(limit)).execute()).map(moveOf)
  }

  async find(store: string, path: string): Promise<Move | undefined> {
    await this.#gate.pass()
    const row = await this.#ofStore(store).where('path', '=', path).executeTakeFirst()
    return row && moveOf(row)
  }

  async count(group: string): Promise<number> {
    await this.#gate.pass()
    const { moves } = await this.#database
      .selectFrom('moves')
      .select(sql<number>`count(*)`.as('moves'))
      .where('group_name', '=', group)
      .where('switched', '=', 1)
      .executeTakeFirstOrThrow()
    return safeIntegerOf(moves)
  }

  #ofStore(store: string) {
    return this.#database
      .selectFrom('moves')
      .selectAll()
      .where('store', '=', Buffer.from(hexOfUuid(store), 'hex'))
  }
}

function moveOf(record: Selectable<MovesTable>): Move {
  return {
    application: textOf(record.application),
    user: textOf(record.user),
    file: textOf(record.file),
    generation: hexOf(record.generation),
    group: textOf(record.group_name),
    store: uuidOfHex(hexOf(record.store)),
    path: textOf(record.path),
    toGroup: textOf(record.to_group),
    toStore: uuidOfHex(hexOf(record.to_store)),
    toPath: textOf(record.to_path)
  }
}
