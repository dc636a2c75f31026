/** Makes a webhook, and shows its secret this once. */
import type { WebhookEvent } from '@tributary/gateway/contract'
import { useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { CopyField } from '../library/share-dialog.tsx'
import { Dialog } from '../parts/dialog.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { FormEnd } from '../parts/form-end.tsx'
import { texts } from '../settings.ts'
import { ApplicationField, CheckList } from './fields.tsx'

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
        <CheckList
          legend={t.webhookTells}
          names={EVENTS}
          labels={t.webhookEvents}
          chosen={events}
          onChange={setEvents}
        />
        <ApplicationField
          listId="webhook-applications"
          applications={applications}
          value={application}
          onChange={setApplication}
        />
        <FormEnd trouble={trouble} submit={t.webhookMake} disabled={events.length === 0} onCancel={onClose} />
      </form>
    </Dialog>
  )
}
