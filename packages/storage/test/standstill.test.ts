import { equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Standstill, STANDSTILL_MS } from '../src/standstill.ts'

/** As a frozen process does: no turn of the event loop. */
function standStill(ms: number): void {
  const endMs = performance.now() + ms
  while (performance.now() < endMs);
}

describe('a process that stands still', { timeout: 20_000 }, () => {
  it('distrusts what it reads first, and stores nothing that was whole before', async () => {
    const standstill = new Standstill()
    try {
      const beforeMs = performance.now()
      await sleep(200)
      equal(standstill.justEnded(performance.now()), false)
      equal(standstill.refusal(beforeMs), undefined)
      standStill(STANDSTILL_MS + 200)
      // Its timer has not had its turn yet.
      equal(standstill.justEnded(performance.now()), true)
      equal(standstill.refusal(beforeMs)?.code, 'OVERLOADED')
      equal(standstill.refusal(performance.now() + 1), undefined)
      await sleep(1)
      equal(standstill.justEnded(performance.now()), true, 'what was in the sockets is read within a moment')
      await sleep(300)
      equal(standstill.justEnded(performance.now()), false)
      equal(standstill.refusal(beforeMs)?.code, 'OVERLOADED')
      equal(standstill.refusal(performance.now()), undefined)
    } finally {
      standstill.stop()
    }
  })

  it('is not one that was busy for a moment', async () => {
    const standstill = new Standstill()
    const sinceMs = performance.now()
    standStill(STANDSTILL_MS / 3)
    equal(standstill.justEnded(performance.now()), false)
    equal(standstill.refusal(sinceMs), undefined)
    standstill.stop()
  })
})
