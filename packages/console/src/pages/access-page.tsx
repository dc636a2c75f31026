/** Who may do what: tokens, and the rules of the applications. */
import type { ApplicationRules, BodyOf, EndpointOf, Grant, Token } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { formatDate, formatDay } from '../format.ts'
import { CopyField } from '../library/share-dialog.tsx'
import { confirm } from '../parts/confirm.tsx'
import { Dialog } from '../parts/dialog.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { Icon } from '../parts/icon.tsx'
import { say } from '../parts/sayings.tsx'
import { language, texts } from '../settings.ts'
import type { Strings } from '../strings/en.ts'

type Right = Grant['rights'][number]
type NewToken = BodyOf<EndpointOf<'POST /api/v1/tokens'>>

const RIGHTS: readonly Right[] = ['read', 'write', 'admin']
const DAY_S = 86_400
const EVERYTHING = '*'

export function AccessPage() {
  const t = texts.value
  const [tokens, setTokens] = useState<readonly Token[] | undefined>(undefined)
  const [rules, setRules] = useState<readonly ApplicationRules[]>([])
  const [trouble, setTrouble] = useState('')
  const [making, setMaking] = useState(false)
  const load = async (): Promise<void> => {
    setTrouble('')
    try {
      setTokens((await call('GET /api/v1/tokens', {})).tokens)
      setRules((await call('GET /api/v1/applications', {})).applications)
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
      <div class="page-head">
        <h1 tabIndex={-1}>{t.access}</h1>
        <div class="tools">
          {tokens && (
            <button type="button" class="primary" onClick={() => setMaking(true)}>
              <Icon name="plus" />
              <span>{t.tokenNew}</span>
            </button>
          )}
        </div>
      </div>
      <p class="facts">{t.accessHint}</p>
      {trouble !== '' && (
        <p class="note bad" role="alert">
          {trouble}
        </p>
      )}
      <h2>{t.tokens}</h2>
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
      {rules.length > 0 && <Applications rules={rules} onChange={() => void load()} />}
      {making && (
        <NewTokenDialog
          applications={rules.map(({ application }) => application)}
          onClose={() => {
            setMaking(false)
            void load()
          }}
        />
      )}
    </>
  )
}

function Applications({ rules, onChange }: { rules: readonly ApplicationRules[]; onChange(): void }) {
  const t = texts.value
  const set = async (application: string, reads: ApplicationRules['reads']): Promise<void> => {
    try {
      await call('PATCH /api/v1/applications/{application}', { application, body: { reads } })
      say(t.saved)
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
    onChange()
  }
  const names = { open: t.readsOpen, token: t.readsToken, signed: t.readsSigned }
  return (
    <>
      <h2>{t.applications}</h2>
      <ul class="rows">
        {rules.map(({ application, reads }) => (
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
        <fieldset>
          <legend>{t.rights}</legend>
          {RIGHTS.map(right => (
            <label key={right} class="check">
              <input
                type="checkbox"
                checked={rights.includes(right)}
                onChange={event =>
                  setRights(
                    event.currentTarget.checked
                      ? RIGHTS.filter(one => one === right || rights.includes(one))
                      : rights.filter(one => one !== right)
                  )
                }
              />
              <span>{names[right]}</span>
            </label>
          ))}
        </fieldset>
        <div class="row wrap">
          <label>
            <span>{t.application}</span>
            <input
              list="token-applications"
              pattern="[A-Za-z0-9]{1,15}"
              placeholder={t.everywhere}
              value={application}
              onInput={event => setApplication(event.currentTarget.value)}
            />
            <datalist id="token-applications">
              {applications.map(one => (
                <option key={one} value={one} />
              ))}
            </datalist>
          </label>
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
        {trouble !== '' && (
          <p class="note bad" role="alert">
            {trouble}
          </p>
        )}
        <div class="row end">
          <button type="button" onClick={onClose}>
            {t.cancel}
          </button>
          <button type="submit" class="primary" disabled={rights.length === 0}>
            {t.tokenMake}
          </button>
        </div>
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
