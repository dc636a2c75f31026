/** The cookie of the console: the secret of a session, which is a token of its own that ends when its token does. */
import { isSecret, SESSION_PREFIX } from '@tributary/client'

export const SESSION_COOKIE = 'tributary_session'
/** A session ends after so long, or earlier with its token. */
export const SESSION_MS = 7 * 86_400_000
/** A longer header is looked at no further. */
const COOKIES_LENGTH_MAX = 8_192

/** The session's secret among the cookies; undefined where there is none. */
export function sessionOf(cookies: string | undefined): string | undefined {
  if (cookies === undefined || cookies.length > COOKIES_LENGTH_MAX) return undefined
  for (const part of cookies.split(';')) {
    const cookie = part.trim()
    if (!cookie.startsWith(`${SESSION_COOKIE}=`)) continue
    const secret = cookie.slice(SESSION_COOKIE.length + 1)
    if (secret.startsWith(SESSION_PREFIX) && isSecret(secret)) return secret
  }
  return undefined
}

/** @param maxAgeS  0 takes it away. */
export function sessionCookie(secret: string, maxAgeS: number, secure: boolean): string {
  const rest = `Path=/; Max-Age=${maxAgeS}; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`
  return `${SESSION_COOKIE}=${secret}; ${rest}`
}
