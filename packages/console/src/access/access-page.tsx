/** Who may do what, and who did what: each part under an address of its own. */
import { useEffect, useRef } from 'preact/hooks'
import { isLoggedIn, reach, session } from '../api/session.ts'
import { Icon } from '../parts/icon.tsx'
import { query } from '../place.ts'
import { texts } from '../settings.ts'
import { ApplicationsTab } from './applications-tab.tsx'
import { AuditTab } from './audit-tab.tsx'
import { QuotasTab } from './quotas-tab.tsx'
import { tabAddress, tabOf, type Tab } from './tabs.ts'
import { TokensTab } from './tokens-tab.tsx'
import { WebhooksTab } from './webhooks-tab.tsx'

export function AccessPage() {
  const t = texts.value
  const tab = tabOf(query.value, reach.value.tabs)
  return (
    <>
      <div class="page-head">
        <h1 tabIndex={-1}>{t.access}</h1>
      </div>
      {session.value === undefined ? (
        <p class="facts loading">{t.loading}</p>
      ) : tab === undefined ? (
        <NotForYou />
      ) : (
        <>
          <Tabs shown={tab} />
          <Content tab={tab} />
        </>
      )}
    </>
  )
}

function Tabs({ shown }: { shown: Tab }) {
  const t = texts.value
  const current = useRef<HTMLAnchorElement>(null)
  // On a phone not all of them are in sight.
  useEffect(() => current.current?.scrollIntoView({ block: 'nearest', inline: 'nearest' }), [shown])
  return (
    <nav class="tabs" aria-label={t.access}>
      {reach.value.tabs.map(tab => (
        <a
          key={tab}
          ref={tab === shown ? current : undefined}
          href={tabAddress(tab)}
          aria-current={tab === shown ? 'page' : undefined}
        >
          {t[tab]}
        </a>
      ))}
    </nav>
  )
}

function Content({ tab }: { tab: Tab }) {
  switch (tab) {
    case 'tokens':
      return <TokensTab />
    case 'applications':
      return <ApplicationsTab />
    case 'quotas':
      return <QuotasTab />
    case 'webhooks':
      return <WebhooksTab />
    case 'audit':
      return <AuditTab />
  }
}

function NotForYou() {
  const t = texts.value
  return (
    <div class="empty">
      <Icon name="key" large />
      <p>{t.accessNone}</p>
      {!isLoggedIn.value && (
        <a class="button" href="/login?to=%2Faccess">
          {t.logIn}
        </a>
      )}
    </div>
  )
}
