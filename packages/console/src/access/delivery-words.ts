/** How the last delivery of a webhook went, in words. */
import type { Webhook } from '@tributary/gateway/contract'
import { formatAgo } from '../format.ts'
import type { Strings } from '../strings/en.ts'

type Delivery = NonNullable<Webhook['lastDelivery']>

/** What servers and their libraries call it; whatever is not here is shown as it came. */
const REASONS: readonly (readonly [RegExp, keyof Strings['deliveryReasons']])[] = [
  [/^it answered (\d+)$/, 'answered'],
  [/did not answer in time|ETIMEDOUT/, 'silent'],
  [/ECONNREFUSED/, 'refused'],
  [/ENOTFOUND|EAI_AGAIN|is nowhere/, 'unknown'],
  [/ECONNRESET|EPIPE|socket hang up/, 'broken'],
  [/EHOSTUNREACH|ENETUNREACH/, 'unreachable'],
  [/address inside/, 'inside'],
  [/certificate|self.signed|altnames|CERT_|SSL|TLS/i, 'certificate']
]

export function reasonWords(failure: string, { deliveryReasons }: Strings): string {
  for (const [pattern, reason] of REASONS) {
    const found = pattern.exec(failure)
    if (found) return deliveryReasons[reason].replace('{status}', found[1] ?? '')
  }
  return failure
}

/** @param nowMs  UNIX time */
export function deliveryWords(
  { event, state, tries, failure, at }: Delivery,
  t: Strings,
  language: string,
  nowMs: number
): string {
  const what = t.webhookEvents[event]
  const when = formatAgo(Date.parse(at), nowMs, language)
  const why = reasonWords(failure, t)
  switch (state) {
    case 'done':
      return t.deliveryDone(what, when)
    case 'failed':
      return tries === 1 ? t.deliveryNotTaken(what, why) : t.deliveryFailed(what, why, tries)
    case 'waiting':
      return failure === '' ? t.deliveryWaits(what) : t.deliveryAgain(what, why, when)
  }
}
