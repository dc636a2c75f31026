/** Which parts of the page of access are for whom. The server decides for each request; this only shows nobody what it would refuse. */
import type { Grant } from '@tributary/gateway/contract'

export const TABS = ['tokens', 'applications', 'quotas', 'webhooks', 'audit'] as const
export type Tab = (typeof TABS)[number]

export interface Reach {
  tabs: readonly Tab[]
  /** Of which applications the rules may be seen; `*`: of all. */
  applications: '*' | readonly string[]
  /** Of which they may be changed. */
  mayChange: (application: string) => boolean
}

const EVERYTHING = '*'

export function reachOf(grants: readonly Grant[]): Reach {
  // A grant for one user says nothing of the application.
  const whole = grants.filter(({ user }) => user === undefined)
  const holds = (right: 'write' | 'admin', application: string): boolean =>
    whole.some(
      grant =>
        (grant.application === EVERYTHING || grant.application === application) &&
        (grant.rights.includes('admin') || grant.rights.includes(right))
    )
  const own = [...new Set(whole.map(({ application }) => application))].filter(name => holds('write', name))
  const tabs = TABS.filter(tab => {
    switch (tab) {
      case 'applications':
        return own.some(name => holds('admin', name))
      // Who may store may see how much.
      case 'quotas':
        return own.length > 0
      default:
        return holds('admin', EVERYTHING)
    }
  })
  return {
    tabs,
    applications: own.includes(EVERYTHING) ? EVERYTHING : own,
    mayChange: application => holds('admin', application)
  }
}

/** As the address asks for it, among those that are there. */
export function tabOf(search: string, tabs: readonly Tab[]): Tab | undefined {
  const asked = new URLSearchParams(search).get('tab')
  return tabs.find(tab => tab === asked) ?? tabs[0]
}

export function tabAddress(tab: Tab): string {
  return `/access?tab=${tab}`
}
