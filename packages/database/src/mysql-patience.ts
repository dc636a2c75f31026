import { DatabaseUnavailableError } from './errors.ts'

/** Below this share of its time a call is not worth a statement, which would only be cut and its connection with it. */
const WORTHWHILE_SHARE = 0.1

interface Patient {
  sinceMs: number
  reject: (error: Error) => void
}

/**
 * Rejects calls that have waited too long for a statement to carry them.
 *
 * @returns the others, and the time that is left to the one that has waited longest.
 */
export function stillPatient<T extends Patient>(
  calls: T[],
  timeoutMs: number
): { calls: T[]; leftMs: number } {
  const nowMs = performance.now()
  const oldestMs = nowMs - timeoutMs * (1 - WORTHWHILE_SHARE)
  const patient = calls.filter(call => {
    if (call.sinceMs >= oldestMs) return true
    call.reject(new DatabaseUnavailableError(`the database had no time for it in ${timeoutMs} ms`))
    return false
  })
  const waitedMs = nowMs - Math.min(nowMs, ...patient.map(call => call.sinceMs))
  return { calls: patient, leftMs: timeoutMs - waitedMs }
}
