import { keyIs, statement, type Control, type ControlStatement } from './control.ts'
import { CommitOutcomeUnknownError } from './errors.ts'
import { hexOf } from './file-record.ts'
import {
  assertFileKey,
  hexOfUuid,
  safeIntegerOf,
  STATE_DELETING,
  STATE_STORED,
  STATE_TRASHED,
  uuidOfHex
} from './file-row.ts'
import type { FileKey } from './file-index.ts'
import type { SchemaGate } from './schema-gate.ts'

/** A change that met nothing, or whose answer was lost, is made once more after a look. */
const TRIES_MAX = 2

/** Into the trash and out of it: the file's row and the library's together. The same on both engines. */
export class TrashSwitch {
  readonly #control: Control
  readonly #gate: SchemaGate

  constructor(control: Control, gate: SchemaGate) {
    this.#control = control
    this.#gate = gate
  }

  /**
   * trashed → deleting, for those whose time was up at `untilMs`: one that was taken out of the trash meanwhile stays.
   *
   * @returns false: it is not in the trash any more, or not that long. True as well when it is deleting already.
   */
  async expire(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean> {
    assertFileKey(key)
    await this.#gate.pass()
    const query = this.#control.queries
      .updateTable('files')
      .set({ state: STATE_DELETING, trashed_until_ms: 0 })
      .where(keyIs(key))
      .where('generation', '=', Buffer.from(generation, 'hex'))
      .where('store', '=', Buffer.from(hexOfUuid(store), 'hex'))
      .where('state', '=', STATE_TRASHED)
      .where('trashed_until_ms', '<=', untilMs)
    return this.#carryOut([statement(query, 1)], key, generation, store, row => {
      if (row.state === STATE_DELETING) return 'done'
      return row.state === STATE_TRASHED && row.untilMs <= untilMs ? 'owed' : 'refused'
    })
  }

  /**
   * stored ↔ trashed, only for this generation while it is of this store.
   *
   * @param untilMs UNIX milliseconds; 0: out of the trash.
   * @returns false: there is no such file. True as well when it is so already.
   * @throws {CommitOutcomeUnknownError}
   */
  async set(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean> {
    assertFileKey(key)
    await this.#gate.pass()
    const { queries } = this.#control
    const values = { state: untilMs > 0 ? STATE_TRASHED : STATE_STORED, trashed_until_ms: untilMs }
    const changes = [
      statement(
        queries
          .updateTable('files')
          .set(values)
          .where(keyIs(key))
          .where('generation', '=', Buffer.from(generation, 'hex'))
          .where('store', '=', Buffer.from(hexOfUuid(store), 'hex'))
          .where('state', 'in', [STATE_STORED, STATE_TRASHED]),
        1
      ),
      statement(
        queries
          .updateTable('library')
          .set(values)
          .where(keyIs(key))
          .where('generation', '=', Buffer.from(generation, 'hex'))
      )
    ]
    return this.#carryOut(changes, key, generation, store, row => {
      if (row.state === values.state && row.untilMs === untilMs) return 'done'
      return row.state === STATE_DELETING ? 'refused' : 'owed'
    })
  }

  /**
   * Where nothing changed, or the answer was lost, a causal look says what is true. `owed`: a Galera node had not heard of
   * the row when it was to change it, and has now; or a commit came to nothing. Then it is made once more.
   */
  async #carryOut(
    changes: readonly ControlStatement[],
    key: FileKey,
    generation: string,
    store: string,
    judge: (row: { state: number; untilMs: number }) => 'done' | 'owed' | 'refused'
  ): Promise<boolean> {
    for (let tried = 1; ; tried++) {
      let unknown: CommitOutcomeUnknownError | undefined
      try {
        if ((await this.#control.change(...changes)).done) return true
      } catch (error) {
        if (!(error instanceof CommitOutcomeUnknownError)) throw error
        unknown = error
      }
      const row = await this.#look(key)
      if (row?.generation !== generation || row.store !== store) {
        // It may have been changed before it was moved, or deleted.
        if (unknown) throw unknown
        return false
      }
      const verdict = judge(row)
      if (verdict === 'done') return true
      if (tried < TRIES_MAX && verdict === 'owed') continue
      if (unknown) throw unknown
      return false
    }
  }

  async #look(key: FileKey) {
    const row = await this.#control.queries
      .selectFrom('files')
      .select(['generation', 'state', 'trashed_until_ms', 'store'])
      .where(keyIs(key))
      .executeTakeFirst()
    return (
      row && {
        generation: hexOf(row.generation),
        state: row.state,
        untilMs: safeIntegerOf(row.trashed_until_ms),
        store: uuidOfHex(hexOf(row.store))
      }
    )
  }
}
