/** A clock that jumps deletes nothing before it has been believed. */
import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { PurgeClock } from '../src/purge-clock.ts'
import { Trash } from '../src/trash.ts'
import { keyOf, labels, openParts } from './parts.ts'

const HOUR_MS = 3_600_000
const YEAR_MS = 365 * 24 * HOUR_MS

function clocks(startMs = 1_700_000_000_000) {
  const at = { wallMs: startMs, steadyMs: 5_000 }
  const clock = new PurgeClock(
    () => at.wallMs,
    () => at.steadyMs
  )
  const pass = (ms: number): number => {
    at.wallMs += ms
    at.steadyMs += ms
    return clock.nowMs()
  }
  return { at, clock, pass }
}

describe('the clock by which is deleted for good', () => {
  it('goes as the other, and does not mind being set a little', () => {
    const { at, pass } = clocks()
    equal(pass(1_000), at.wallMs)
    at.wallMs += 30_000
    equal(pass(1_000), at.wallMs)
    equal(pass(2 * HOUR_MS), at.wallMs, 'however seldom it is asked')
  })

  it('goes on as before when the other jumps ahead, and follows it after an hour', () => {
    const { at, clock, pass } = clocks()
    at.wallMs += YEAR_MS
    equal(pass(1_000), at.wallMs - YEAR_MS)
    equal(clock.isDoubted, true)
    equal(pass(HOUR_MS - 1), at.wallMs - YEAR_MS)
    equal(pass(1), at.wallMs)
    equal(clock.isDoubted, false)
    equal(pass(1_000), at.wallMs)
  })

  it('forgets the jump where the other is put right, and follows it back at once', () => {
    const { at, clock, pass } = clocks()
    at.wallMs += YEAR_MS
    pass(HOUR_MS / 2)
    at.wallMs -= YEAR_MS
    equal(pass(1_000), at.wallMs)
    equal(clock.isDoubted, false)
    at.wallMs -= YEAR_MS
    equal(pass(1_000), at.wallMs)
  })

  it('leaves in the trash what has been there for a moment', async t => {
    const { small, database, files, deletion, store } = await openParts(t)
    const trash = new Trash(database.files, new Map([[store.uuid, store]]), files, () => undefined)
    const { at, clock, pass } = clocks(Date.now())
    const row = await small.store(keyOf('film'), Buffer.from('film'), labels())
    await trash.set(keyOf('film'), row.generation, at.wallMs + 7 * 24 * HOUR_MS)
    at.wallMs += YEAR_MS
    const deleted = [await trash.deleteExpired(store, deletion, pass(1_000))]
    at.wallMs -= YEAR_MS
    deleted.push(await trash.deleteExpired(store, deletion, clock.nowMs()))
    deleted.push(await trash.deleteExpired(store, deletion, pass(8 * 24 * HOUR_MS)))
    deepEqual(deleted, [0, 0, 1])
  })
})
