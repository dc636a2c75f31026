/** A volume that is not local: places, deadlines, chores. */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Volume } from '../src/volume.ts'

const DEADLINE_MS = 100
const PLACES = 2

/** sysfs is of no type that counts as local. */
const openRemote = (): Promise<Volume> => Volume.open('/sys', DEADLINE_MS, PLACES)

describe('a volume that is not local', () => {
  it('tells the caller at the deadline, and keeps the place of a call that hangs', async () => {
    const volume = await openRemote()
    equal(volume.local, false)
    const hung = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const startMs = performance.now()
    const late = hung.map(({ promise }) =>
      rejects(
        volume.run('read', () => promise),
        { code: 'STORE_UNAVAILABLE' }
      )
    )
    let ran = 0
    const behind = rejects(
      volume.run('read', async () => ran++),
      { code: 'STORE_UNAVAILABLE' }
    )
    await Promise.all([...late, behind])
    ok(performance.now() - startMs < DEADLINE_MS + 500)
    equal(ran, 0, 'no thread was left for it')
    hung[0]!.resolve()
    await sleep(0)
    equal(await volume.run('read', async () => 7), 7)
    hung[1]!.reject(new Error('EIO, long after anybody cared'))
    await sleep(0)
    await Promise.all(Array.from({ length: 20 }, () => volume.run('read', async () => sleep(1))))
  })

  it('never has more calls on their way than it has places, whoever comes in between', async () => {
    const volume = await openRemote()
    let running = 0
    let most = 0
    const call = async (): Promise<void> => {
      most = Math.max(most, ++running)
      await sleep(1)
      running--
    }
    const calls: Promise<void>[] = []
    for (let index = 0; index < 60; index++) {
      calls.push(volume.run('read', call).then(() => volume.run('read', call)))
      if (index % 5 === 0) await sleep(1)
    }
    await Promise.all(calls)
    equal(most, PLACES)
  })

  it('refuses at once what would wait behind too many', async () => {
    const volume = await openRemote()
    const calls = Array.from({ length: 400 }, () => volume.run('read', () => sleep(DEADLINE_MS * 2)))
    const outcomes = await Promise.allSettled(calls)
    ok(outcomes.every(({ status }) => status === 'rejected'))
  })

  it('does chores one after the other, without a deadline, whatever becomes of them', async () => {
    const volume = await openRemote()
    const done: number[] = []
    const gate = Promise.withResolvers<void>()
    volume.chore(() => gate.promise.then(() => done.push(1)))
    volume.chore(() => Promise.reject(new Error('gone already')))
    volume.chore(async () => done.push(2))
    await sleep(DEADLINE_MS * 2)
    equal(volume.choresLeft, 3)
    gate.resolve()
    await sleep(5)
    deepEqual(done, [1, 2])
    equal(volume.choresLeft, 0)
  })
})
