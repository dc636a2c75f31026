import { assertLease, type Leases } from './leases.ts'
import type { SqliteWriteQueue } from './sqlite-write-queue.ts'

export class SqliteLeases implements Leases {
  readonly #queue: SqliteWriteQueue

  constructor(queue: SqliteWriteQueue) {
    this.#queue = queue
  }

  async take(name: string, holder: string, ttlMs: number): Promise<bigint | undefined> {
    assertLease(name, holder, ttlMs)
    return (await this.#queue.write(['take', name, holder, ttlMs])) as bigint | undefined
  }

  async release(name: string, holder: string): Promise<void> {
    await this.#queue.write(['release', name, holder])
  }
}
