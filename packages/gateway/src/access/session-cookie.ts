/** The cookie of the console: the secret of a session, which is a token of its own that ends when its token does. */
import { createHash, randomBytes, randomInt } from 'node:crypto'

export const SESSION_COOKIE = 'tributary_session'
/** A session ends after so long, or earlier with its token. */
export const SESSION_MS = 7 * 86_400_000
const SECRET_BYTES = 32
const ID_CHARACTERS = 16
/** A longer header is looked at no further. */
const COOKIES_LENGTH_MAX = 8_192
/** Prefixes tell what a text is that lies around somewhere. */
export const TOKEN_PREFIX = 'trb_'
export const SESSION_PREFIX = 'trs_'
const SECRET = /^tr[bs]_[A-Za-z0-9_-]{43}$/

/** A new secret and the hash of it, which alone is stored. */
export function makeSecret(prefix: string): { secret: string; hash: string } {
  const secret = `${prefix}${randomBytes(SECRET_BYTES).toString('base64url')}`
  return { secret, hash: hashOf(secret) }
}

/** Whether a text looks like a token or session of ours. */
export function isSecret(text: string): boolean {
  return SECRET.test(text)
}

/** SHA-256 of 256 random bits needs no salt: there is nothing to guess. */
export function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

/** 16 lower-case letters and digits, 82 random bits: for tokens, sessions, shares and webhooks. */
export function makeAccessId(): string {
  let id = ''
  while (id.length < ID_CHARACTERS)
    id += randomInt(36 ** 4)
      .toString(36)
      .padStart(4, '0')
  return id
}

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
