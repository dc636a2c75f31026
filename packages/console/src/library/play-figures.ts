/** What is reckoned from the plays of a film. */
import type { Plays } from '@tributary/gateway/contract'

const DAY_MS = 86_400_000
export const LATELY_DAYS = 30

/** Starts of the last 30 days, today among them. */
export function lately(days: Plays['days'], nowMs: number): number {
  const since = new Date(nowMs - (LATELY_DAYS - 1) * DAY_MS).toISOString().slice(0, 10)
  return days.filter(({ day }) => day >= since).reduce((sum, { starts }) => sum + starts, 0)
}

/** Of the viewings, 0 to 1; players may report what they like, so that more could have ended than begun. */
export function shareToEnd({ starts, reached }: Pick<Plays, 'starts' | 'reached'>): number {
  return starts === 0 ? 0 : Math.min(1, (reached.at(-1) ?? 0) / starts)
}
