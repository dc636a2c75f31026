/** A fault, said in the reader's language; what this page does not know is said as the server says it. */
import type { ClusterFault } from '@tributary/gateway/contract'
import type { Strings } from '../strings/en.ts'

export function wordsOf({ code, text, values }: ClusterFault, t: Strings): string {
  const say = t.faults[code]
  if (!say) return text
  const filled = say.replaceAll(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole))
  // A sentence with a hole tells less than the server's own.
  return /\{\w+\}/.test(filled) ? text : filled
}
