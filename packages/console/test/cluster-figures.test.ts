import { deepEqual, equal, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { wordsOf } from '../src/cluster/fault-words.ts'
import { Series, SHOWN_S } from '../src/cluster/series.ts'
import { LANGUAGES } from '../src/strings/languages.ts'

describe('the figures of a plot', () => {
  it('are those of the last minutes, each once', () => {
    const series = new Series(2)
    for (let second = 0; second < 1_000; second++) series.add(second, [second, 2 * second])
    series.add(999, [0, 0])
    series.add(500, [0, 0])
    const [times, one, two] = series.data
    equal(times.at(-1), 999)
    ok(times[0]! >= 999 - SHOWN_S)
    deepEqual([one!.at(-1), two!.at(-1)], [999, 1998])
    deepEqual([times.length, one!.length], [two!.length, two!.length])
  })
})

describe('a fault', () => {
  const fault = {
    severity: 'error',
    code: 'group-dead',
    text: 'Group x is dead.',
    values: { group: 'x' }
  } as const

  it('is said in the language of the reader', () => {
    ok(wordsOf(fault, LANGUAGES.en).startsWith('No member of the group x'))
    ok(wordsOf(fault, LANGUAGES.zh).startsWith('存储组 x'))
  })

  it('is said by the server where this page lacks words or values for it', () => {
    equal(wordsOf({ ...fault, values: {} }, LANGUAGES.zh), 'Group x is dead.')
    equal(wordsOf({ ...fault, code: 'new-kind' as 'group-dead' }, LANGUAGES.zh), 'Group x is dead.')
  })
})
