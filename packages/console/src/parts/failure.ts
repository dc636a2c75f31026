/** What went wrong, in a sentence that says what to do. */
import { ApiError } from '../api/http.ts'
import { texts } from '../settings.ts'

export function sentenceOf(error: unknown): string {
  const t = texts.value
  if (!(error instanceof ApiError))
    return t.failedWith(error instanceof Error ? error.message : String(error))
  switch (error.status) {
    case 0:
      return t.offline
    case 401:
      return t.needsLogin
    case 403:
      return t.notAllowed
    case 404:
    case 410:
      return t.gone
    case 429:
      return t.tooMany
    default:
      return t.failedWith(error.message)
  }
}
