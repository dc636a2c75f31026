/** Webhooks: events come in, deliveries go out to whoever asks for work. */
import {
  DELIVERIES_BATCH_MAX,
  DELIVERIES_KEPT_DAYS,
  DELIVERIES_WAITING_MAX,
  DELIVERY_CLAIM_MS,
  DELIVERY_WAITS_S,
  eventOf,
  TEST_EVENT,
  WEBHOOKS_MAX,
  type DeliveryEntry,
  type TakenDelivery,
  type WebhookEntry
} from '@tributary/calls'
import type { DeliveryRow, WebhookRow } from '@tributary/database'
import { RejectedError } from '@tributary/protocol'
import type { CallHandlers } from './call-dispatcher.ts'
import { enterEvents } from './event-book.ts'
import type { IndexParts } from './index-parts.ts'
import { whenReady } from './ready-handlers.ts'

type WebhookCallName = Extract<
  keyof CallHandlers,
  `webhooks.${string}` | `events.${string}` | `deliveries.${string}`
>

const DAY_MS = 86_400_000
const UPKEEP_INTERVAL_MS = 600_000

export function webhookHandlers({
  database: { access },
  clock
}: Pick<IndexParts, 'database' | 'clock'>): CallHandlers<WebhookCallName> {
  const { webhooks } = access
  let keptUpMs = -Infinity

  return whenReady(access, {
    async 'webhooks.list'() {
      const [rows, counts] = await Promise.all([webhooks.list(), webhooks.counts()])
      return {
        webhooks: rows.map(({ secret: _secret, ...row }) => {
          const { waiting, failed } = counts.get(row.id) ?? { waiting: 0, failed: 0 }
          return { ...row, events: row.events as WebhookEntry['events'], waiting, failed }
        })
      }
    },

    async 'webhooks.create'(webhook) {
      const known = await webhooks.list()
      if (known.length >= WEBHOOKS_MAX && !known.some(({ id }) => id === webhook.id)) {
        throw new RejectedError('TOO_MANY_ENTRIES', `there are ${WEBHOOKS_MAX} webhooks already`)
      }
      const row: WebhookRow = { ...webhook, createdAtMs: clock.nowMs() }
      if (
        !(await webhooks.add(row)) &&
        known.find(({ id }) => id === webhook.id)?.secret !== webhook.secret
      ) {
        throw new RejectedError('ENTRY_EXISTS', `another webhook has the id ${webhook.id}`)
      }
      return {}
    },

    async 'webhooks.remove'({ id }) {
      if (!(await webhooks.list()).some(webhook => webhook.id === id)) throw noSuchWebhook(id)
      await webhooks.remove(id)
      return {}
    },

    async 'webhooks.test'({ id, delivery }) {
      const [known, counts] = await Promise.all([webhooks.list(), webhooks.counts()])
      const webhook = known.find(each => each.id === id)
      if (!webhook) throw noSuchWebhook(id)
      if ((counts.get(id)?.waiting ?? 0) >= DELIVERIES_WAITING_MAX) {
        throw new RejectedError('TOO_MANY_ENTRIES', `${DELIVERIES_WAITING_MAX} deliveries wait already`)
      }
      const nowMs = clock.nowMs()
      const { application } = webhook
      const event = eventOf({ event: TEST_EVENT, application, facts: {}, identity: delivery }, nowMs)
      await webhooks.tell([id], { ...event, nowMs })
      return {}
    },

    async 'events.tell'(event) {
      await enterEvents(webhooks, [event], clock.nowMs())
      return {}
    },

    async 'deliveries.take'({ holder }) {
      const nowMs = clock.nowMs()
      if (clock.monotonicMs() - keptUpMs >= UPKEEP_INTERVAL_MS) {
        keptUpMs = clock.monotonicMs()
        await webhooks.forgetEnded(nowMs - DELIVERIES_KEPT_DAYS * DAY_MS)
      }
      const byId = new Map((await webhooks.list()).map(webhook => [webhook.id, webhook]))
      const taken = await webhooks.take(holder, nowMs, nowMs + DELIVERY_CLAIM_MS, DELIVERIES_BATCH_MAX)
      return {
        deliveries: taken.flatMap((row): TakenDelivery[] => {
          const webhook = byId.get(row.webhook)
          return webhook ? [{ ...entryOf(row), url: webhook.url, secret: webhook.secret }] : []
        })
      }
    },

    async 'deliveries.settle'({ id, holder, failure }) {
      const row = await webhooks.delivery(id)
      if (!row) return {}
      const nowMs = clock.nowMs()
      if (failure === '') {
        await webhooks.settle(id, holder, { state: 'done', dueAtMs: nowMs, failure })
        return {}
      }
      // Of a test one wants to know now; and it says nothing that somebody has to hear later.
      const waitS = row.event === TEST_EVENT ? undefined : DELIVERY_WAITS_S[row.tries - 1]
      await webhooks.settle(
        id,
        holder,
        waitS === undefined
          ? { state: 'failed', dueAtMs: nowMs, failure }
          : { state: 'waiting', dueAtMs: nowMs + waitS * 1_000, failure }
      )
      return {}
    },

    async 'deliveries.list'({ webhook, limit }) {
      return { deliveries: (await webhooks.deliveriesOf(webhook, limit)).map(entryOf) }
    }
  })
}

function noSuchWebhook(id: string): RejectedError {
  return new RejectedError('NO_SUCH_ENTRY', `there is no webhook ${id}`)
}

function entryOf(row: DeliveryRow): DeliveryEntry {
  return {
    ...row,
    event: row.event as DeliveryEntry['event'],
    state: row.state as DeliveryEntry['state']
  }
}
