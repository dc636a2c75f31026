/** The load generator, a process of its own: does the tasks that it is sent, one after the other. */
import { exchange } from './exchange.ts'
import { segments, viewers } from './segments.ts'
import { hold, prepare, remove, stream } from './stream.ts'
import type { Task, TaskResult } from './task.ts'

function perform(task: Task): Promise<TaskResult> {
  switch (task.kind) {
    case 'exchange':
      return exchange(task)
    case 'hold':
      return hold(task)
    case 'prepare':
      return prepare(task)
    case 'remove':
      return remove(task)
    case 'segments':
      return segments(task)
    case 'viewers':
      return viewers(task)
    default:
      return stream(task)
  }
}

process.on('message', (task: Task) => {
  perform(task).then(
    result => process.send!({ type: 'result', result }),
    (error: Error) => process.send!({ type: 'failed', message: error.message })
  )
})
process.on('disconnect', () => process.exit(0))
process.on('SIGINT', () => {})
process.send!({ type: 'ready', fields: {} })
