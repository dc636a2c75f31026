import { keyIs, statement, type Control } from './control.ts'
import { hexOf } from './file-record.ts'
import {
  assertFileKey,
  hexOfUuid,
  safeIntegerOf,
  STATE_DELETING,
  STATE_STORED,
  STATE_TRASHED
} from './file-row.ts'
import type { FileKey } from './file-index.ts'
import type { SchemaGate } from './schema-gate.ts'

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
   * @returns false: it is not in the trash any more, or not that long.
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
    return (await this.#control.change(statement(query, 1))).done
  }

  /**
   * stored ↔ trashed, only for this generation while it is of this store.
   *
   * @param untilMs UNIX milliseconds; 0: out of the trash.
   * @returns false: there is no such file. True as well when it is so already.
   */
  async set(key: FileKey, generation: string, store: string, untilMs: number): Promise<boolean> {
    assertFileKey(key)
    await this.#gate.pass()
    const { queries } = this.#control
    const values = { state: untilMs > 0 ? STATE_TRASHED : STATE_STORED, trashed_until_ms: untilMs }
    const outcome = await this.#control.change(
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
    )
    if (outcome.done) return true
    // Nothing changed: so already, or not there.
    const row = await queries
      .selectFrom('files')
      .select(['generation', 'state', 'trashed_until_ms'])
      .where(keyIs(key))
      .executeTakeFirst()
    return (
      row !== undefined &&
      hexOf(row.generation) === generation &&
      row.state === values.state &&
      safeIntegerOf(row.trashed_until_ms) === untilMs
    )
  }
}
