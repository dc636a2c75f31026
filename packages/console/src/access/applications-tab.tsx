/** Who may watch, by application. */
import type { ApplicationRules } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { reach } from '../api/session.ts'
import { sentenceOf } from '../parts/failure.ts'
import { say } from '../parts/sayings.tsx'
import { texts } from '../settings.ts'
import { readRules } from './rules.ts'
import { TabHead } from './tab-head.tsx'

export function ApplicationsTab() {
  const t = texts.value
  const [rules, setRules] = useState<readonly ApplicationRules[]>([])
  const [trouble, setTrouble] = useState('')
  const load = async (): Promise<void> => {
    try {
      setRules(await readRules(reach.value))
      setTrouble('')
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  useEffect(() => void load(), [])
  const set = async (application: string, reads: ApplicationRules['reads']): Promise<void> => {
    try {
      await call('PATCH /api/v1/applications/{application}', { application, body: { reads } })
      say(t.saved)
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
    await load()
  }
  const names = { open: t.readsOpen, token: t.readsToken, signed: t.readsSigned }
  return (
    <>
      <TabHead hint={t.applicationsHint} trouble={trouble} />
      <ul class="rows" id="application-list">
        {rules
          .filter(({ application }) => reach.value.mayChange(application))
          .map(({ application, reads }) => (
            <li key={application} class="row-card">
              <p class="name grow">{application}</p>
              <label class="inline">
                <span>{t.whoWatches}</span>
                <select
                  value={reads}
                  aria-label={`${t.whoWatches}: ${application}`}
                  onChange={event =>
                    void set(application, event.currentTarget.value as ApplicationRules['reads'])
                  }
                >
                  {Object.entries(names).map(([key, name]) => (
                    <option key={key} value={key}>
                      {name}
                    </option>
                  ))}
                </select>
              </label>
            </li>
          ))}
      </ul>
    </>
  )
}
