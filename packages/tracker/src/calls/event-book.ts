import { deletedEvent, DELIVERIES_WAITING_MAX, eventOf, type WebhookEvent } from '@tributary/calls'
import type { Database, GoneFilm } from '@tributary/database'
import type { Clock } from '@tributary/runtime'
import { isReady } from './ready-handlers.ts'

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

/** Whether any webhook wants to hear of it. */
export async function isWanted(access: Database['access'], event: WebhookEvent): Promise<boolean> {
  if (!(await isReady(access))) return false
  return (await access.webhooks.list()).some(({ events }) => events.includes(event))
}

/**
 * Has webhooks hear of every film that goes, whoever deleted it and whichever tracker sees that first: an event has its id of the
 * film's generation.
 */
export function tellOfGone({ access, library }: Pick<Database, 'access' | 'library'>, clock: Clock): void {
  library.onGone = async (films: readonly GoneFilm[]): Promise<void> => {
    if (!(await isWanted(access, 'deleted'))) return
    const nowMs = clock.nowMs()
    for (const film of films) await enterEvent(access.webhooks, eventOf(deletedEvent(film), nowMs), nowMs)
  }
}
