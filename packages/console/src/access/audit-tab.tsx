/** What was changed, and what was refused: the newest first. */
import type { AuditEntry, AuditPage } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { formatDate } from '../format.ts'
import { sentenceOf } from '../parts/failure.ts'
import { Icon, type IconName } from '../parts/icon.tsx'
import { say } from '../parts/sayings.tsx'
import { follow, query } from '../place.ts'
import { language, texts } from '../settings.ts'
import { deedOf } from './audit-words.ts'
import { TabHead } from './tab-head.tsx'
import { tabAddress } from './tabs.ts'

type Outcome = AuditEntry['outcome']

const PAGE_ENTRIES = 50
const OUTCOMES: readonly (Outcome | '')[] = ['', 'denied', 'failed', 'done']
const ICONS: Readonly<Record<Outcome, IconName>> = { done: 'check', denied: 'warning', failed: 'close' }

export function AuditTab() {
  const t = texts.value
  const outcome = outcomeOf(query.value)
  const [found, setFound] = useState<AuditPage | undefined>(undefined)
  const [trouble, setTrouble] = useState('')
  const ask = (after?: string): Promise<AuditPage> =>
    call('GET /api/v1/audit', {
      query: {
        limit: PAGE_ENTRIES,
        ...(outcome !== '' && { outcome }),
        ...(after !== undefined && { after })
      }
    })
  useEffect(() => {
    let current = true
    ask().then(
      page => {
        if (!current) return
        setFound(page)
        setTrouble('')
      },
      error => current && setTrouble(sentenceOf(error))
    )
    return () => void (current = false)
  }, [outcome])
  const more = async (): Promise<void> => {
    if (!found?.next) return
    try {
      const page = await ask(found.next)
      setFound({ ...page, entries: [...found.entries, ...page.entries] })
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
  }
  return (
    <>
      <TabHead hint={t.auditHint} trouble={trouble} />
      <div class="chips" role="group" aria-label={t.auditOutcome}>
        {OUTCOMES.map(name => (
          <button
            key={name}
            type="button"
            class="chip"
            aria-pressed={outcome === name}
            onClick={() =>
              follow(`${tabAddress('audit')}${name === '' ? '' : `&outcome=${name}`}`, { replace: true })
            }
          >
            {name === '' ? t.any : t.outcomes[name]}
          </button>
        ))}
      </div>
      {found?.entries.length === 0 && (
        <div class="empty">
          <Icon name="list" large />
          <p>{t.auditNone}</p>
        </div>
      )}
      <ol class="rows audit" id="audit-list">
        {found?.entries.map((entry, index) => (
          <AuditRow key={`${entry.at} ${index}`} entry={entry} />
        ))}
      </ol>
      {found?.next && (
        <div class="more">
          <button type="button" onClick={() => void more()}>
            {t.more}
          </button>
        </div>
      )}
    </>
  )
}

function AuditRow({ entry: { at, who, address, what, target, outcome } }: { entry: AuditEntry }) {
  const t = texts.value
  const deed = deedOf(what)
  return (
    <li class={`row-card is-${outcome}`}>
      <span class={`outcome is-${outcome}`}>
        <Icon name={ICONS[outcome]} />
        <span>{t.outcomes[outcome]}</span>
      </span>
      <div class="grow">
        <p class="name">
          {deed === undefined ? what : t.deeds[deed]} {target !== '' && <span dir="auto">{target}</span>}
        </p>
        <p class="facts">
          <time dateTime={at}>{formatDate(at, language.value)}</time> ·{' '}
          <span dir="auto">{whoWords(who)}</span>
          {address !== '' && ` · ${address}`}
          {deed !== undefined && <code class="raw">{what}</code>}
        </p>
      </div>
    </li>
  )
}

function whoWords(who: string): string {
  const t = texts.value
  switch (who) {
    case 'local':
      return t.whoLocal
    case 'anonymous':
      return t.whoNobody
    default:
      return who
  }
}

function outcomeOf(search: string): Outcome | '' {
  const asked = new URLSearchParams(search).get('outcome')
  return OUTCOMES.find(name => name === asked) ?? ''
}
