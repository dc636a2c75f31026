import { fileRowOfRecord } from './file-record.ts'
import { assertFileKey, assertFileRow, hexOfUuid } from './file-row.ts'
import { INSERT_ROWS_MAX } from './file-index.ts'
import { assertMove } from './moves.ts'
import { MysqlInserts } from './mysql-inserts.ts'
import { KEY_IS, MysqlLookups, SELECT_FILES } from './mysql-lookups.ts'
import type { FileIndex, FileKey, FileRow, FindOptions, InsertOutcome, Move } from './file-index.ts'
import type { FilePages } from './file-pages.ts'
import type { MysqlConnection } from './mysql-connection.ts'
import type { MysqlPool } from './mysql-pool.ts'
import type { TrashSwitch } from './trash-switch.ts'
import type { MysqlTimeouts } from './mysql-timeouts.ts'

const MARK_DELETING = `UPDATE files SET state = 2, trashed_until_ms = 0 WHERE ${KEY_IS} AND generation = ?`
const SET_MEDIA_TYPE = `UPDATE files SET media_type = ? WHERE ${KEY_IS} AND generation = ? AND media_type = ''`
const SWITCH_NOTE = `UPDATE moves SET switched = 1
  WHERE store = ? AND path = ? AND to_store = ? AND to_path = ? AND generation = ? AND switched = 0`
const UNSWITCH_NOTE = 'UPDATE moves SET switched = 0 WHERE store = ? AND path = ?'
const SWITCH_ROW = `UPDATE files SET store = ?, path = ?, group_name = ?
  WHERE ${KEY_IS} AND generation = ? AND store = ? AND path = ? AND state IN (0, 1)`
const REMOVE = `DELETE FROM files WHERE ${KEY_IS} AND generation = ?`

/** A change that met nothing is made once more after a causal look that met what it should have. */
const CAUGHT_UP_TRIES_MAX = 2

export class MysqlFileIndex implements FileIndex {
  readonly #pool: MysqlPool
  readonly #timeouts: MysqlTimeouts
  readonly #pages: FilePages
  readonly #trash: TrashSwitch
  readonly #lookups: MysqlLookups
  readonly #causalLookups: MysqlLookups
  readonly #inserts: MysqlInserts

  constructor(pool: MysqlPool, pages: FilePages, trash: TrashSwitch, timeouts: MysqlTimeouts) {
    this.#pool = pool
    this.#timeouts = timeouts
    this.#pages = pages
    this.#trash = trash
    this.#lookups = new MysqlLookups(pool, timeouts.readMs, false)
    this.#causalLookups = new MysqlLookups(pool, timeouts.readMs, true)
    this.#inserts = new MysqlInserts(pool, this.#causalLookups, timeouts.writeMs)
  }

  async find(key: FileKey, options: FindOptions = {}): Promise<FileRow | undefined> {
    assertFileKey(key)
    return (options.causal ? this.#causalLookups : this.#lookups).find(key)
  }

  async insert(rows: readonly FileRow[]): Promise<InsertOutcome[]> {
    rows.forEach(assertFileRow)
    const parts: Promise<InsertOutcome[]>[] = []
    for (let at = 0; at < rows.length; at += INSERT_ROWS_MAX) {
      parts.push(this.#inserts.insert(rows.slice(at, at + INSERT_ROWS_MAX)))
    }
    return (await Promise.all(parts)).flat()
  }

  async markDeleting(key: FileKey, generation: string, store?: string): Promise<boolean> {
    assertFileKey(key)
    return this.#write(async connection => {
      const values = [...keyValuesOf(key), Buffer.from(generation, 'hex')]
      const statement = store === undefined ? MARK_DELETING : `${MARK_DELETING} AND store = ?`
      if (store !== undefined) values.push(Buffer.from(hexOfUuid(store), 'hex'))
      for (let tried = 1; ; tried++) {
        if ((await connection.change(statement, values)).affectedRows === 1) return true
        // Nothing changed: deleting already, or not there.
        const row = await rowOf(connection, key)
        if (row?.generation !== generation || row.store !== (store ?? row.store)) return false
        if (row.state === 'deleting') return true
        // It is there: this node had not heard of it, and has now.
        if (tried === CAUGHT_UP_TRIES_MAX) return false
      }
    })
  }

  async move(move: Move): Promise<boolean> {
    assertMove(move)
    const from = [Buffer.from(hexOfUuid(move.store), 'hex'), Buffer.from(move.path)]
    const to = [Buffer.from(hexOfUuid(move.toStore), 'hex'), Buffer.from(move.toPath)]
    const generation = Buffer.from(move.generation, 'hex')
    return this.#write(async connection => {
      const switched = await connection.transact(async () => {
        // Written first, so that on Galera too it cannot pass a note that is being taken back.
        const noted = await connection.change(SWITCH_NOTE, [...from, ...to, generation])
        if (noted.affectedRows !== 1) return false
        const values = [...to, Buffer.from(move.toGroup), ...keyValuesOf(move), generation, ...from]
        if ((await connection.change(SWITCH_ROW, values)).affectedRows === 1) return true
        await connection.change(UNSWITCH_NOTE, from)
        return false
      })
      if (switched) return true
      const row = await rowOf(connection, move)
      return row?.generation === move.generation && row.store === move.toStore && row.path === move.toPath
    })
  }

  setTrashed(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean> {
    return this.#trash.set(key, generation, store, untilMs)
  }

  markExpired(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean> {
    return this.#trash.expire(key, generation, store, untilMs)
  }

  async remove(key: FileKey, generation: string): Promise<boolean> {
    assertFileKey(key)
    return this.#write(async (connection, isResent) => {
      const values = [...keyValuesOf(key), Buffer.from(generation, 'hex')]
      for (let tried = 1; ; tried++) {
        if ((await connection.change(REMOVE, values)).affectedRows === 1) return true
        // After a lost answer the row may be gone by our own hand.
        if (isResent) return true
        // Where the row is there all the same, this node had not heard of it, and has now.
        if ((await rowOf(connection, key))?.generation !== generation || tried === CAUGHT_UP_TRIES_MAX)
          return false
      }
    })
  }

  /** The server's own setting decides what a commit promises. */
  async sync(): Promise<void> {}

  async setMediaType(key: FileKey, generation: string, mediaType: string): Promise<boolean> {
    assertFileKey(key)
    return this.#write(async (connection, isResent) => {
      const values = [Buffer.from(mediaType), ...keyValuesOf(key), Buffer.from(generation, 'hex')]
      return (await connection.change(SET_MEDIA_TYPE, values)).affectedRows === 1 || isResent
    })
  }

  /** Lets the rows that were accepted be inserted. */
  close(): Promise<void> {
    return this.#inserts.close()
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

  #write<T>(work: (connection: MysqlConnection, isResent: boolean) => Promise<T>): Promise<T> {
    return this.#pool.run(work, { timeoutMs: this.#timeouts.writeMs, isWrite: true })
  }
}

/** On Galera the connection's node has caught up when this resolves. */
async function rowOf(connection: MysqlConnection, key: FileKey): Promise<FileRow | undefined> {
  const rows = await connection.selectCausally(`${SELECT_FILES} WHERE ${KEY_IS}`, keyValuesOf(key))
  return rows[0] && fileRowOfRecord(rows[0] as never)
}

function keyValuesOf({ application, user, file }: FileKey): Buffer[] {
  return [Buffer.from(application), Buffer.from(user), Buffer.from(file)]
}
