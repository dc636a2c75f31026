import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { lately, shareToEnd } from '../src/library/play-figures.ts'

describe('figures of plays', () => {
  it('count the last 30 days, whole days', () => {
    const days = [
      { day: '2026-01-01', starts: 1 },
      { day: '2026-01-02', starts: 10 },
      { day: '2026-01-31', starts: 100 }
    ]
    equal(lately(days, Date.UTC(2026, 0, 31, 0, 0, 1)), 110)
    equal(lately(days, Date.UTC(2026, 0, 31, 23, 59)), 110)
    equal(lately(days, Date.UTC(2026, 2, 2)), 0)
    equal(lately([], 0), 0)
  })

  it('say how many saw the end, whatever players report', () => {
    const reached = (end: number): number[] => [4, 4, 4, 4, 4, 4, 3, 3, 2, 2, end]
    deepEqual(
      [0, 1, 4, 9].map(end => shareToEnd({ starts: 4, reached: reached(end) })),
      [0, 0.25, 1, 1]
    )
    equal(shareToEnd({ starts: 0, reached: [] }), 0)
  })
})
