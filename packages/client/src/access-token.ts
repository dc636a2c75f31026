/** Tokens, and the ids of what access is made of. The secret is told once; what is stored of it is its hash. */
import { createHash, randomBytes, randomInt } from 'node:crypto'

/** Prefixes tell what a text is that lies around somewhere: a token, a session of the console. */
export const TOKEN_PREFIX = 'trb_'
export const SESSION_PREFIX = 'trs_'
const SECRET_BYTES = 32
const ID_CHARACTERS = 16
const SECRET = /^tr[bs]_[A-Za-z0-9_-]{43}$/

/** A new secret, and the hash of it. */
export function makeSecret(prefix: typeof TOKEN_PREFIX | typeof SESSION_PREFIX): {
  secret: string
  hash: string
} {
  const secret = `${prefix}${randomBytes(SECRET_BYTES).toString('base64url')}`
  return { secret, hash: hashOfSecret(secret) }
}

/** Whether a text looks like a token or session of ours. */
export function isSecret(text: string): boolean {
  return SECRET.test(text)
}

/** SHA-256, hexadecimal. 256 random bits need no salt: there is nothing to guess. */
export function hashOfSecret(secret: string): string {
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
