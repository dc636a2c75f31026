import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '@tributary/database'

/** A server comes back in its own time; what is tested is that it is noticed without a new connection by hand. */
export async function untilAnswers(database: Database): Promise<void> {
  for (let tried = 0; tried < 100; tried++) {
    try {
      return await database.ping(500)
    } catch {
      await sleep(50)
    }
  }
  await database.ping(2_000)
}
