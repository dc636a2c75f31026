/** Who is told what happens. */
import type { Webhook } from '@tributary/gateway/contract'
import { useEffect, useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { reach } from '../api/session.ts'
import { formatCount } from '../format.ts'
import { confirm } from '../parts/confirm.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { Icon } from '../parts/icon.tsx'
import { say } from '../parts/sayings.tsx'
import { language, texts } from '../settings.ts'
import { deliveryWords } from './delivery-words.ts'
import { NewWebhookDialog } from './new-webhook-dialog.tsx'
import { readRules } from './rules.ts'
import { TabHead } from './tab-head.tsx'

/** Deliveries go on while one looks. */
const AGAIN_MS = 3_000

export function WebhooksTab() {
  const t = texts.value
  const [webhooks, setWebhooks] = useState<readonly Webhook[] | undefined>(undefined)
  const [applications, setApplications] = useState<readonly string[]>([])
  const [trouble, setTrouble] = useState('')
  const [making, setMaking] = useState(false)
  const load = async (): Promise<void> => {
    try {
      setWebhooks((await call('GET /api/v1/webhooks', {})).webhooks)
      setTrouble('')
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  useEffect(() => {
    void load()
    readRules(reach.value).then(
      rules => setApplications(rules.map(({ application }) => application)),
      () => {} // they only help to type
    )
    const timer = setInterval(() => {
      if (!document.hidden) void load()
    }, AGAIN_MS)
    return () => clearInterval(timer)
  }, [])
  const remove = async ({ id, url }: Webhook): Promise<void> => {
    const question = { title: t.webhookRemoveTitle, hint: t.webhookRemoveHint, name: url }
    if (!(await confirm({ ...question, yes: t.webhookRemove }))) return
    try {
      await call('DELETE /api/v1/webhooks/{id}', { id })
      say(t.webhookRemoved(url))
      await load()
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
  }
  const test = async ({ id }: Webhook): Promise<void> => {
    try {
      await call('POST /api/v1/webhooks/{id}/test', { id })
      await load()
    } catch (error) {
      say(sentenceOf(error), { bad: true })
    }
  }
  return (
    <>
      <TabHead hint={t.webhooksHint} trouble={trouble}>
        {webhooks && (
          <button type="button" class="primary" onClick={() => setMaking(true)}>
            <Icon name="plus" />
            <span>{t.webhookNew}</span>
          </button>
        )}
      </TabHead>
      {webhooks?.length === 0 && (
        <div class="empty">
          <Icon name="share" large />
          <p>{t.webhooksNone}</p>
        </div>
      )}
      <ul class="rows" id="webhook-list">
        {webhooks?.map(webhook => (
          <WebhookRow
            key={webhook.id}
            webhook={webhook}
            onTest={() => void test(webhook)}
            onRemove={() => void remove(webhook)}
          />
        ))}
      </ul>
      {making && (
        <NewWebhookDialog
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

interface WebhookRowProps {
  webhook: Webhook
  onTest(): void
  onRemove(): void
}

function WebhookRow({ webhook, onTest, onRemove }: WebhookRowProps) {
  const t = texts.value
  const { url, application, events, lastDelivery, waiting } = webhook
  const level = lastDelivery?.state === 'failed' ? 'bad' : lastDelivery?.failure ? 'warn' : 'well'
  return (
    <li class={`row-card is-${level}`}>
      <div class="grow">
        <p class="name" dir="ltr">
          {url}
        </p>
        <p class="facts">
          {[application ?? t.everywhere, events.map(event => t.webhookEvents[event]).join(', ')].join(' · ')}
        </p>
        <p class="delivery">
          {lastDelivery && <span class="dot" aria-hidden="true" />}
          <span>
            {lastDelivery ? deliveryWords(lastDelivery, t, language.value, Date.now()) : t.deliveryNone}
            {waiting > 0 && ` · ${t.deliveriesWait(formatCount(waiting, language.value))}`}
          </span>
        </p>
      </div>
      <button type="button" title={t.webhookTestHint} aria-label={t.webhookTestOf(url)} onClick={onTest}>
        {t.webhookTest}
      </button>
      <button type="button" class="danger" aria-label={t.webhookRemoveOf(url)} onClick={onRemove}>
        {t.webhookRemove}
      </button>
    </li>
  )
}
