/** Dates in HTTP headers: RFC 9110 §5.6.7, with both obsolete forms, in whole seconds. */

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const MONTH = `(${MONTHS.join('|')})`
const CLOCK = '(\\d{2}):(\\d{2}):(\\d{2})'
const DAY = '(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)'
/** Sun, 06 Nov 1994 08:49:37 GMT */
const FIXED = new RegExp(`^${DAY}, (\\d{2}) ${MONTH} (\\d{4}) ${CLOCK} GMT$`)
/** Sunday, 06-Nov-94 08:49:37 GMT */
const RFC_850 = new RegExp(`^[A-Z][a-z]+day, (\\d{2})-${MONTH}-(\\d{2}) ${CLOCK} GMT$`)
/** Sun Nov  6 08:49:37 1994 */
const ASCTIME = new RegExp(`^${DAY} ${MONTH} ([ \\d]\\d) ${CLOCK} (\\d{4})$`)
/** A year of two digits that seems to lie further ahead than this is of the century before. */
const YEARS_AHEAD_MAX = 50

export function formatHttpDate(unixMs: number): string {
  return new Date(unixMs).toUTCString()
}

/**
 * @param nowMs  decides the century of the two-digit years of RFC 850.
 * @returns UNIX milliseconds, or undefined where the text is no HTTP date: the header is then ignored.
 */
export function parseHttpDate(text: string, nowMs: number): number | undefined {
  const fixed = FIXED.exec(text)
  if (fixed) return utc(Number(fixed[3]), fixed[2]!, Number(fixed[1]), fixed, 4)
  const old = RFC_850.exec(text)
  if (old) {
    const thisYear = new Date(nowMs).getUTCFullYear()
    let year = Number(old[3]) + thisYear - (thisYear % 100)
    if (year > thisYear + YEARS_AHEAD_MAX) year -= 100
    return utc(year, old[2]!, Number(old[1]), old, 4)
  }
  const unix = ASCTIME.exec(text)
  if (unix) return utc(Number(unix[6]), unix[1]!, Number(unix[2]), unix, 3)
  return undefined
}

function utc(
  year: number,
  month: string,
  day: number,
  match: RegExpExecArray,
  clockAt: number
): number | undefined {
  const [hour, minute, second] = [0, 1, 2].map(offset => Number(match[clockAt + offset]))
  if (hour! > 23 || minute! > 59 || second! > 60) return undefined
  const ms = Date.UTC(year, MONTHS.indexOf(month), day, hour, minute, Math.min(second!, 59))
  return new Date(ms).getUTCDate() === day ? ms : undefined // the 31st of a month that has none
}
