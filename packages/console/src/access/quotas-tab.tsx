/** How much may be stored, and how much is. */
import type { ApplicationRules, EndpointOf, ReplyOf } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { reach } from '../api/session.ts'
import { formatBytes, formatCount } from '../format.ts'
import { confirm } from '../parts/confirm.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { say } from '../parts/sayings.tsx'
import { language, texts } from '../settings.ts'
import { QuotaBar } from './quota-bar.tsx'
import { QuotaDialog } from './quota-dialog.tsx'
import { hasQuotas, NO_QUOTAS } from './quota-figures.ts'
import { QuotaUsers } from './quota-users.tsx'
import { readRules } from './rules.ts'
import { TabHead } from './tab-head.tsx'

type Usage = ReplyOf<EndpointOf<'GET /api/v1/usage'>>

export function QuotasTab() {
  const t = texts.value
  const [rules, setRules] = useState<readonly ApplicationRules[]>([])
  const [trouble, setTrouble] = useState('')
  const [changing, setChanging] = useState<ApplicationRules | undefined>(undefined)
  const load = async (): Promise<void> => {
    try {
      setRules(await readRules(reach.value))
      setTrouble('')
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  useEffect(() => void load(), [])
  const remove = async ({ application }: ApplicationRules): Promise<void> => {
    const question = { title: t.quotaRemoveTitle, hint: t.quotaRemoveHint, name: application }
    if (!(await confirm({ ...question, yes: t.quotaRemove }))) return
    try {
      await call('PATCH /api/v1/applications/{application}', { application, body: NO_QUOTAS })
      say(t.quotaRemoved(application))
      await load()
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
  }
  return (
    <>
      <TabHead hint={t.quotasHint} trouble={trouble} />
      <ul class="rows" id="quota-list">
        {rules.map(one => (
          <li key={one.application} class="row-card quota">
            <div class="quota-head">
              <h2 class="name grow">{one.application}</h2>
              {reach.value.mayChange(one.application) && (
                <>
                  <button
                    type="button"
                    aria-label={t.quotaSetOf(one.application)}
                    onClick={() => setChanging(one)}
                  >
                    {t.quotaSet}
                  </button>
                  {hasQuotas(one) && (
                    <button
                      type="button"
                      class="danger"
                      aria-label={t.quotaRemoveOf(one.application)}
                      onClick={() => void remove(one)}
                    >
                      {t.quotaRemove}
                    </button>
                  )}
                </>
              )}
            </div>
            <Used rules={one} />
          </li>
        ))}
      </ul>
      {changing && (
        <QuotaDialog
          rules={changing}
          onClose={() => {
            setChanging(undefined)
            void load()
          }}
        />
      )}
    </>
  )
}

function Used({ rules }: { rules: ApplicationRules }) {
  const t = texts.value
  const { application, bytesMax, filesMax, userBytesMax, userFilesMax, requestsPerS } = rules
  const [usage, setUsage] = useState<Usage | undefined>(undefined)
  const [trouble, setTrouble] = useState('')
  useEffect(() => {
    call('GET /api/v1/usage', { query: { application } }).then(setUsage, error =>
      setTrouble(sentenceOf(error))
    )
  }, [application])
  const bytes = (figure: number): string => formatBytes(figure, language.value)
  const count = (figure: number): string => formatCount(figure, language.value)
  const perUser = [
    userBytesMax !== null && bytes(userBytesMax),
    userFilesMax !== null && t.filesOf(count(userFilesMax), userFilesMax === 1)
  ].filter(part => part !== false)
  const facts = [
    perUser.length > 0 && t.quotaPerUser(perUser.join(', ')),
    requestsPerS !== null && t.quotaRate(count(requestsPerS)),
    usage && usage.trashedFiles > 0 && t.quotaTrash(bytes(usage.trashedBytes))
  ].filter(Boolean)
  return (
    <>
      {trouble !== '' && <p class="facts bad">{trouble}</p>}
      {usage && (
        <div class="quota-bars">
          <QuotaBar name={t.space} of={application} used={usage.bytes} most={bytesMax} format={bytes} />
          <QuotaBar name={t.files} of={application} used={usage.files} most={filesMax} format={count} />
        </div>
      )}
      {facts.length > 0 && <p class="facts">{facts.join(' · ')}</p>}
      {perUser.length > 0 && reach.value.applications === '*' && <QuotaUsers rules={rules} />}
    </>
  )
}
