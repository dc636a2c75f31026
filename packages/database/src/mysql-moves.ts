import { hexOfUuid } from './file-row.ts'
import { assertMove, type Moves } from './moves.ts'
import type { Move } from './file-index.ts'
import type { MovePages } from './move-pages.ts'
import type { MysqlValue } from './mysql-connection.ts'
import type { MysqlPool } from './mysql-pool.ts'
import type { MysqlTimeouts } from './mysql-timeouts.ts'
import type { SchemaGate } from './schema-gate.ts'

const NOTE = `INSERT INTO moves
    (store, path, group_name, application, user, file, generation, to_store, to_path, to_group)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON DUPLICATE KEY UPDATE
    generation = IF(switched = 0, VALUES(generation), generation),
    to_store = IF(switched = 0, VALUES(to_store), to_store),
    to_path = IF(switched = 0, VALUES(to_path), to_path),
    to_group = IF(switched = 0, VALUES(to_group), to_group)`

export class MysqlMoves implements Moves {
  readonly #pool: MysqlPool
  readonly #pages: MovePages
  readonly #gate: SchemaGate
  readonly #timeoutMs: number

  constructor(pool: MysqlPool, pages: MovePages, gate: SchemaGate, timeouts: MysqlTimeouts) {
    this.#pool = pool
    this.#pages = pages
    this.#gate = gate
    this.#timeoutMs = timeouts.writeMs
  }

  async note(move: Move): Promise<void> {
    assertMove(move)
    await this.#change(NOTE, [
      storeBytesOf(move.store),
      Buffer.from(move.path),
      Buffer.from(move.group),
      Buffer.from(move.application),
      Buffer.from(move.user),
      Buffer.from(move.file),
      Buffer.from(move.generation, 'hex'),
      storeBytesOf(move.toStore),
      Buffer.from(move.toPath),
      Buffer.from(move.toGroup)
    ])
  }

  withdraw(toStore: string, toPath: string): Promise<void> {
    const values = [storeBytesOf(toStore), Buffer.from(toPath)]
    return this.#change('DELETE FROM moves WHERE to_store = ? AND to_path = ? AND switched = 0', values)
  }

  toPark(store: string, limit: number): Promise<Move[]> {
    return this.#pages.toPark(store, limit)
  }

  park(store: string, path: string, atMs: number): Promise<void> {
    const values = [atMs, storeBytesOf(store), Buffer.from(path)]
    return this.#change('UPDATE moves SET parked_at_ms = ? WHERE store = ? AND path = ?', values)
  }

  toRemove(store: string, parkedBeforeMs: number, limit: number): Promise<Move[]> {
    return this.#pages.toRemove(store, parkedBeforeMs, limit)
  }

  remove(store: string, path: string): Promise<void> {
    const values = [storeBytesOf(store), Buffer.from(path)]
    return this.#change('DELETE FROM moves WHERE store = ? AND path = ?', values)
  }

  find(store: string, path: string): Promise<Move | undefined> {
    return this.#pages.find(store, path)
  }

  count(group: string): Promise<number> {
    return this.#pages.count(group)
  }

  forgetGroup(group: string): Promise<void> {
    return this.#change('DELETE FROM moves WHERE group_name = ?', [Buffer.from(group)])
  }

  /** Each of these may be carried out twice. */
  async #change(statement: string, values: readonly MysqlValue[]): Promise<void> {
    await this.#gate.pass()
    const options = { timeoutMs: this.#timeoutMs, isWrite: true }
    await this.#pool.run(connection => connection.change(statement, values), options)
  }
}

function storeBytesOf(store: string): Buffer {
  return Buffer.from(hexOfUuid(store), 'hex')
}
