import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock, systemClock } from '../src/index.ts'

describe('the system clock', () => {
  it('sleeps no shorter than asked, and not at all for nothing', async () => {
    const clock = systemClock()
    const startMs = clock.monotonicMs()
    await clock.sleep(0)
    await clock.sleep(-1)
    await clock.sleep(20)
    ok(clock.monotonicMs() - startMs >= 19)
    ok(Math.abs(clock.nowMs() - Date.now()) < 1_000)
  })

  it('wakes with the reason of its signal', async () => {
    const reason = new Error('enough')
    await rejects(systemClock().sleep(10_000, AbortSignal.abort(reason)), reason)
    const controller = new AbortController()
    const sleeping = systemClock().sleep(2 ** 40, controller.signal)
    controller.abort(reason)
    await rejects(sleeping, reason)
  })
})

describe('the manual clock', () => {
  it('wakes sleepers in order, and those that sleep again', async () => {
    const clock = new ManualClock(1_000)
    const woken: string[] = []
    void clock.sleep(30).then(() => woken.push(`c ${clock.monotonicMs()}`))
    void (async () => {
      for (;;) {
        await clock.sleep(10)
        woken.push(`loop ${clock.monotonicMs()}`)
      }
    })()
    await clock.advance(25)
    deepEqual(woken, ['loop 10', 'loop 20'])
    await clock.advance(10)
    deepEqual(woken, ['loop 10', 'loop 20', 'c 30', 'loop 30'])
    deepEqual([clock.monotonicMs(), clock.nowMs()], [35, 1_035])
  })

  it('forgets a sleeper that was called off', async () => {
    const clock = new ManualClock()
    const controller = new AbortController()
    const sleeping = clock.sleep(10, controller.signal)
    controller.abort(new Error('enough'))
    await rejects(sleeping, /enough/)
    equal(clock.sleeping, 0)
  })
})
