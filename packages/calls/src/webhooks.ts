/** Webhooks: who is told what happens to films, and what is still to be told. */
import Type, { type Static } from 'typebox'
import { ACCESS_ID } from './access.ts'
import { indexCall } from './call.ts'
import { NOTHING, TIME_MS } from './common.ts'

export const WEBHOOK_EVENTS = ['stored', 'ready', 'deleted', 'degraded'] as const
export type WebhookEvent = (typeof WEBHOOK_EVENTS)[number]
/** Nothing happened: somebody wants to see whether it arrives. It is tried once. */
export const TEST_EVENT = 'test'
export type DeliveryEvent = WebhookEvent | typeof TEST_EVENT
export const WEBHOOKS_MAX = 50
export const WEBHOOK_URL_LENGTH_MAX = 1_000
/** Deliveries that wait; further events are lost to their webhook, and counted. */
export const DELIVERIES_WAITING_MAX = 100_000
/** Deliveries taken by one call. */
export const DELIVERIES_BATCH_MAX = 20
/** A delivery that was taken and not settled is another one's to take after this time. */
export const DELIVERY_CLAIM_MS = 60_000
/** Waits before the second try, the third, and so on; after the last one it has failed. */
export const DELIVERY_WAITS_S = [5, 30, 120, 600, 3_600, 10_800, 21_600, 43_200, 86_400] as const
/** Those that came to an end are kept for so long, to be looked at. */
export const DELIVERIES_KEPT_DAYS = 7

const EVENT = Type.Enum([...WEBHOOK_EVENTS])
const APPLICATION_OR_ALL = Type.String({ pattern: '^[A-Za-z0-9]{0,15}$' })

export const WEBHOOK = Type.Object({
  id: ACCESS_ID,
  url: Type.String(),
  events: Type.Array(EVENT),
  application: APPLICATION_OR_ALL,
  createdAtMs: TIME_MS,
  /** Deliveries that wait, and that were given up. */
  waiting: Type.Integer({ minimum: 0 }),
  failed: Type.Integer({ minimum: 0 })
})
export type WebhookEntry = Static<typeof WEBHOOK>

export const DELIVERY = Type.Object({
  id: Type.String({ pattern: '^[0-9a-f]{32}$' }),
  webhook: ACCESS_ID,
  event: Type.Enum([...WEBHOOK_EVENTS, TEST_EVENT]),
  body: Type.String(),
  createdAtMs: TIME_MS,
  /** Tries so far. */
  tries: Type.Integer({ minimum: 0 }),
  state: Type.Enum(['waiting', 'done', 'failed']),
  /** When it is tried next; of one that ended: when it did. */
  dueAtMs: TIME_MS,
  /** Why the last try failed; empty: it did not. */
  failure: Type.String()
})
export type DeliveryEntry = Static<typeof DELIVERY>
const TAKEN = Type.Object({
  ...DELIVERY.properties,
  url: Type.String(),
  secret: Type.String()
})
export type TakenDelivery = Static<typeof TAKEN>

export const webhookCalls = {
  'webhooks.list': indexCall('safe', Type.Object({}), Type.Object({ webhooks: Type.Array(WEBHOOK) })),
  'webhooks.create': indexCall(
    'safe',
    Type.Object({
      id: ACCESS_ID,
      url: Type.String({ minLength: 1, maxLength: WEBHOOK_URL_LENGTH_MAX }),
      secret: Type.String({ minLength: 16, maxLength: 200 }),
      events: Type.Array(EVENT, { minItems: 1, maxItems: WEBHOOK_EVENTS.length }),
      application: APPLICATION_OR_ALL
    }),
    NOTHING
  ),
  /** With what is still to be delivered to it. */
  'webhooks.remove': indexCall('safe', Type.Object({ id: ACCESS_ID }), NOTHING),
  /** A delivery for it alone. `delivery` is the sender's, so that asking twice sends once. */
  'webhooks.test': indexCall(
    'safe',
    Type.Object({ id: ACCESS_ID, delivery: Type.String({ pattern: '^[0-9a-f]{32}$' }) }),
    NOTHING
  ),
  /**
   * Something happened: a delivery for each webhook that wants to know. `id` is the sender's, so that asking twice tells
   * once; an event of the same id is one, whoever tells it.
   */
  'events.tell': indexCall(
    'safe',
    Type.Object({
      id: Type.String({ pattern: '^[0-9a-f]{32}$' }),
      event: EVENT,
      application: APPLICATION_OR_ALL,
      body: Type.String({ maxLength: 16_000 })
    }),
    NOTHING
  ),
  /** Takes what is due: nobody else gets it for DELIVERY_CLAIM_MS. */
  'deliveries.take': indexCall(
    'ask-first',
    Type.Object({ holder: Type.String({ minLength: 1, maxLength: 64 }) }),
    Type.Object({ deliveries: Type.Array(TAKEN) })
  ),
  /** How it went; of one that somebody else has taken since, nothing is noted. */
  'deliveries.settle': indexCall(
    'safe',
    Type.Object({
      id: Type.String({ pattern: '^[0-9a-f]{32}$' }),
      holder: Type.String({ minLength: 1, maxLength: 64 }),
      /** Empty: it was taken. */
      failure: Type.String({ maxLength: 300 })
    }),
    NOTHING
  ),
  'deliveries.list': indexCall(
    'safe',
    Type.Object({ webhook: ACCESS_ID, limit: Type.Integer({ minimum: 1, maximum: 100 }) }),
    Type.Object({ deliveries: Type.Array(DELIVERY) })
  )
}
