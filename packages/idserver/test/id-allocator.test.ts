import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { DatabaseUnavailableError, type Counters } from '@tributary/database'
import { ManualClock } from '@tributary/runtime'
import { BLOCK_IDS_MAX, BlockSize } from '../src/block-size.ts'
import { IdAllocator, RESERVATIONS_MAX, type IdAllocatorOptions } from '../src/id-allocator.ts'
import { IdStock } from '../src/id-stock.ts'

/** Counters in memory that can be held back, broken and set back. */
class ScriptedCounters implements Counters {
  readonly next = new Map<string, bigint>()
  readonly reserved: [key: string, count: number][] = []
  isDown = false
  deafToRaises = 0
  #held: (() => void)[] | undefined

  hold(): void {
    this.#held = []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const go of held) go()
  }

  async reserve(key: string, count: number): Promise<bigint> {
    this.reserved.push([key, count])
    if (this.#held) await new Promise<void>(resolve => this.#held!.push(resolve))
    if (this.isDown) throw new DatabaseUnavailableError('down')
    const first = this.next.get(key) ?? 0n
    this.next.set(key, first + BigInt(count))
    return first
  }

  async raise(key: string, atLeast: bigint): Promise<void> {
    if (this.isDown) throw new DatabaseUnavailableError('down')
    if (this.deafToRaises-- > 0) return
    if ((this.next.get(key) ?? 0n) < atLeast) this.next.set(key, atLeast)
  }
}

function allocatorOn(
  counters: ScriptedCounters,
  options: Partial<IdAllocatorOptions> = {}
): { allocator: IdAllocator; clock: ManualClock } {
  const clock = new ManualClock()
  return { clock, allocator: new IdAllocator({ counters, clock, step: 10, ...options }) }
}

describe('handing out ids', () => {
  it('reads the database once for the first, and again when half of a block is used', async () => {
    const counters = new ScriptedCounters()
    const { allocator, clock } = allocatorOn(counters)
    equal(await allocator.next('a'), 0)
    await clock.advance(1_000)
    for (let id = 1; id < 4; id++) equal(allocator.next('a'), id)
    deepEqual(counters.reserved, [['a', 10]])
    equal(allocator.next('a'), 4)
    equal(counters.reserved.length, 2)
  })

  it('never waits while it has some, and has one refill under way', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters)
    await allocator.next('a')
    counters.hold()
    for (let id = 1; id < 10; id++) equal(allocator.next('a'), id)
    const waiting = [allocator.next('a'), allocator.next('a')]
    equal(counters.reserved.length, 2)
    counters.release()
    deepEqual(await Promise.all(waiting.map(async id => id)), [10, 11])
  })

  it('serves those that waited in the order in which they came, out of one block for all', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters)
    counters.hold()
    const waiting = Array.from({ length: 500 }, () => allocator.next('a'))
    counters.release()
    deepEqual(await Promise.all(waiting.map(async id => id)), Array.from(waiting.keys()))
    ok(counters.reserved.length <= 3, `${counters.reserved.length} reservations`)
  })

  it('refuses more waiters than it can bear', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters, { waitersMax: 2 })
    counters.hold()
    const waiting = [allocator.next('a'), allocator.next('a')]
    throws(() => allocator.next('a'), { code: 'OVERLOADED' })
    counters.release()
    deepEqual(await Promise.all(waiting.map(async id => id)), [0, 1])
  })

  it('refuses more reservations at a time than the database should bear', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters)
    counters.hold()
    const waiting = Array.from({ length: RESERVATIONS_MAX }, (_, at) => allocator.next(`key${at}`))
    await rejects(async () => allocator.next('one more'), { code: 'OVERLOADED' })
    counters.release()
    await Promise.all(waiting.map(async id => id))
    equal(await allocator.next('one more'), 0)
  })

  it('forgets the key refilled longest ago when there are too many, and repeats nothing', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters, { keysMax: 2 })
    for (const key of ['a', 'b', 'c']) equal(await allocator.next(key), 0)
    equal(allocator.counts.keys, 2)
    equal(allocator.next('b'), 1)
    equal(await allocator.next('a'), 10)
  })

  it('fails with everybody who waits when the database does, and tries again for the next', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters)
    counters.isDown = true
    const results = await Promise.allSettled([allocator.next('a'), allocator.next('a')])
    for (const result of results) {
      equal(result.status === 'rejected' && (result.reason as { code: string }).code, 'DATABASE_UNAVAILABLE')
    }
    counters.isDown = false
    equal(await allocator.next('a'), 0)
  })

  it('does not ask a database that is down at every id it still has', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters, { step: 1_000 })
    await allocator.next('a')
    counters.isDown = true
    for (let id = 1; id < 1_000; id++) {
      equal(allocator.next('a'), id)
      await Promise.resolve()
      await Promise.resolve()
    }
    ok(counters.reserved.length < 20, `${counters.reserved.length} reservations`)
  })

  it('waits no longer than its time, and uses nothing that comes too late twice', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters, { waitMsMax: 30 })
    counters.hold()
    await rejects(async () => allocator.next('a'), { code: 'DATABASE_UNAVAILABLE' })
    counters.release()
    await new Promise(resolve => setImmediate(resolve))
    equal(await allocator.next('a'), 10)
  })

  it('ends where numbers stop being exact', async () => {
    const counters = new ScriptedCounters()
    counters.next.set('a', 2n ** 53n - 5n)
    await rejects(async () => allocatorOn(counters).allocator.next('a'), { code: 'IDS_EXHAUSTED' })
    await rejects(async () => allocatorOn(counters).allocator.run('a', 10), { code: 'IDS_EXHAUSTED' })
  })
})

describe('runs of ids', () => {
  it('come from memory where they fit, else from a block of their own', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters)
    equal(await allocator.next('a'), 0)
    equal(allocator.run('a', 9), 1)
    const first = await allocator.run('a', 50)
    deepEqual(counters.reserved.at(-1), ['a', 50])
    ok(first >= 10)
  })
})

describe('raising a key', () => {
  it('drops what is in memory and on its way below it', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters)
    await allocator.next('a')
    counters.hold()
    for (let id = 1; id < 5; id++) void allocator.next('a') // the next block is on its way
    await allocator.raise('a', 1_000)
    const waiting = allocator.next('a')
    counters.release()
    equal(await waiting, 1_000)
  })

  it('holds although the database was set back behind it afterwards', async () => {
    const counters = new ScriptedCounters()
    const { allocator } = allocatorOn(counters)
    counters.deafToRaises = 1
    await allocator.raise('a', 1_000)
    equal(await allocator.next('a'), 1_000)
    counters.deafToRaises = 1
    await allocator.raise('b', 1_000)
    equal(await allocator.run('b', 50), 1_000)
  })

  it('is refused while the database is down', async () => {
    const counters = new ScriptedCounters()
    counters.isDown = true
    await rejects(allocatorOn(counters).allocator.raise('a', 1_000), { code: 'DATABASE_UNAVAILABLE' })
  })
})

describe('the size of a block', () => {
  it('is the step, grows while blocks last for a moment only, and shrinks back', () => {
    const size = new BlockSize(100)
    let nowMs = 0
    equal(size.next(nowMs), 100)
    equal(size.next((nowMs += 5_000)), 100)
    for (const expected of [200, 400, 800]) equal(size.next((nowMs += 10)), expected)
    for (let times = 0; times < 20; times++) size.next((nowMs += 10))
    equal(size.next((nowMs += 10)), BLOCK_IDS_MAX)
    for (let times = 0; times < 20; times++) size.next((nowMs += 60_000))
    equal(size.next((nowMs += 60_000)), 100)
  })

  it('is never less than a step above the bound', () => {
    const size = new BlockSize(50_000)
    for (let times = 0; times < 5; times++) equal(size.next(times), 50_000)
  })
})

describe('a stock of ids', () => {
  it('joins blocks that follow each other, and takes runs out of any that is long enough', () => {
    const stock = new IdStock()
    stock.add(0n, 5)
    stock.add(5n, 5)
    stock.add(100n, 20)
    equal(stock.count, 30)
    equal(stock.takeRun(10), 0)
    equal(stock.takeRun(21), -1)
    equal(stock.takeRun(19), 100)
    equal(stock.take(), 119)
    equal(stock.take(), -1)
    equal(stock.count, 0)
  })

  it('drops what is below what it was raised to', () => {
    const stock = new IdStock()
    stock.add(0n, 10)
    stock.add(20n, 10)
    stock.raise(25)
    equal(stock.count, 5)
    equal(stock.take(), 25)
    stock.add(0n, 10)
    equal(stock.count, 4)
  })
})
