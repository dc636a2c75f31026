import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { UploadQueue, type Content, type SendReports, type Upload } from '../src/uploads/queue.ts'

const PLACE = { application: 'media', user: 'public' }

interface Sent {
  name: string
  reference: string | undefined
  reports: SendReports
  fate: 'sending' | 'paused' | 'abandoned'
}

function fixture() {
  const sent: Sent[] = []
  const forgotten: string[] = []
  const stored: string[] = []
  const taken: string[] = []
  const over: string[] = []
  const timers: { ms: number; work: () => void; live: boolean }[] = []
  let shown: readonly Upload[] = []
  let nowMs = 0
  const queue = new UploadQueue<Content>({
    sender: {
      send({ name }, { reference }, reports) {
        const one: Sent = { name, reference, reports, fate: 'sending' }
        sent.push(one)
        return { pause: () => (one.fate = 'paused'), abandon: () => (one.fate = 'abandoned') }
      },
      forget: reference => forgotten.push(reference)
    },
    onChange: uploads => (shown = uploads),
    onStored: ({ name }) => stored.push(name),
    onTaken: ({ application }, { name }) => taken.push(`${application} ${name}`),
    onOver: ({ name }) => over.push(name),
    bytesMax: () => 1_000,
    tooLarge: () => 'too large',
    anotherFile: () => 'another file',
    clock: {
      nowMs: () => nowMs,
      after: (ms, work) => {
        const timer = { ms, work, live: true }
        timers.push(timer)
        return () => (timer.live = false)
      }
    }
  })
  const last = (name: string): Sent => sent.findLast(one => one.name === name)!
  return {
    queue,
    sent,
    last,
    forgotten,
    stored,
    taken,
    over,
    timers,
    pass: (ms: number) => (nowMs += ms),
    states: () => Object.fromEntries(shown.map(({ name, state }) => [name, state])),
    find: (name: string) => shown.find(upload => upload.name === name)!
  }
}

const file = (name: string, size = 100): Content => ({ name, size, type: 'video/mp4', lastModified: 1 })

describe('the queue of uploads', () => {
  it('sends two at a time, in order, and the next when one is stored', () => {
    const { queue, states, last, stored, find, pass } = fixture()
    queue.add([file('a'), file('b'), file('c')], PLACE)
    deepEqual(states(), { a: 'sending', b: 'sending', c: 'waiting' })
    for (let done = 10; done < 100; done += 10) {
      pass(1_000)
      last('a').reports.progress(done)
    }
    equal(find('a').bytesPerS, 10)
    last('a').reports.progress(100)
    deepEqual(states(), { a: 'storing', b: 'sending', c: 'waiting' })
    last('a').reports.stored()
    deepEqual(states(), { a: 'stored', b: 'sending', c: 'sending' })
    deepEqual(stored, ['a'])
    equal(queue.isBusy, true)
    last('b').reports.stored()
    last('c').reports.stored()
    equal(queue.isBusy, false)
    queue.clear()
    deepEqual(states(), {})
  })

  it('goes on by itself when the connection is lost, later each time, at once when it is back', () => {
    const { queue, states, last, sent, timers } = fixture()
    queue.add([file('a')], PLACE)
    last('a').reports.known('/uploads/1')
    const delays: number[] = []
    for (let attempt = 0; attempt < 8; attempt++) {
      last('a').reports.failed('no connection', true)
      deepEqual(states(), { a: 'retrying' })
      delays.push(timers.at(-1)!.ms)
      timers.at(-1)!.work()
      equal(last('a').reference, '/uploads/1')
    }
    deepEqual(delays, [1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 30_000, 30_000])
    last('a').reports.progress(50)
    last('a').reports.failed('no connection', true)
    equal(timers.at(-1)!.ms, 1_000, 'what got on is not punished')
    queue.online()
    deepEqual(states(), { a: 'sending' })
    equal(timers.at(-1)!.live, false)
    equal(sent.length, 10)
  })

  it('stops at once when the browser says that it is offline', () => {
    const { queue, states, last } = fixture()
    queue.add([file('a'), file('b'), file('c')], PLACE)
    last('a').reports.known('/uploads/1')
    queue.offline()
    deepEqual(states(), { a: 'retrying', b: 'retrying', c: 'sending' })
    equal(last('a').fate, 'paused')
    queue.offline()
    queue.online()
    deepEqual(states(), { a: 'sending', b: 'sending', c: 'waiting' })
    equal(last('a').reference, '/uploads/1')
  })

  it('keeps what the server has when it is paused, and forgets it when it is cancelled', () => {
    const { queue, states, last, forgotten, find } = fixture()
    queue.add([file('a'), file('b'), file('c')], PLACE)
    last('a').reports.known('/uploads/1')
    queue.pause(find('a').id)
    equal(last('a').fate, 'paused')
    deepEqual(states(), { a: 'paused', b: 'sending', c: 'sending' })
    last('a').reports.progress(90) // was on its way
    equal(find('a').doneBytes, 0)
    queue.resume(find('a').id)
    deepEqual(states(), { a: 'waiting', b: 'sending', c: 'sending' })
    queue.cancel(find('b').id)
    equal(last('b').fate, 'abandoned')
    equal(last('a').reference, '/uploads/1')
    deepEqual(states(), { a: 'sending', b: 'cancelled', c: 'sending' })
    queue.pause(find('a').id)
    queue.cancel(find('a').id)
    deepEqual(forgotten, ['/uploads/1'])
    queue.pauseAll()
    deepEqual(states(), { a: 'cancelled', b: 'cancelled', c: 'paused' })
    queue.resumeAll()
    deepEqual(states(), { a: 'cancelled', b: 'cancelled', c: 'sending' })
  })

  it('says why something failed, and tries again when it is told to', () => {
    const { queue, states, last, find } = fixture()
    queue.add([file('a'), file('huge', 1_001)], PLACE)
    deepEqual(states(), { a: 'sending', huge: 'failed' })
    equal(find('huge').why, 'too large')
    last('a').reports.failed('no space left', false)
    equal(find('a').why, 'no space left')
    queue.resume(find('a').id)
    deepEqual([find('a').state, find('a').why], ['sending', ''])
    queue.remove(find('a').id)
    deepEqual(states(), { a: 'sending', huge: 'failed' }, 'what is being sent is not removed')
    queue.remove(find('huge').id)
    deepEqual(states(), { a: 'sending' })
  })

  it('goes on with what an earlier visit began, with the same file only', () => {
    const { queue, states, last, find, forgotten, sent } = fixture()
    const begun = { sizeBytes: 100, lastModified: 1, doneBytes: 40, ...PLACE }
    queue.addInterrupted([
      { ...begun, name: 'a', reference: '/uploads/1' },
      { ...begun, name: 'b', reference: '/uploads/2' },
      { ...begun, name: 'c', reference: '/uploads/3' }
    ])
    deepEqual(states(), { a: 'interrupted', b: 'interrupted', c: 'interrupted' })
    equal(queue.isBusy, false)
    queue.resume(find('a').id, file('a', 99))
    deepEqual([find('a').state, find('a').why], ['interrupted', 'another file'])
    queue.resume(find('a').id, file('a'))
    deepEqual([last('a').reference, find('a').doneBytes], ['/uploads/1', 40])
    queue.add([file('b')], { application: 'other', user: 'other' })
    equal(last('b').reference, '/uploads/2', 'dropped anywhere it is known')
    equal(sent.length, 2)
    queue.cancel(find('c').id)
    deepEqual(forgotten, ['/uploads/3'])
  })

  it('goes on with files at hand, also with what had not begun, until one is not at hand after all', () => {
    const { queue, last, find, states } = fixture()
    const left = { sizeBytes: 100, lastModified: 1, isKept: true, ...PLACE }
    queue.addInterrupted([
      { ...left, name: 'a', doneBytes: 40, reference: '/uploads/1' },
      { ...left, name: 'b', doneBytes: 0 },
      { ...left, name: 'c', doneBytes: 0 }
    ])
    deepEqual(
      ['a', 'b', 'c'].map(name => find(name).isKept),
      [true, true, true]
    )
    queue.resume(find('a').id, file('a'))
    queue.resume(find('b').id, file('b'))
    deepEqual([last('a').reference, last('b').reference], ['/uploads/1', undefined])
    queue.mislay(find('a').id, 'gone')
    equal(find('a').why, '', 'it has its file already')
    queue.mislay(find('c').id, 'gone')
    deepEqual([find('c').isKept, find('c').why], [false, 'gone'])
    queue.resume(find('c').id, file('c'))
    deepEqual(states(), { a: 'sending', b: 'sending', c: 'waiting' })
    equal(find('c').why, '')
  })

  it('asks for the file where the one at hand has changed', () => {
    const { queue, find } = fixture()
    queue.addInterrupted([
      { name: 'a', sizeBytes: 100, lastModified: 1, doneBytes: 0, isKept: true, ...PLACE }
    ])
    queue.resume(find('a').id, { ...file('a'), lastModified: 2 })
    deepEqual([find('a').state, find('a').isKept, find('a').why], ['interrupted', false, 'another file'])
  })

  it('tells when it has a file, and when nobody goes on with it', () => {
    const { queue, find, last, taken, over } = fixture()
    queue.addInterrupted([
      { name: 'old', sizeBytes: 100, lastModified: 1, doneBytes: 0, application: 'other', user: 'u' }
    ])
    queue.add([file('old'), file('a'), file('b'), file('huge', 1_001)], PLACE)
    deepEqual(taken, ['other old', 'media a', 'media b'])
    last('old').reports.stored()
    queue.cancel(find('b').id)
    last('a').reports.failed('no space left', false)
    deepEqual(over, ['old', 'b'])
    queue.clear()
    deepEqual(over.slice(2).toSorted(), ['a', 'b', 'huge', 'old'])
  })
})
