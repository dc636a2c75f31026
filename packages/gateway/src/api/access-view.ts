/** What several of the handlers of access show, or are given, in one way. */
import { HttpProblem } from '../problem.ts'

/** Ids come from addresses: whatever is none is not there. @throws {HttpProblem} 404 */
export function checkAccessId(id: string): string {
  if (/^[a-z0-9]{4,32}$/.test(id)) return id
  throw new HttpProblem(404, 'there is nothing of this id', [], 'NO_SUCH_ENTRY')
}

/** ISO 8601; null for 0. */
export function dateOf(unixMs: number): string | null {
  return unixMs === 0 ? null : new Date(unixMs).toISOString()
}
