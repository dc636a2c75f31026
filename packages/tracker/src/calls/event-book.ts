import { DELIVERIES_WAITING_MAX } from '@tributary/calls'
import type { Database } from '@tributary/database'

type Webhooks = Database['access']['webhooks']

/** Enters an event for each webhook that wants it. One of an id that was entered before is not entered again. */
export async function enterEvent(
  webhooks: Webhooks,
  { id, event, application, body }: { id: string; event: string; application: string; body: string },
  nowMs: number
): Promise<void> {
  const [rows, counts] = await Promise.all([webhooks.list(), webhooks.counts()])
  const interested = rows.filter(
    row =>
      row.events.includes(event) &&
      (row.application === '' || row.application === application) &&
      (counts.get(row.id)?.waiting ?? 0) < DELIVERIES_WAITING_MAX
  )
  await webhooks.tell(
    interested.map(row => row.id),
    { id, event, body, nowMs }
  )
}
