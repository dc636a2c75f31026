/** Figures for people. */

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB']

/** 1536000 → "1.5 MB"; thousands, as file managers do. */
export function formatBytes(bytes: number, language: string): string {
  let value = bytes
  let unit = 0
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1
  const number = new Intl.NumberFormat(language, { minimumFractionDigits: 0, maximumFractionDigits: digits })
  return `${number.format(value)} ${UNITS[unit]}`
}

/** What is left of a wait: 3725 → "1:02:05", 64.1 → "1:05" */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds))
  const parts = [Math.floor(whole / 60) % 60, whole % 60]
  if (whole >= 3600) parts.unshift(Math.floor(whole / 3600))
  return parts.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, '0'))).join(':')
}

/** A film's length, or a place in it, to the nearest second: 59.98 s are a minute, and so are 60.02 s. */
export function formatDuration(seconds: number): string {
  return formatSeconds(Math.round(seconds))
}

export function formatDate(iso: string, language: string): string {
  if (!iso) return ''
  return new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(iso))
}

/** Without the time of day. */
export function formatDay(iso: string, language: string): string {
  if (!iso) return ''
  return new Intl.DateTimeFormat(language, { dateStyle: 'medium' }).format(new Date(iso))
}

const STEPS: readonly [unit: Intl.RelativeTimeFormatUnit, seconds: number][] = [
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1]
]

/** "3 hours ago", "in 6 days". @param atMs, nowMs  UNIX time */
export function formatAgo(atMs: number, nowMs: number, language: string): string {
  const seconds = (atMs - nowMs) / 1000
  const [unit, size] = STEPS.find(([, size]) => Math.abs(seconds) >= size) ?? ['second', 1]
  return new Intl.RelativeTimeFormat(language, { numeric: 'auto' }).format(Math.trunc(seconds / size), unit)
}

/** 0.4217 → "42%" */
export function formatShare(share: number, language: string): string {
  return new Intl.NumberFormat(language, { style: 'percent', maximumFractionDigits: 0 }).format(share)
}

export function formatCount(count: number, language: string): string {
  return new Intl.NumberFormat(language).format(count)
}

/** `zho` → "Chinese", 中文; the code itself where nobody knows it, empty where it says nothing. */
export function languageName(code: string, language: string): string {
  if (code === '' || code === 'und') return ''
  try {
    return new Intl.DisplayNames([language], { type: 'language' }).of(code) ?? code
  } catch {
    return code
  }
}
