import { deepEqual, equal, rejects } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Lifespan } from '../src/index.ts'

const noDeadline = new AbortController().signal

describe('the lifespan of a server', { timeout: 10_000 }, () => {
  it('has one start and one stop, whoever asks for them', async () => {
    let opened = 0
    let closed = 0
    const life = new Lifespan(
      () => {
        life.onEnd(() => {
          closed++
        })
        return Promise.resolve(++opened)
      },
      error => {
        throw error
      }
    )
    deepEqual(await Promise.all([life.start(), life.start()]), [1, 1])
    await Promise.all([life.stop(noDeadline), life.stop(noDeadline)])
    await life.stop(noDeadline)
    equal(closed, 1)
  })

  it('closes in the reverse order of opening, each after the one before, and tells the background first', async () => {
    const events: string[] = []
    const life = new Lifespan(
      async () => {
        for (const name of ['database', 'listener']) {
          life.onEnd(async deadline => {
            equal(deadline, noDeadline)
            events.push(`${name} closes`)
            await new Promise(resolve => setImmediate(resolve))
            events.push(`${name} is closed`)
          })
        }
      },
      () => {}
    )
    life.ending.addEventListener('abort', () => events.push('ending'))
    await life.start()
    await life.stop(noDeadline)
    deepEqual(events, [
      'ending',
      'listener closes',
      'listener is closed',
      'database closes',
      'database is closed'
    ])
  })

  it('closes what a failed start had opened, at once, and stops without harm', async () => {
    const closed: boolean[] = []
    const life = new Lifespan<void>(
      async () => {
        life.onEnd(deadline => {
          closed.push(deadline.aborted)
        })
        throw new Error('the port is taken')
      },
      () => {}
    )
    await rejects(life.start(), /the port is taken/)
    deepEqual(closed, [true])
    await life.stop(noDeadline)
    deepEqual(closed, [true])
  })

  it('waits for a start that is under way before it closes', async () => {
    const listening = Promise.withResolvers<void>()
    const closed: string[] = []
    const life = new Lifespan(
      async () => {
        await listening.promise
        life.onEnd(() => {
          closed.push('listener')
        })
      },
      () => {}
    )
    void life.start()
    const stopped = life.stop(noDeadline)
    listening.resolve()
    await stopped
    deepEqual(closed, ['listener'])
  })

  it('closes the others where one fails, and says which error it was', async () => {
    const failures: unknown[] = []
    let closed = 0
    const life = new Lifespan(
      async () => {
        life.onEnd(() => {
          closed++
        })
        life.onEnd(() => Promise.reject(new Error('asynchronous')))
        life.onEnd(() => {
          throw new Error('synchronous')
        })
      },
      error => failures.push((error as Error).message)
    )
    await life.start()
    await life.stop(noDeadline)
    equal(closed, 1)
    deepEqual(failures, ['synchronous', 'asynchronous'])
  })
})
