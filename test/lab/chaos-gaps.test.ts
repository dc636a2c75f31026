/** Which gap is broken, which is kept, and of which nothing can be said. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { GAP_MS_MAX, judgeGap, SLOWNESS_JUDGED_MAX } from '../../lab/chaos/gap-bounds.ts'
import { GapMeter } from '../../lab/chaos/gap-meter.ts'
import { Pace, PACE_EVERY_MS } from '../../lab/chaos/pace.ts'

const READ_MS = GAP_MS_MAX.read!

describe('a gap', () => {
  it('is judged by how slow the machine was while it lasted', () => {
    equal(judgeGap('read', READ_MS, 1), 'kept')
    equal(judgeGap('read', READ_MS + 1, 1), 'broken')
    equal(judgeGap('read', READ_MS + 1, 0.5), 'broken', 'a quick machine is held to the same')
    equal(judgeGap('read', 2 * READ_MS, 2), 'kept')
    equal(judgeGap('read', 2 * READ_MS + 1, 2), 'broken')
    equal(judgeGap('delete', 1e9, 1), 'kept', 'they have no bound')
  })

  it('of the address may be longer while a link loses packets, and no other', () => {
    equal(judgeGap('address', 11_000, 1), 'broken')
    equal(judgeGap('address', 11_000, 1, true), 'kept')
    equal(judgeGap('address', 12_001, 1, true), 'broken')
    equal(judgeGap('read', READ_MS + 1, 1, true), 'broken')
  })

  it('is not judged where the machine was too slow, unless it kept its bound all the same', () => {
    equal(judgeGap('read', READ_MS, 12), 'kept')
    equal(judgeGap('read', READ_MS + 1, SLOWNESS_JUDGED_MAX + 0.1), 'not judged')
    equal(judgeGap('read', READ_MS * SLOWNESS_JUDGED_MAX + 1, SLOWNESS_JUDGED_MAX), 'broken')
  })

  it('is told by itself, with the time of its end, and one that goes on belongs to both reports', () => {
    let nowMs = 0
    const meter = new GapMeter(() => nowMs)
    const ends = [100, 5_100, 5_200, 8_200]
    for (const endMs of ends) {
      nowMs = endMs
      meter.ended(nowMs, undefined)
    }
    nowMs = 8_300
    meter.ended(nowMs, 'NO_STORAGE_READY')
    nowMs = 10_200
    const { count, longestGapMs, gaps } = meter.report()
    equal(count, ends.length)
    equal(longestGapMs, 5_000)
    deepEqual(gaps, [
      { ms: 5_000, endedMsAgo: 5_100 },
      { ms: 3_000, endedMsAgo: 2_000 },
      { ms: 2_000, endedMsAgo: 0 }
    ])
    nowMs = 12_200
    meter.ended(nowMs, undefined)
    deepEqual(meter.report().gaps, [{ ms: 4_000, endedMsAgo: 0 }])
  })
})

describe('the pace of the machine', () => {
  it('is that of the time asked for: a slow hour excuses nothing before or after', () => {
    const pace = new Pace()
    equal(pace.between(0, 1_000), 1, 'nothing is known yet')
    for (let at = 0; at < 30; at++) pace.add(at * PACE_EVERY_MS, at >= 10 && at < 20 ? 6 : 1)
    equal(pace.between(0, 8 * PACE_EVERY_MS), 1)
    equal(pace.between(11 * PACE_EVERY_MS, 18 * PACE_EVERY_MS), 6)
    equal(pace.between(21 * PACE_EVERY_MS, 25 * PACE_EVERY_MS), 1)
    equal(pace.worst, 6)
    ok(pace.mean > 2 && pace.mean < 3)
  })
})
