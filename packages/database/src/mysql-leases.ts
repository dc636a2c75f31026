import { textOf } from './file-record.ts'
import { assertLease, type Leases } from './leases.ts'
import type { MysqlPool } from './mysql-pool.ts'
import type { MysqlTimeouts } from './mysql-timeouts.ts'

const NOW_MS = 'CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)'

export class MysqlLeases implements Leases {
  readonly #pool: MysqlPool
  readonly #timeouts: MysqlTimeouts

  constructor(pool: MysqlPool, timeouts: MysqlTimeouts) {
    this.#pool = pool
    this.#timeouts = timeouts
  }

  async take(name: string, holder: string, ttlMs: number): Promise<bigint | undefined> {
    assertLease(name, holder, ttlMs)
    const key = Buffer.from(name)
    const options = { timeoutMs: this.#timeouts.writeMs, isWrite: true }
    return this.#pool.run(
      connection =>
        connection.transact(async () => {
          await connection.change(
            'INSERT INTO leases (name, holder, token, until_ms) VALUES (?, ?, 0, 0) ON DUPLICATE KEY UPDATE name = name',
            [key, Buffer.from('')]
          )
          // On Galera the lock holds on this node only; of two nodes' updates one then fails its commit and is retried.
          const rows = await connection.select(
            `SELECT holder, CAST(token AS CHAR) AS token, until_ms > ${NOW_MS} AS held FROM leases WHERE name = ? FOR UPDATE`,
            [key]
          )
          const row = rows[0] as { holder: Buffer; token: string; held: number }
          const isMine = row.held === 1 && textOf(row.holder) === holder
          if (row.held === 1 && !isMine) return undefined
          const token = BigInt(textOf(row.token)) + (isMine ? 0n : 1n)
          await connection.change(
            `UPDATE leases SET holder = ?, token = CAST(? AS SIGNED), until_ms = ${NOW_MS} + CAST(? AS SIGNED) WHERE name = ?`,
            [Buffer.from(holder), token.toString(), ttlMs, key]
          )
          return token
        }),
      options
    )
  }

  async release(name: string, holder: string): Promise<void> {
    const options = { timeoutMs: this.#timeouts.writeMs, isWrite: true }
    const values = [Buffer.from(name), Buffer.from(holder)]
    await this.#pool.run(
      connection => connection.change('UPDATE leases SET until_ms = 0 WHERE name = ? AND holder = ?', values),
      options
    )
  }
}
