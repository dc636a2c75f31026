/** Tokens, each with its rights. */
import type { BodyOf, EndpointOf, Grant, Token } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { reach } from '../api/session.ts'
import { formatDate, formatDay } from '../format.ts'
import { CopyField } from '../library/share-dialog.tsx'
import { confirm } from '../parts/confirm.tsx'
import { Dialog } from '../parts/dialog.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { FormEnd } from '../parts/form-end.tsx'
import { Icon } from '../parts/icon.tsx'
import { say } from '../parts/sayings.tsx'
import { language, texts } from '../settings.ts'
import type { Strings } from '../strings/en.ts'
import { readRules } from './rules.ts'
import { TabHead } from './tab-head.tsx'
import { ApplicationField, CheckList } from './fields.tsx'

type Right = Grant['rights'][number]
type NewToken = BodyOf<EndpointOf<'POST /api/v1/tokens'>>

const RIGHTS: readonly Right[] = ['read', 'write', 'admin']
const DAY_S = 86_400
const EVERYTHING = '*'

export function TokensTab() {
  const t = texts.value
  const [tokens, setTokens] = useState<readonly Token[] | undefined>(undefined)
  const [applications, setApplications] = useState<readonly string[]>([])
  const [trouble, setTrouble] = useState('')
  const [making, setMaking] = useState(false)
  const load = async (): Promise<void> => {
    setTrouble('')
    try {
      setTokens((await call('GET /api/v1/tokens', {})).tokens)
      setApplications((await readRules(reach.value)).map(({ application }) => application))
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  useEffect(() => void load(), [])
  const revoke = async ({ id, name }: Token): Promise<void> => {
    if (!(await confirm({ title: t.revokeTitle, hint: t.revokeHint, name, yes: t.revoke }))) return
    try {
      await call('DELETE /api/v1/tokens/{id}', { id })
      say(t.revoked(name))
      await load()
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
  }
  const live = tokens?.filter(({ revokedAt }) => revokedAt === null)
  return (
    <>
      <TabHead hint={t.accessHint} trouble={trouble}>
        {tokens && (
          <button type="button" class="primary" onClick={() => setMaking(true)}>
            <Icon name="plus" />
            <span>{t.tokenNew}</span>
          </button>
        )}
      </TabHead>
      {live?.length === 0 && (
        <div class="empty">
          <Icon name="key" large />
          <p>{t.tokensNone}</p>
        </div>
      )}
      <ul class="rows" id="token-list">
        {live?.map(token => (
          <li key={token.id} class="row-card">
            <div class="grow">
              <p class="name" dir="auto">
                {token.name}
              </p>
              {token.grants.map((grant, index) => (
                <p key={index} class="facts">
                  {grantWords(grant, t)}
                </p>
              ))}
              <p class="facts">
                {[
                  `${t.expires}: ${token.expiresAt === null ? t.never : formatDate(token.expiresAt, language.value)}`,
                  token.lastUsedAt !== null && `${t.lastUsed}: ${formatDay(token.lastUsedAt, language.value)}`
                ]
                  .filter(Boolean)
                  .join(' · ')}
              </p>
            </div>
            <button
              type="button"
              class="danger"
              aria-label={t.revokeOf(token.name)}
              onClick={() => void revoke(token)}
            >
              {t.revoke}
            </button>
          </li>
        ))}
      </ul>
      {making && (
        <NewTokenDialog
          applications={applications}
          onClose={() => {
            setMaking(false)
            void load()
          }}
        />
      )}
    </>
  )
}

function NewTokenDialog({ applications, onClose }: { applications: readonly string[]; onClose(): void }) {
  const t = texts.value
  const [name, setName] = useState('')
  const [rights, setRights] = useState<readonly Right[]>(['read'])
  const [application, setApplication] = useState('')
  const [user, setUser] = useState('')
  const [days, setDays] = useState(365)
  const [secret, setSecret] = useState('')
  const [trouble, setTrouble] = useState('')
  const make = async (): Promise<void> => {
    setTrouble('')
    const grant: Grant = {
      application: application === '' ? EVERYTHING : application,
      ...(application !== '' && user !== '' && { user }),
      rights: [...rights]
    }
    const body: NewToken = {
      name: name.trim(),
      grants: [grant],
      ...(days > 0 && { expiresInS: days * DAY_S })
    }
    try {
      setSecret((await call('POST /api/v1/tokens', { body })).secret)
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  if (secret !== '') {
    return (
      <Dialog title={t.tokenNew} onClose={onClose}>
        <p>{t.tokenMade}</p>
        <CopyField label={t.token} value={secret} said={t.tokenCopied} />
        <div class="row end">
          <button type="button" class="primary" onClick={onClose}>
            {t.done}
          </button>
        </div>
      </Dialog>
    )
  }
  const names = { read: t.rightRead, write: t.rightWrite, admin: t.rightAdmin }
  return (
    <Dialog title={t.tokenNew} onClose={onClose}>
      <form
        class="form"
        onSubmit={event => {
          event.preventDefault()
          void make()
        }}
      >
        <label>
          <span>{t.tokenName}</span>
          <input
            required
            autofocus
            maxLength={100}
            value={name}
            onInput={event => setName(event.currentTarget.value)}
          />
          <small>{t.tokenNameHint}</small>
        </label>
        <CheckList legend={t.rights} names={RIGHTS} labels={names} chosen={rights} onChange={setRights} />
        <div class="row wrap">
          <ApplicationField
            listId="token-applications"
            applications={applications}
            value={application}
            onChange={setApplication}
          />
          <label>
            <span>{t.user}</span>
            <input
              maxLength={255}
              placeholder={t.everybody}
              disabled={application === ''}
              value={user}
              onInput={event => setUser(event.currentTarget.value)}
            />
          </label>
          <label>
            <span>{t.expiresAfter}</span>
            <select value={days} onChange={event => setDays(Number(event.currentTarget.value))}>
              <option value={1}>{t.shareDay}</option>
              <option value={30}>{t.days30}</option>
              <option value={365}>{t.days365}</option>
              <option value={0}>{t.never}</option>
            </select>
          </label>
        </div>
        <FormEnd trouble={trouble} submit={t.tokenMake} disabled={rights.length === 0} onCancel={onClose} />
      </form>
    </Dialog>
  )
}

function grantWords({ application, user, rights }: Grant, t: Strings): string {
  const names = { read: t.rightRead, write: t.rightWrite, admin: t.rightAdmin }
  const where =
    application === EVERYTHING
      ? t.everywhere
      : user === undefined
        ? application
        : t.storedBy(user, application)
  return `${rights.map(right => names[right]).join(', ')} · ${where}`
}
