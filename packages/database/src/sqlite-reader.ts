// The thread that reads pages and sums, which are too long for the data path's thread.
import { parentPort, workerData } from 'node:worker_threads'
import { untilFreeSync } from './busy-wait.ts'
import { openReader, sqliteErrorOf } from './sqlite-connection.ts'
import { executeSync } from './sqlite-execute.ts'
import { threadFaultOf } from './thread-fault.ts'

export interface SqliteReaderData {
  path: string
  busyTimeoutMs: number
}

const { path, busyTimeoutMs } = workerData as SqliteReaderData
const port = parentPort!
const database = untilFreeSync(() => openReader(path), busyTimeoutMs)

port.on('message', (message: [id: number, query: [sql: string, parameters: unknown[]]] | 'close') => {
  if (message === 'close') {
    database.close()
    port.close()
    return
  }
  const [id, [sql, parameters]] = message
  let answer: unknown
  try {
    answer = untilFreeSync(() => executeSync(database, sql, parameters), busyTimeoutMs)
  } catch (error) {
    answer = threadFaultOf(sqliteErrorOf(error))
  }
  port.postMessage([id, answer])
})
