/** Ways to let others watch a film. */
import type { Film, Share } from '@tributary/gateway/contract'
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { formatDate } from '../format.ts'
import { IconButton } from '../parts/button.tsx'
import { copy } from '../parts/copy.ts'
import { Dialog } from '../parts/dialog.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { addressOf } from '../router.ts'
import { language, texts } from '../settings.ts'
import { escapeAttribute } from './embed-code.ts'

const HOUR_S = 3_600
const DAY_S = 86_400

export function ShareDialog({ film, onClose }: { film: Film; onClose(): void }) {
  const t = texts.value
  const { application, user, file } = film
  const key = { application, user, file }
  const [expiresInS, setExpiresInS] = useState(7 * DAY_S)
  const [password, setPassword] = useState('')
  const [made, setMade] = useState<Share | undefined>(undefined)
  const [shares, setShares] = useState<readonly Share[]>([])
  const [trouble, setTrouble] = useState('')
  const periods: readonly (readonly [number, string])[] = [
    [HOUR_S, t.shareHour],
    [DAY_S, t.shareDay],
    [7 * DAY_S, t.shareWeek],
    [30 * DAY_S, t.shareMonth]
  ]
  useEffect(() => {
    call('GET /api/v1/films/{application}/{user}/{file}/shares', key).then(
      answer => setShares(answer.shares),
      () => {} // making one will say why
    )
  }, [made])
  const make = async (): Promise<void> => {
    setTrouble('')
    try {
      const body = { expiresInS, ...(password !== '' && { password }) }
      setMade(await call('POST /api/v1/films/{application}/{user}/{file}/shares', { ...key, body }))
      setPassword('')
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  const end = async (share: Share): Promise<void> => {
    try {
      await call('DELETE /api/v1/shares/{id}', { id: share.id })
      setShares(shares.filter(({ id }) => id !== share.id))
      if (made?.id === share.id) setMade(undefined)
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  const frame = new URL(addressOf({ name: 'embed', ...key }), location.href).href
  const code = `<iframe src="${escapeAttribute(frame)}" width="960" height="540" allow="autoplay; fullscreen; picture-in-picture" allowfullscreen></iframe>`
  return (
    <Dialog title={t.shareTitle} onClose={onClose} wide>
      <p class="name" dir="auto">
        {film.title}
      </p>
      <CopyField
        label={t.copyLink}
        value={new URL(addressOf({ name: 'watch', ...key }), location.href).href}
      />
      <fieldset class="form">
        <legend>{t.shareLink}</legend>
        <p class="facts">{t.shareHint}</p>
        <div class="row wrap">
          <label>
            <span>{t.shareFor}</span>
            <select value={expiresInS} onChange={event => setExpiresInS(Number(event.currentTarget.value))}>
              {periods.map(([seconds, name]) => (
                <option key={seconds} value={seconds}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <label>
            <span>{t.sharePassword}</span>
            <input
              type="text"
              autocomplete="off"
              maxLength={200}
              value={password}
              onInput={event => setPassword(event.currentTarget.value)}
            />
          </label>
          <button type="button" class="primary" onClick={() => void make()}>
            {t.shareMake}
          </button>
        </div>
        {trouble !== '' && (
          <p class="note bad" role="alert">
            {trouble}
          </p>
        )}
        {made && (
          <div class="note good" role="status">
            {made.expiresAt && <p>{t.shareMade(formatDate(made.expiresAt, language.value))}</p>}
            <CopyField label={t.shareLink} value={new URL(made.url, location.href).href} />
          </div>
        )}
        {shares.length > 0 && (
          <ul class="plain-list">
            {shares.map(share => (
              <li key={share.id} class="row">
                <span class="grow">
                  {share.expiresAt ? t.shareMade(formatDate(share.expiresAt, language.value)) : t.never}
                  {share.hasPassword && ` · ${t.password}`}
                </span>
                <IconButton
                  icon="link"
                  label={t.copyLink}
                  onClick={() => void copy(new URL(share.url, location.href).href)}
                />
                <IconButton icon="close" label={t.shareEnd} kind="bad" onClick={() => void end(share)} />
              </li>
            ))}
          </ul>
        )}
      </fieldset>
      <CopyField label={t.shareEmbed} value={code} />
    </Dialog>
  )
}

export function CopyField({ label, value, said }: { label: string; value: string; said?: string }) {
  const field = useRef<HTMLInputElement>(null)
  const id = useId()
  return (
    <div class="copy-field">
      <label for={id}>{label}</label>
      <div class="row">
        <input ref={field} id={id} readOnly value={value} onFocus={event => event.currentTarget.select()} />
        <button type="button" onClick={() => void copy(value, said, field.current)}>
          {texts.value.copy}
        </button>
      </div>
    </div>
  )
}
