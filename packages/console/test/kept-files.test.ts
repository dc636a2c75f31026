import { deepEqual } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { joinKept, keyOf, type Kept } from '../src/uploads/kept.ts'

const wanted = (name: string, more = {}) => ({
  name,
  sizeBytes: 100,
  lastModified: 1,
  application: 'media',
  user: 'public',
  ...more
})
const kept = (name: string, page = 'before'): Kept => ({ ...wanted(name), page })
const nobody = (): boolean => false

describe('uploads of an earlier visit', () => {
  it('are the begun ones, with their files where these are at hand, and those that had not begun', () => {
    const begun = [
      { ...wanted('a'), doneBytes: 40, reference: '/uploads/1' },
      { ...wanted('b'), doneBytes: 50, reference: '/uploads/2' }
    ]
    deepEqual(joinKept(begun, [], [kept('b'), kept('c')], nobody), [
      { ...begun[0], isKept: false },
      { ...begun[1], isKept: true },
      { ...wanted('c'), doneBytes: 0, isKept: true }
    ])
  })

  it('do not begin anew what may be there in part', () => {
    deepEqual(joinKept([], [wanted('a')], [kept('a')], nobody), [])
  })

  it('are left to a page that is still open', () => {
    const begun = [{ ...wanted('a'), doneBytes: 40, reference: '/uploads/1' }]
    const isOpen = (page: string): boolean => page === 'other'
    deepEqual(joinKept(begun, [], [kept('a', 'other'), kept('b', 'other'), kept('c')], isOpen), [
      { ...wanted('c'), doneBytes: 0, isKept: true }
    ])
  })

  it('are told apart by all that makes a file, and by where it goes', () => {
    const keys = [
      wanted('a'),
      wanted('b'),
      wanted('a', { sizeBytes: 1 }),
      wanted('a', { lastModified: 2 }),
      wanted('a', { user: 'anna' }),
      wanted('a', { application: 'music' })
    ].map(keyOf)
    deepEqual(new Set(keys).size, keys.length)
  })
})
