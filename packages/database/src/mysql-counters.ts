import { DatabaseUnavailableError, CommitOutcomeUnknownError } from './errors.ts'
import { assertCount, assertCounterKey, type Counters } from './counters.ts'
import type { MysqlPool } from './mysql-pool.ts'
import type { MysqlTimeouts } from './mysql-timeouts.ts'

/** The value comes back in the answer to the statement itself: no second look that another's could slip under. */
const RESERVE = `INSERT INTO counters (name, next) VALUES (?, LAST_INSERT_ID(CAST(? AS SIGNED)))
  ON DUPLICATE KEY UPDATE next = LAST_INSERT_ID(next + CAST(? AS SIGNED))`
/** Without the casts bound values are doubles, and so is a sum: past 2^53 values were handed out twice. */
const RAISE = `INSERT INTO counters (name, next) VALUES (?, CAST(? AS SIGNED))
  ON DUPLICATE KEY UPDATE next = GREATEST(next, CAST(? AS SIGNED))`

export class MysqlCounters implements Counters {
  readonly #pool: MysqlPool
  readonly #timeouts: MysqlTimeouts

  constructor(pool: MysqlPool, timeouts: MysqlTimeouts) {
    this.#pool = pool
    this.#timeouts = timeouts
  }

  async reserve(key: string, count: number): Promise<bigint> {
    assertCounterKey(key)
    assertCount(count)
    // A block whose answer was lost is lost; the next one is another.
    const { insertId } = await this.#write(RESERVE, [Buffer.from(key), count, count])
    return BigInt(insertId) - BigInt(count)
  }

  async raise(key: string, atLeast: bigint): Promise<void> {
    assertCounterKey(key)
    await this.#write(RAISE, [Buffer.from(key), atLeast.toString(), atLeast.toString()])
  }

  async #write(
    statement: string,
    values: (Buffer | number | string)[]
  ): Promise<{ insertId: number | string }> {
    try {
      return await this.#pool.run(connection => connection.change(statement, values), {
        timeoutMs: this.#timeouts.writeMs,
        isWrite: true
      })
    } catch (error) {
      if (error instanceof CommitOutcomeUnknownError) {
        throw new DatabaseUnavailableError(error.message, { cause: error })
      }
      throw error
    }
  }
}
