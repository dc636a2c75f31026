// Reserves blocks of 7 until it is killed, and tells each one's first value.
import { setTimeout as sleep } from 'node:timers/promises'
import { openDatabase } from '@tributary/database'

const [url, key] = process.argv.slice(2) as [string, string]
const database = await openDatabase(url)
const ROUNDS_MAX = 5_000
for (let round = 0; round < ROUNDS_MAX; round++) {
  const first = await database.counters.reserve(key, 7)
  process.send!(first.toString())
  await sleep(2)
}
