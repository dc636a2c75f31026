import { assertCount, assertCounterKey, type Counters } from './counters.ts'
import type { SqliteWriteQueue } from './sqlite-write-queue.ts'

export class SqliteCounters implements Counters {
  readonly #queue: SqliteWriteQueue

  constructor(queue: SqliteWriteQueue) {
    this.#queue = queue
  }

  async reserve(key: string, count: number): Promise<bigint> {
    assertCounterKey(key)
    assertCount(count)
    return (await this.#queue.write(['reserve', key, count])) as bigint
  }

  async raise(key: string, atLeast: bigint): Promise<void> {
    assertCounterKey(key)
    await this.#queue.write(['raise', key, atLeast])
  }
}
