import { assertMove, type Moves } from './moves.ts'
import type { Move } from './file-index.ts'
import type { MovePages } from './move-pages.ts'
import type { SchemaGate } from './schema-gate.ts'
import type { SqliteWriteQueue } from './sqlite-write-queue.ts'

export class SqliteMoves implements Moves {
  readonly #queue: SqliteWriteQueue
  readonly #pages: MovePages
  readonly #gate: SchemaGate

  constructor(queue: SqliteWriteQueue, pages: MovePages, gate: SchemaGate) {
    this.#queue = queue
    this.#pages = pages
    this.#gate = gate
  }

  async note(move: Move): Promise<void> {
    assertMove(move)
    await this.#gate.pass()
    await this.#queue.write(['note-move', move])
  }

  async withdraw(toStore: string, toPath: string): Promise<void> {
    await this.#gate.pass()
    await this.#queue.write(['withdraw-move', toStore, toPath])
  }

  toPark(store: string, limit: number): Promise<Move[]> {
    return this.#pages.toPark(store, limit)
  }

  async park(store: string, path: string, atMs: number): Promise<void> {
    await this.#gate.pass()
    await this.#queue.write(['park-move', store, path, atMs])
  }

  toRemove(store: string, parkedBeforeMs: number, limit: number): Promise<Move[]> {
    return this.#pages.toRemove(store, parkedBeforeMs, limit)
  }

  async remove(store: string, path: string): Promise<void> {
    await this.#gate.pass()
    await this.#queue.write(['remove-move', store, path])
  }

  find(store: string, path: string): Promise<Move | undefined> {
    return this.#pages.find(store, path)
  }

  count(group: string): Promise<number> {
    return this.#pages.count(group)
  }

  async forgetGroup(group: string): Promise<void> {
    await this.#gate.pass()
    await this.#queue.write(['forget-moves', group])
  }
}
