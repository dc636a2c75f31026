/** Asks for the token that a write needs. */
import { useState } from 'preact/hooks'
import { question } from '../api/sign-in.ts'
import { Dialog } from '../parts/dialog.tsx'
import { texts } from '../settings.ts'

export function TokenDialog() {
  const [token, setToken] = useState('')
  const asked = question.value
  if (!asked) return null
  const t = texts.value
  const answer = (given: string | undefined): void => {
    setToken('')
    asked.answer(given)
  }
  return (
    <Dialog title={t.tokenTitle} onClose={() => answer(undefined)}>
      <form
        class="form"
        onSubmit={event => {
          event.preventDefault()
          answer(token.trim())
        }}
      >
        {asked.wrong && (
          <p class="bad" role="alert">
            {t.tokenWrong}
          </p>
        )}
        <p>{t.tokenHint}</p>
        <label>
          <span>{t.token}</span>
          <input
            type="password"
            autocomplete="off"
            autofocus
            value={token}
            onInput={event => setToken(event.currentTarget.value)}
          />
        </label>
        <div class="row end">
          <button type="button" onClick={() => answer(undefined)}>
            {t.cancel}
          </button>
          <button type="submit" class="primary">
            {t.ok}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
