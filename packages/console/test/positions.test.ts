import { equal, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Positions } from '../src/player/positions.ts'

function memory(text = '') {
  return {
    text,
    read() {
      return this.text
    },
    write(text: string) {
      this.text = text
    }
  }
}

describe('the position of a film', () => {
  it('is kept by the film that was really watched', () => {
    const positions = new Positions(memory())
    positions.note('one', 120.7, 600)
    equal(positions.of('one'), 120)
    equal(positions.of('another generation'), 0)
  })

  it('is forgotten at the beginning and at the end', () => {
    const positions = new Positions(memory())
    for (const second of [0, 3, 590]) {
      positions.note('one', 120, 600)
      positions.note('one', second, 600)
      equal(positions.of('one'), 0, String(second))
    }
    positions.note('one', 120, NaN)
    equal(positions.of('one'), 0)
  })

  it('is kept for a bounded number of films, the last ones', () => {
    const store = memory()
    const positions = new Positions(store)
    for (let film = 0; film < 1_000; film++) positions.note(`film ${film}`, 60, 600)
    equal(positions.of('film 0'), 0)
    equal(positions.of('film 999'), 60)
    ok(store.text.length < 20_000)
  })

  it('survives whatever stands where it was kept', () => {
    for (const text of ['{', 'null', '[1]', '[["x"]]', '[["x",-1]]', '{"x":1}'])
      equal(new Positions(memory(text)).of('x'), 0, text)
  })
})
