/** The audit log, and plays: what is written by gateways and read by people. */
import { AUDIT_ENTRIES_MAX, AUDIT_KEPT_DAYS, PLAYS_DAYS_MAX, type AuditEntry } from '@tributary/calls'
import { checkFileKey } from '@tributary/protocol'
import type { CallHandlers } from './call-dispatcher.ts'
import type { IndexParts } from './index-parts.ts'
import { placeOf, placeText } from './list-place.ts'
import { whenReady } from './ready-handlers.ts'

type AuditCallName = Extract<keyof CallHandlers, `audit.${string}` | `plays.${string}`>

const DAY_MS = 86_400_000
const UPKEEP_INTERVAL_MS = 600_000
/** Pieces removed at one time; what is left waits for the next one. */
const TRIMS_MAX = 100

export function auditHandlers({
  database: { access, library },
  clock
}: Pick<IndexParts, 'database' | 'clock'>): CallHandlers<AuditCallName> {
  const { audit, plays } = access
  let keptUpMs = -Infinity

  const keepUp = async (): Promise<void> => {
    if (clock.monotonicMs() - keptUpMs < UPKEEP_INTERVAL_MS) return
    keptUpMs = clock.monotonicMs()
    const nowMs = clock.nowMs()
    await plays.forget(Math.floor(nowMs / DAY_MS) - PLAYS_DAYS_MAX)
    for (let trims = 0; trims < TRIMS_MAX; trims++) {
      if (!(await audit.trim(nowMs - AUDIT_KEPT_DAYS * DAY_MS, AUDIT_ENTRIES_MAX))) return
    }
  }

  return whenReady(access, {
    async 'audit.write'({ entries }) {
      await audit.add(entries)
      void keepUp().catch(() => {}) // the next one tries again
      return {}
    },

    async 'audit.list'({ outcome, application, after, limit }) {
      const rows = await audit.list({ outcome, application }, placeOf(after), limit + 1)
      const page = rows.slice(0, limit)
      const last = page.at(-1)
      return {
        entries: page.map(({ id: _id, ...entry }) => entry as AuditEntry),
        ...(last && rows.length > limit && { next: placeText(last.atMs, last.id) })
      }
    },

    async 'plays.add'({ sums }) {
      for (const sum of sums) checkFileKey(sum)
      // Anybody may report: of films that there are, or rows would come of nothing.
      await plays.add(await library.known(sums))
      void keepUp().catch(() => {})
      return {}
    },

    async 'plays.film'(key) {
      return { days: await plays.ofFilm(checkFileKey(key), PLAYS_DAYS_MAX) }
    }
  })
}
