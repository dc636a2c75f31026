import type { FilePages } from './file-pages.ts'
import { assertFileKey, assertFileRow, hexOfUuid } from './file-row.ts'
import { assertMove } from './moves.ts'
import { INSERT_ROWS_MAX } from './file-index.ts'
import { FIND, fileRowOf, insertValuesOf } from './sqlite-file-row.ts'
import { SqliteRead } from './sqlite-read.ts'
import type { FileIndex, FileKey, FileRow, InsertOptions, InsertOutcome, Move } from './file-index.ts'
import type { DatabaseSync } from './sqlite-connection.ts'
import type { InsertAnswer } from './sqlite-write.ts'
import type { TrashSwitch } from './trash-switch.ts'
import type { SqliteWriteQueue } from './sqlite-write-queue.ts'

export class SqliteFileIndex implements FileIndex {
  readonly #find: SqliteRead
  readonly #queue: SqliteWriteQueue
  readonly #pages: FilePages
  readonly #trash: TrashSwitch

  constructor(
    database: DatabaseSync,
    queue: SqliteWriteQueue,
    pages: FilePages,
    trash: TrashSwitch,
    timeoutMs: number
  ) {
    this.#find = new SqliteRead(database, FIND, timeoutMs)
    this.#queue = queue
    this.#pages = pages
    this.#trash = trash
  }

  find(key: FileKey): FileRow | undefined | Promise<FileRow | undefined> {
    assertFileKey(key)
    return this.#find.get([key.application, key.user, key.file], found => fileRowOf(key, found))
  }

  async insert(rows: readonly FileRow[], options: InsertOptions = {}): Promise<InsertOutcome[]> {
    rows.forEach(assertFileRow)
    const parts: Promise<InsertOutcome[]>[] = []
    for (let at = 0; at < rows.length; at += INSERT_ROWS_MAX) {
      parts.push(this.#insertPart(rows.slice(at, at + INSERT_ROWS_MAX), options.durable ?? true))
    }
    return (await Promise.all(parts)).flat()
  }

  async #insertPart(rows: readonly FileRow[], durable: boolean): Promise<InsertOutcome[]> {
    const values = rows.flatMap(insertValuesOf)
    const answer = (await this.#queue.write(['insert', values], durable, rows.length)) as InsertAnswer
    return rows.map((row, index) => {
      const found = answer === true ? null : answer[index]!
      if (found === null) return { inserted: true }
      return { inserted: false, existing: found.length > 0 ? fileRowOf(row, found) : undefined }
    })
  }

  async markDeleting(key: FileKey, generation: string, store?: string): Promise<boolean> {
    assertFileKey(key)
    const { application, user, file } = key
    const where = store === undefined ? null : hexOfUuid(store)
    return (await this.#queue.write(['mark-deleting', application, user, file, generation, where])) as boolean
  }

  async move(move: Move): Promise<boolean> {
    assertMove(move)
    return (await this.#queue.write(['move', move])) as boolean
  }

  setTrashed(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean> {
    return this.#trash.set(key, generation, store, untilMs)
  }

  markExpired(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean> {
    return this.#trash.expire(key, generation, store, untilMs)
  }

  async remove(key: FileKey, generation: string): Promise<boolean> {
    assertFileKey(key)
    const { application, user, file } = key
    return (await this.#queue.write(['remove', application, user, file, generation])) as boolean
  }

  async sync(): Promise<void> {
    await this.#queue.write(['sync'])
  }

  async setMediaType(key: FileKey, generation: string, mediaType: string): Promise<boolean> {
    assertFileKey(key)
    const { application, user, file } = key
    const write = ['set-media-type', application, user, file, generation, mediaType] as const
    return (await this.#queue.write(write, false)) as boolean
  }

  list(where: Parameters<FileIndex['list']>[0]): Promise<FileRow[]> {
    return this.#pages.list(where)
  }

  listDerived(where: Parameters<FileIndex['listDerived']>[0]): Promise<FileRow[]> {
    return this.#pages.listDerived(where)
  }

  listStore(where: Parameters<FileIndex['listStore']>[0]): Promise<FileRow[]> {
    return this.#pages.listStore(where)
  }

  findPaths(store: string, paths: readonly string[]): Promise<FileRow[]> {
    return this.#pages.findPaths(store, paths)
  }

  groupStores(): Promise<{ store: string; group: string }[]> {
    return this.#pages.groupStores()
  }

  totals(store: string): Promise<{ files: number; bytes: number }> {
    return this.#pages.totals(store)
  }

  stores(): Promise<string[]> {
    return this.#pages.stores()
  }
}
