import { deepEqual, equal, rejects } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { IncomingContent } from '../src/index.ts'
import { gate } from './peers.ts'

const gone = new Error('gone')
const abc = Buffer.from('abc')
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

describe('content', () => {
  it('takes no more than its length of what comes', async () => {
    const content = new IncomingContent(5)
    equal(content.push(abc), 3)
    equal(content.push(abc), 2)
    equal(content.push(abc), 0)
    equal(content.takeIfComplete()!.toString(), 'abcab')
    equal(content.takeIfComplete()!.byteLength, 0)
  })

  it('of no length is complete', async () => {
    const content = new IncomingContent(0)
    equal(content.takeIfComplete()!.byteLength, 0)
    await content.read(() => {})
  })

  it('is not whole before its end, nor after somebody began to read it', () => {
    const content = new IncomingContent(5)
    content.push(abc)
    equal(content.takeIfComplete(), undefined)
    void content.read(() => {})
    content.push(abc)
    equal(content.takeIfComplete(), undefined)
  })

  it('holds the sender back while something is not taken', async () => {
    const changes: boolean[] = []
    const content = new IncomingContent(9, () => changes.push(content.holds))
    equal(content.holds, false)
    content.push(abc)
    equal(content.holds, true)
    const hold = gate()
    const reading = content.read(() => hold.promise)
    equal(content.holds, true)
    hold.open()
    await turn()
    equal(content.holds, false)
    content.push(abc)
    equal(content.holds, true)
    await turn()
    content.push(abc)
    equal(content.holds, false, 'nothing more is to come')
    await reading
    deepEqual(changes.slice(0, 2), [true, false])
  })

  it('that is lost tells so only when its taker is done with what it has', async () => {
    const content = new IncomingContent(9)
    const hold = gate()
    let settled = false
    const reading = content.read(() => hold.promise)
    const watched = reading.catch(() => {
      settled = true
    })
    content.push(abc)
    content.fail(gone)
    await turn()
    equal(settled, false, 'the taker still writes: what it writes to must stay open')
    hold.open()
    await watched
    await rejects(reading, gone)
  })

  it('that is refused by one taker waits for the others', async () => {
    const content = new IncomingContent(9)
    const first = gate()
    const second = gate()
    const holds = [first.promise, second.promise]
    const reading = content.read(() => holds.shift())
    content.push(abc)
    content.push(abc)
    let settled = false
    const watched = reading.catch(() => {
      settled = true
    })
    second.fail(gone)
    await turn()
    equal(settled, false)
    equal(content.holds, false, 'the rest is dropped')
    equal(content.push(abc), 3)
    first.open()
    await watched
    await rejects(reading, gone)
  })

  it('that came whole is not lost any more', async () => {
    const content = new IncomingContent(3)
    content.push(abc)
    content.fail(gone)
    equal(content.takeIfComplete()!.toString(), 'abc')
  })

  it('that was lost before somebody reads it says so then', async () => {
    const content = new IncomingContent(9)
    content.push(abc)
    content.fail(gone)
    await rejects(
      content.read(() => {}),
      gone
    )
  })

  it('is not given on after a taker threw', async () => {
    const content = new IncomingContent(9)
    content.push(abc)
    content.push(abc)
    let given = 0
    const reading = content.read(() => {
      given++
      throw gone
    })
    await rejects(reading, gone)
    content.push(abc)
    equal(given, 1)
  })
})
