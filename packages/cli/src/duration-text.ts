/** How long something lasts, as people write it. */
import { InvalidArgumentError } from 'commander'

const UNITS_S: Readonly<Record<string, number>> = {
  s: 1,
  m: 60,
  h: 3_600,
  d: 86_400,
  w: 604_800,
  y: 31_536_000
}
const SECONDS_MAX = 10 * 31_536_000

/** For commander: `90s`, `12h`, `7d`, `1y`. @returns seconds. */
export function durationS(text: string): number {
  const [, number, unit] = /^(\d{1,9})\s*([smhdwy])$/.exec(text.trim()) ?? []
  const seconds = number === undefined ? NaN : Number(number) * UNITS_S[unit!]!
  if (seconds >= 1 && seconds <= SECONDS_MAX) return seconds
  throw new InvalidArgumentError('A time such as 90s, 12h, 7d or 1y is expected, of ten years at most.')
}
