/** Log-in by a token: as a page, and as a question in the middle of something. */
import { useState } from 'preact/hooks'
import { ApiError } from '../api/http.ts'
import { logIn } from '../api/session.ts'
import { question } from '../api/sign-in.ts'
import { Dialog } from '../parts/dialog.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { FormEnd } from '../parts/form-end.tsx'
import { follow, query } from '../place.ts'
import { texts } from '../settings.ts'

export function LoginPage() {
  const t = texts.value
  return (
    <div class="narrow card">
      <h1 tabIndex={-1}>{t.logInTitle}</h1>
      <LoginForm onDone={() => follow(pathBack(query.value), { replace: true })} />
    </div>
  )
}

export function LoginDialog() {
  const asked = question.value
  if (!asked) return null
  return (
    <Dialog title={texts.value.logInTitle} onClose={() => asked.answer(false)}>
      <LoginForm onDone={() => asked.answer(true)} onCancel={() => asked.answer(false)} />
    </Dialog>
  )
}

function LoginForm({ onDone, onCancel }: { onDone(): void; onCancel?(): void }) {
  const t = texts.value
  const [token, setToken] = useState('')
  const [trouble, setTrouble] = useState('')
  const [busy, setBusy] = useState(false)
  const send = async (): Promise<void> => {
    setBusy(true)
    setTrouble('')
    try {
      await logIn(token.trim())
      onDone()
    } catch (error) {
      setTrouble(error instanceof ApiError && error.status === 401 ? t.logInWrong : sentenceOf(error))
      setBusy(false)
    }
  }
  return (
    <form
      class="form"
      onSubmit={event => {
        event.preventDefault()
        void send()
      }}
    >
      <p>{t.logInHint}</p>
      <label>
        <span>{t.token}</span>
        <input
          type="password"
          required
          autofocus
          autocomplete="current-password"
          maxLength={512}
          value={token}
          onInput={event => setToken(event.currentTarget.value)}
        />
      </label>
      <FormEnd trouble={trouble} submit={t.logIn} disabled={busy} onCancel={onCancel} />
    </form>
  )
}

/** Only a path of ours: an address must not lead elsewhere after the log-in. */
function pathBack(search: string): string {
  const to = new URLSearchParams(search).get('to') ?? '/'
  return /^\/(?![/\\])/.test(to) && !to.startsWith('/login') ? to : '/'
}
