import { deletedEvent, DELIVERIES_WAITING_MAX, eventOf, type WebhookEvent } from '@tributary/calls'
import type { Database, GoneFilm } from '@tributary/database'
import type { Clock } from '@tributary/runtime'
import { isReady } from './ready-handlers.ts'

type Webhooks = Database['access']['webhooks']

/** Enters events for each webhook that wants them. One of an id that was entered before is not entered again. */
export async function enterEvents(
  webhooks: Webhooks,
  events: readonly { id: string; event: string; application: string; body: string }[],
  nowMs: number
): Promise<void> {
  if (events.length === 0) return
  const [rows, counts] = await Promise.all([webhooks.list(), webhooks.counts()])
  const waiting = new Map(rows.map(({ id }) => [id, counts.get(id)?.waiting ?? 0]))
  for (const { id, event, application, body } of events) {
    const interested = rows
      .filter(
        row =>
          row.events.includes(event) &&
          (row.application === '' || row.application === application) &&
          waiting.get(row.id)! < DELIVERIES_WAITING_MAX
      )
      .map(row => row.id)
    await webhooks.tell(interested, { id, event, body, nowMs })
    for (const webhook of interested) waiting.set(webhook, waiting.get(webhook)! + 1)
  }
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
    const events = films.map(film => eventOf(deletedEvent(film), nowMs))
    await enterEvents(access.webhooks, events, nowMs)
  }
}
