import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Grant } from '@tributary/gateway/contract'
import { reachOf, tabOf, TABS } from '../src/access/tabs.ts'

const grant = (right: Grant['rights'][number], application = '*', user?: string): Grant => ({
  application,
  rights: [right],
  ...(user !== undefined && { user })
})

describe('the page of access', () => {
  it('shows all of it to whoever may do everything', () => {
    const { tabs, applications, mayChange } = reachOf([grant('admin')])
    deepEqual(tabs, TABS)
    equal(applications, '*')
    equal(mayChange('media'), true)
  })

  it('shows an administrator of an application its rules and quotas', () => {
    const { tabs, applications, mayChange } = reachOf([grant('admin', 'media'), grant('write', 'music')])
    deepEqual(tabs, ['applications', 'quotas'])
    deepEqual(applications, ['media', 'music'])
    deepEqual(['media', 'music', 'other'].map(mayChange), [true, false, false])
  })

  it('shows quotas to whoever may write, and lets nobody change them who may not', () => {
    const { tabs, applications, mayChange } = reachOf([grant('write')])
    deepEqual([tabs, applications, mayChange('media')], [['quotas'], '*', false])
  })

  it('shows nothing to others', () => {
    for (const grants of [[], [grant('read')], [grant('admin', 'media', 'anna')]])
      deepEqual(reachOf(grants).tabs, [])
  })

  it('opens the part that the address asks for, where it is there', () => {
    equal(tabOf('?tab=audit', TABS), 'audit')
    equal(tabOf('?tab=audit', ['applications', 'quotas']), 'applications')
    equal(tabOf('?tab=nothing', TABS), 'tokens')
    equal(tabOf('', []), undefined)
  })
})
