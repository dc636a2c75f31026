/** What is behind a share link: the film, once its password was given where it has one. */
import type { OpenedShare } from '@tributary/gateway/contract'
import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { ApiError } from '../api/http.ts'
import { sentenceOf } from '../parts/failure.ts'
import { texts } from '../settings.ts'

export function SharedFilm({ id, render }: { id: string; render(search: string): ComponentChildren }) {
  const t = texts.value
  const [search, setSearch] = useState('')
  const [asksPassword, setAsksPassword] = useState(false)
  const [title, setTitle] = useState<string | null>(null)
  const [password, setPassword] = useState('')
  const [trouble, setTrouble] = useState('')
  const [busy, setBusy] = useState(true)

  const open = async (given?: string): Promise<void> => {
    setBusy(true)
    setTrouble('')
    try {
      const body = given === undefined ? {} : { password: given }
      const opened: OpenedShare = await call('POST /api/v1/shares/{id}/open', { id, body })
      setTitle(opened.title)
      if (opened.links) return setSearch(new URL(opened.links.watch, location.href).search)
      setAsksPassword(true)
      if (given !== undefined) setTrouble(texts.value.shareWrong)
    } catch (error) {
      setTrouble(wordsOf(error, given !== undefined))
    }
    setBusy(false)
  }
  useEffect(() => void open(), [id])

  if (search !== '') return <>{render(search)}</>
  return (
    <div class="narrow card">
      <h1 tabIndex={-1} dir="auto">
        {title ?? t.library}
      </h1>
      {busy && !asksPassword && <p class="facts">{t.loading}</p>}
      {asksPassword && (
        <form
          class="form"
          onSubmit={event => {
            event.preventDefault()
            void open(password)
          }}
        >
          <p>
            {t.shareAsk} {t.shareAskHint}
          </p>
          <label>
            <span>{t.password}</span>
            <input
              type="password"
              required
              autofocus
              autocomplete="off"
              maxLength={200}
              value={password}
              onInput={event => setPassword(event.currentTarget.value)}
            />
          </label>
          <div class="row end">
            <button type="submit" class="primary" disabled={busy}>
              {t.shareOpen}
            </button>
          </div>
        </form>
      )}
      {trouble !== '' && (
        <p class="note bad" role="alert">
          {trouble}
        </p>
      )}
    </div>
  )
}

function wordsOf(error: unknown, gavePassword: boolean): string {
  if (!(error instanceof ApiError)) return sentenceOf(error)
  if (error.status === 404 || error.status === 410) return texts.value.shareOver
  if (gavePassword && (error.status === 401 || error.status === 403)) return texts.value.shareWrong
  return sentenceOf(error)
}
