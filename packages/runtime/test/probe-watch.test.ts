import { deepEqual, equal, rejects } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createLog, ManualClock, ProbeWatch, Readiness } from '../src/index.ts'

function watching() {
  const lines: string[] = []
  const write = (line: string): void => {
    const { level, msg } = JSON.parse(line) as { level: string; msg: string }
    lines.push(`${level} ${msg}`)
  }
  const clock = new ManualClock()
  const readiness = new Readiness(['database'])
  const database = { answers: true, asked: 0 }
  const watch = new ProbeWatch({
    name: 'database',
    async probe() {
      database.asked++
      if (!database.answers) throw new Error('gone')
    },
    meanwhile: 'nothing is written',
    readiness,
    clock,
    log: createLog({ name: 'test', destination: { write } })
  })
  return { watch, database, readiness, lines, clock }
}

describe('a watch over something that a server needs', { timeout: 10_000 }, () => {
  it('keeps readiness true to what it finds, and logs a line per change', async () => {
    const { watch, database, readiness, lines, clock } = watching()
    equal(readiness.ready, false)
    await watch.first()
    equal(readiness.ready, true)
    const ending = new AbortController()
    const running = watch.run(ending.signal)
    const states: boolean[] = []
    for (const answers of [true, false, false, true, true, false]) {
      database.answers = answers
      await clock.advance(1_000)
      equal(watch.isUp, readiness.ready)
      states.push(watch.isUp)
    }
    deepEqual(states, [true, false, false, true, true, false])
    deepEqual(readiness.report().conditions['database'], {
      ok: false,
      reason: 'the database does not answer'
    })
    deepEqual(lines, [
      'error the database does not answer; nothing is written',
      'info the database answers again',
      'error the database does not answer; nothing is written'
    ])
    ending.abort()
    await running
    equal(database.asked, 7)
  })

  it('leaves a start without it to fail', async () => {
    const { watch, database, readiness } = watching()
    database.answers = false
    await rejects(watch.first(), /gone/)
    equal(readiness.ready, false)
  })

  it('says nothing about a probe that the stop itself broke', async () => {
    const { watch, database, lines, clock } = watching()
    const ending = new AbortController()
    await watch.first()
    const running = watch.run(ending.signal)
    database.answers = false
    const advanced = clock.advance(1_000)
    ending.abort()
    await Promise.all([advanced, running])
    deepEqual(lines, [])
  })
})
