/** Quotas as they are typed and shown. */
import type { ApplicationRules } from '@tributary/gateway/contract'

/** Those that people buy discs by, and those that programs reckon in. */
export const UNITS = { MB: 1e6, GB: 1e9, TB: 1e12, GiB: 2 ** 30, TiB: 2 ** 40, B: 1 } as const
export type Unit = keyof typeof UNITS
export const UNIT_NAMES = Object.keys(UNITS) as Unit[]
const DECIMALS_MAX = 3
const UNIT_DEFAULT: Unit = 'GB'

export interface TypedBytes {
  /** As of a number field; empty: no bound. */
  amount: string
  unit: Unit
}

/** In the unit that says it shortest, and exactly. */
export function typedOf(bytes: number | null): TypedBytes {
  if (bytes === null) return { amount: '', unit: UNIT_DEFAULT }
  const exact = UNIT_NAMES.map(unit => ({ amount: String(bytes / UNITS[unit]), unit })).filter(
    ({ amount }) => /^\d+(\.\d+)?$/.test(amount) && (amount.split('.')[1]?.length ?? 0) <= DECIMALS_MAX
  )
  return exact.reduce((best, other) => (other.amount.length < best.amount.length ? other : best))
}

/** null: no bound. */
export function bytesOf({ amount, unit }: TypedBytes): number | null {
  if (amount.trim() === '') return null
  return Math.min(Number.MAX_SAFE_INTEGER, Math.round(Number(amount) * UNITS[unit]))
}

/** null: no bound. */
export function countOf(amount: string): number | null {
  return amount.trim() === '' ? null : Math.round(Number(amount))
}

/** 0 to 1: a quota may have become smaller than what is stored. */
export function shareOf(used: number, most: number): number {
  return most === 0 ? 1 : Math.min(1, used / most)
}

export const NO_QUOTAS = {
  bytesMax: null,
  filesMax: null,
  userBytesMax: null,
  userFilesMax: null,
  requestsPerS: null
} satisfies Partial<ApplicationRules>

export function hasQuotas(rules: ApplicationRules): boolean {
  return (Object.keys(NO_QUOTAS) as (keyof typeof NO_QUOTAS)[]).some(name => rules[name] !== null)
}
