import { createHash } from 'node:crypto'
import { sql, type Selectable } from 'kysely'
import type { DeliveriesTable } from './access-schema.ts'
import { insertNew, statement, type Control } from './control.ts'
import { textOf } from './file-record.ts'
import { safeIntegerOf } from './file-row.ts'

export interface WebhookRow {
  id: string
  url: string
  secret: string
  events: string[]
  /** Empty: all. */
  application: string
  createdAtMs: number
}

export interface DeliveryRow {
  id: string
  webhook: string
  event: string
  body: string
  createdAtMs: number
  tries: number
  state: string
  dueAtMs: number
  failure: string
}

const ID_CHARACTERS = 32

/** Who is told of events, and what is still to be told. */
export class Webhooks {
  readonly #control: Control

  constructor(control: Control) {
    this.#control = control
  }

  async list(): Promise<WebhookRow[]> {
    const rows = await this.#control.queries
      .selectFrom('webhooks')
      .selectAll()
      .orderBy('created_at_ms')
      .orderBy('id')
      .execute()
    return rows.map(row => ({
      id: textOf(row.id),
      url: textOf(row.url),
      secret: textOf(row.secret),
      events: textOf(row.events).split(','),
      application: textOf(row.application),
      createdAtMs: safeIntegerOf(row.created_at_ms)
    }))
  }

  /** @returns false: there is one of this id. */
  async add({ id, url, secret, events, application, createdAtMs }: WebhookRow): Promise<boolean> {
    const outcome = await this.#control.change(
      statement(
        insertNew(this.#control, 'webhooks', {
          id,
          url,
          secret,
          events: events.join(','),
          application,
          created_at_ms: createdAtMs
        }),
        1
      )
    )
    return outcome.done
  }

  /** And what is still to be told to it. */
  async remove(id: string): Promise<void> {
    const { queries } = this.#control
    await this.#control.change(
      statement(queries.deleteFrom('webhooks').where('id', '=', id)),
      statement(queries.deleteFrom('deliveries').where('webhook', '=', id))
    )
  }

  /** By webhook and state. */
  async counts(): Promise<Map<string, { waiting: number; failed: number }>> {
    const rows = await this.#control.queries
      .selectFrom('deliveries')
      .select(['webhook', 'state', sql<number>`count(*)`.as('count')])
      .where('state', 'in', ['waiting', 'failed'])
      .groupBy(['webhook', 'state'])
      .execute()
    const counts = new Map<string, { waiting: number; failed: number }>()
    for (const row of rows) {
      const webhook = textOf(row.webhook)
      const of = counts.get(webhook) ?? { waiting: 0, failed: 0 }
      of[textOf(row.state) as 'waiting' | 'failed'] = safeIntegerOf(row.count)
      counts.set(webhook, of)
    }
    return counts
  }

  /** One delivery for each webhook; of an event that was told already, nothing. */
  async tell(
    webhooks: readonly string[],
    { id, event, body, nowMs }: { id: string; event: string; body: string; nowMs: number }
  ): Promise<void> {
    if (webhooks.length === 0) return
    await this.#control.change(
      ...webhooks.map(webhook =>
        statement(
          insertNew(this.#control, 'deliveries', {
            id: createHash('sha256').update(`${id} ${webhook}`).digest('hex').slice(0, ID_CHARACTERS),
            webhook,
            event,
            body,
            created_at_ms: nowMs,
            tries: 0,
            state: 'waiting',
            due_at_ms: nowMs,
            holder: '',
            failure: ''
          })
        )
      )
    )
  }

  /**
   * Takes what is due: each is this holder's until `untilMs`.
   *
   * A holder takes once and settles before it takes again, so what it finds under its name is what it took.
   */
  async take(holder: string, nowMs: number, untilMs: number, limit: number): Promise<DeliveryRow[]> {
    const { queries } = this.#control
    const due = await queries
      .selectFrom('deliveries')
      .selectAll()
      .where('state', '=', 'waiting')
      .where('due_at_ms', '<=', nowMs)
      .orderBy('due_at_ms')
      .limit(sql.lit(limit))
      .execute()
    const taken: DeliveryRow[] = []
    for (const row of due) {
      const outcome = await this.#control.change(
        statement(
          queries
            .updateTable('deliveries')
            .set({ due_at_ms: untilMs, holder, tries: sql<number>`tries + 1` })
            .where('id', '=', textOf(row.id))
            .where('state', '=', 'waiting')
            .where('tries', '=', safeIntegerOf(row.tries)),
          1
        )
      )
      if (outcome.done)
        taken.push({ ...deliveryOf(row), tries: safeIntegerOf(row.tries) + 1, dueAtMs: untilMs })
    }
    return taken
  }

  /** Notes how it went, unless somebody else has taken it since. */
  async settle(
    id: string,
    holder: string,
    to: { state: 'waiting' | 'done' | 'failed'; dueAtMs: number; failure: string }
  ): Promise<void> {
    await this.#control.change(
      statement(
        this.#control.queries
          .updateTable('deliveries')
          .set({ state: to.state, due_at_ms: to.dueAtMs, failure: to.failure, holder: '' })
          .where('id', '=', id)
          .where('holder', '=', holder)
          .where('state', '=', 'waiting')
      )
    )
  }

  async delivery(id: string): Promise<DeliveryRow | undefined> {
    const row = await this.#control.queries
      .selectFrom('deliveries')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst()
    return row && deliveryOf(row)
  }

  /** The newest first. */
  async deliveriesOf(webhook: string, limit: number): Promise<DeliveryRow[]> {
    const rows = await this.#control.queries
      .selectFrom('deliveries')
      .selectAll()
      .where('webhook', '=', webhook)
      .orderBy('created_at_ms', 'desc')
      .limit(sql.lit(limit))
      .execute()
    return rows.map(deliveryOf)
  }

  /** Those that came to an end before this time. */
  async forgetEnded(beforeMs: number): Promise<void> {
    await this.#control.change(
      statement(
        this.#control.queries
          .deleteFrom('deliveries')
          .where('state', 'in', ['done', 'failed'])
          .where('due_at_ms', '<', beforeMs)
      )
    )
  }
}

function deliveryOf(row: Selectable<DeliveriesTable>): DeliveryRow {
  return {
    id: textOf(row.id),
    webhook: textOf(row.webhook),
    event: textOf(row.event),
    body: textOf(row.body),
    createdAtMs: safeIntegerOf(row.created_at_ms),
    tries: safeIntegerOf(row.tries),
    state: textOf(row.state),
    dueAtMs: safeIntegerOf(row.due_at_ms),
    failure: textOf(row.failure)
  }
}
