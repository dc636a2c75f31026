/** Makes a webhook, and shows its secret this once. */
import type { WebhookEvent } from '@tributary/gateway/contract'
import { useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { CopyField } from '../library/share-dialog.tsx'
import { Dialog } from '../parts/dialog.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { texts } from '../settings.ts'

const EVENTS: readonly WebhookEvent[] = ['stored', 'ready', 'deleted', 'degraded']
const URL_LENGTH_MAX = 1_000

export function NewWebhookDialog({
  applications,
  onClose
}: {
  applications: readonly string[]
  onClose(): void
}) {
  const t = texts.value
  const [url, setUrl] = useState('')
  const [application, setApplication] = useState('')
  const [events, setEvents] = useState<readonly WebhookEvent[]>(['stored', 'deleted'])
  const [secret, setSecret] = useState('')
  const [trouble, setTrouble] = useState('')
  const make = async (): Promise<void> => {
    setTrouble('')
    const body = { url: url.trim(), events: [...events], ...(application !== '' && { application }) }
    try {
      setSecret((await call('POST /api/v1/webhooks', { body })).secret)
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  if (secret !== '') {
    return (
      <Dialog title={t.webhookNew} onClose={onClose}>
        <p>{t.webhookMade}</p>
        <CopyField label={t.webhookSecret} value={secret} said={t.secretCopied} />
        <p class="facts">{t.webhookSecretHint}</p>
        <div class="row end">
          <button type="button" class="primary" onClick={onClose}>
            {t.done}
          </button>
        </div>
      </Dialog>
    )
  }
  return (
    <Dialog title={t.webhookNew} onClose={onClose}>
      <form
        class="form"
        onSubmit={event => {
          event.preventDefault()
          void make()
        }}
      >
        <label>
          <span>{t.webhookUrl}</span>
          <input
            type="url"
            required
            autofocus
            maxLength={URL_LENGTH_MAX}
            placeholder="https://example.org/films"
            value={url}
            onInput={event => setUrl(event.currentTarget.value)}
          />
          <small>{t.webhookUrlHint}</small>
        </label>
        <fieldset>
          <legend>{t.webhookTells}</legend>
          {EVENTS.map(name => (
            <label key={name} class="check">
              <input
                type="checkbox"
                checked={events.includes(name)}
                onChange={event =>
                  setEvents(
                    event.currentTarget.checked
                      ? EVENTS.filter(one => one === name || events.includes(one))
                      : events.filter(one => one !== name)
                  )
                }
              />
              <span>{t.webhookEvents[name]}</span>
            </label>
          ))}
        </fieldset>
        <label>
          <span>{t.application}</span>
          <input
            list="webhook-applications"
            pattern="[A-Za-z0-9]{1,15}"
            placeholder={t.everywhere}
            value={application}
            onInput={event => setApplication(event.currentTarget.value)}
          />
          <datalist id="webhook-applications">
            {applications.map(one => (
              <option key={one} value={one} />
            ))}
          </datalist>
        </label>
        {trouble !== '' && (
          <p class="note bad" role="alert">
            {trouble}
          </p>
        )}
        <div class="row end">
          <button type="button" onClick={onClose}>
            {t.cancel}
          </button>
          <button type="submit" class="primary" disabled={events.length === 0}>
            {t.webhookMake}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
