const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB']

/** 1536000 → "1.5 MB"; thousands, as file managers do. */
export function formatBytes(bytes, language) {
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

/** 3725 → "1:02:05", 65 → "1:05" */
export function formatSeconds(seconds) {
  const whole = Math.max(0, Math.ceil(seconds))
  const parts = [Math.floor(whole / 60) % 60, whole % 60]
  if (whole >= 3600) parts.unshift(Math.floor(whole / 3600))
  return parts.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, '0'))).join(':')
}

export function formatDate(iso, language) {
  if (!iso) return ''
  return new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(iso))
}
