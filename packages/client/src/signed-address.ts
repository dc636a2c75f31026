/**
 * Signed addresses: whoever has one may read one film until it expires, without a token. The signature is bound to
 * the film (application, user, file) and not to one path, so that all that belongs to the film plays under it: the
 * file, playlists and segments, poster, thumbnails, subtitles.
 *
 *   signature = "1~" key "~" expires "~" network "~" mac
 *
 *   key      id of the signing key, 1 to 16 of [a-z0-9]: several may be good at a time, which is how they are rotated
 *   expires  UNIX seconds, decimal: from then on it is good no more
 *   network  address "_" prefix length, such as 192.0.2.0_24; empty: from everywhere
 *   mac      HMAC-SHA-256 under the key's secret, base64url without padding
 *
 * What is authenticated are the characters themselves, each part ended by NUL, which none can hold:
 *
 *   "tributary signed address 1" key expires network application user file
 *
 * So a signature has one spelling only, and one changed bit makes it another one. It is carried in front of a path
 * (`/signed/{signature}/hls/…`), where the relative addresses of a playlist keep it, or as `?signature=` behind one.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net'
import { checkFileKey, plainIp, RejectedError, type FileKey } from '@tributary/protocol'

/** In front of the path, with the signature behind it. */
export const SIGNED_PREFIX = '/signed/'
/** Name of the parameter, where the signature is not in the path. */
export const SIGNATURE_PARAMETER = 'signature'
/** First segments of the paths of a film; behind each stand application, user and file. */
export const FILM_TREES = [
  'files',
  'hls',
  'dash',
  'poster',
  'thumbnails',
  'subtitles',
  'watch',
  'embed'
] as const
export type FilmTree = (typeof FILM_TREES)[number]

/** Longer ones are not read at all. */
export const SIGNATURE_CHARACTERS_MAX = 160
/** A signature that lives longer was made by mistake, or by somebody whose clock is wrong. */
export const SIGNATURE_LIFETIME_S_MAX = 10 * 366 * 86_400
/** So far the clock of who signs may be ahead of the one of who checks, before the lifetime is judged too long. Expiry has no grace. */
export const CLOCK_SKEW_S_MAX = 300
const SECRET_BYTES = 32
const KEY_ID_CHARACTERS = 8
const DOMAIN = 'tributary signed address 1'
const KEY_ID = /^[a-z0-9]{1,16}$/
const SECRET = /^[0-9a-f]{64}$/
const SIGNATURE = /^1~([a-z0-9]{1,16})~([1-9][0-9]{8,11})~([0-9a-f.:]{2,45}_[0-9]{1,3})?~([A-Za-z0-9_-]{43})$/
const ID_BASE = 36

export interface SigningKey {
  /** 1 to 16 lower-case letters and digits. */
  readonly id: string
  /** 64 lower-case hexadecimal digits. */
  readonly secret: string
}

export interface SignatureClaims {
  film: FileKey
  /** UNIX seconds. */
  expiresS: number
  /** Address or network in CIDR form that it is good from. */
  network?: string | undefined
}

export interface SignatureCheck {
  nowMs: number
  /** Address of who asks, as its socket has it. */
  ip: string
  /** Secret of a key that is good; undefined: there is none of that id. */
  secretOf: (keyId: string) => string | undefined
}

export type SignatureVerdict =
  | { good: true; keyId: string; expiresS: number }
  | {
      good: false
      why: 'malformed' | 'unknown-key' | 'forged' | 'expired' | 'lives-too-long' | 'wrong-network'
    }

/** A new key; 256 random bits. */
export function makeSigningKey(): SigningKey {
  let id = ''
  for (const byte of randomBytes(KEY_ID_CHARACTERS)) id += (byte % ID_BASE).toString(ID_BASE)
  return { id, secret: randomBytes(SECRET_BYTES).toString('hex') }
}

/** `id:secret`, as a key is handed to programs. @throws {RejectedError} BAD_FIELD; the text is not in the message. */
export function parseSigningKey(text: string): SigningKey {
  const [id = '', secret = '', ...rest] = text.trim().split(':')
  return checkKey({ id, secret: rest.length > 0 ? '' : secret })
}

/**
 * Signs for one film.
 *
 * @throws {RejectedError} BAD_FIELD: key, film, expiry or network cannot be.
 */
export function signFilm(key: SigningKey, { film, expiresS, network }: SignatureClaims): string {
  checkKey(key)
  checkFileKey(film)
  const expires = String(expiresS)
  const from = network === undefined || network === '' ? '' : canonicalNetwork(network)
  if (!/^[1-9][0-9]{8,11}$/.test(expires)) {
    throw new RejectedError('BAD_FIELD', `an expiry is a UNIX time in seconds, not ${expires}`)
  }
  const mac = macOf(key.secret, key.id, expires, from, film).toString('base64url')
  return `1~${key.id}~${expires}~${from}~${mac}`
}

/** Whether `signature` opens `film` to who asks. The order tells nothing to who does not have the key. */
export function checkSignature(
  signature: string,
  film: FileKey,
  { nowMs, ip, secretOf }: SignatureCheck
): SignatureVerdict {
  if (signature.length > SIGNATURE_CHARACTERS_MAX) return { good: false, why: 'malformed' }
  const [, keyId, expires, network = '', mac] = SIGNATURE.exec(signature) ?? []
  if (keyId === undefined || expires === undefined || mac === undefined) {
    return { good: false, why: 'malformed' }
  }
  const secret = secretOf(keyId)
  if (secret === undefined) return { good: false, why: 'unknown-key' }
  // As characters: base64 has several spellings of the same bytes, of which this is the one that is taken.
  const expected = macOf(secret, keyId, expires, network, film).toString('base64url')
  if (!timingSafeEqual(Buffer.from(mac, 'latin1'), Buffer.from(expected, 'latin1'))) {
    return { good: false, why: 'forged' }
  }
  const expiresS = Number(expires)
  const nowS = nowMs / 1_000
  if (nowS >= expiresS) return { good: false, why: 'expired' }
  if (expiresS - nowS > SIGNATURE_LIFETIME_S_MAX + CLOCK_SKEW_S_MAX) {
    return { good: false, why: 'lives-too-long' }
  }
  if (network !== '' && !holds(network, ip)) return { good: false, why: 'wrong-network' }
  return { good: true, keyId, expiresS }
}

/** What a signature says of itself, unchecked: for a person who wonders what it is. Undefined: it is none. */
export function describeSignature(
  signature: string
): { keyId: string; expiresS: number; network: string } | undefined {
  const [, keyId, expires, network = ''] = SIGNATURE.exec(signature) ?? []
  if (keyId === undefined) return undefined
  return { keyId, expiresS: Number(expires), network: network.replace('_', '/') }
}

/** Absolute path of something of a film: `/hls/media/public/my%2Ffilm/master.m3u8`. */
export function filmPath(tree: FilmTree, { application, user, file }: FileKey, rest = ''): string {
  const path = `/${tree}/${application}/${encodeId(user)}/${encodeId(file)}`
  return rest === '' ? path : `${path}/${rest}`
}

/** The same with a signature: in front of it, so that relative addresses below keep it. */
export function signedPath(signature: string, path: string): string {
  return `${SIGNED_PREFIX}${signature}${path}`
}

/**
 * Takes the signature off a request target, from in front of its path or from its parameters.
 *
 * @returns undefined where there is none. Two of them are none that could be good: `signature` is empty then.
 */
export function takeSignature(target: string): { signature: string; target: string } | undefined {
  let signature: string | undefined
  let rest = target
  if (target.startsWith(SIGNED_PREFIX)) {
    const end = target.indexOf('/', SIGNED_PREFIX.length)
    if (end < 0) return { signature: '', target }
    signature = target.slice(SIGNED_PREFIX.length, end)
    rest = target.slice(end)
  }
  const queryAt = rest.indexOf('?')
  if (queryAt < 0) return signature === undefined ? undefined : { signature, target: rest }
  const kept: string[] = []
  let found = signature === undefined ? 0 : 1
  for (const part of rest.slice(queryAt + 1).split('&')) {
    if (!part.startsWith(`${SIGNATURE_PARAMETER}=`)) kept.push(part)
    else {
      found++
      signature = part.slice(SIGNATURE_PARAMETER.length + 1)
    }
  }
  if (signature === undefined) return undefined
  const path = rest.slice(0, queryAt)
  return {
    signature: found > 1 ? '' : signature,
    target: kept.length === 0 ? path : `${path}?${kept.join('&')}`
  }
}

function macOf(secret: string, keyId: string, expires: string, network: string, film: FileKey): Buffer {
  const parts = [DOMAIN, keyId, expires, network, film.application, film.user, film.file]
  return createHmac('sha256', Buffer.from(secret, 'hex'))
    .update(`${parts.join('\0')}\0`)
    .digest()
}

function checkKey(key: SigningKey): SigningKey {
  if (KEY_ID.test(key.id) && SECRET.test(key.secret)) return key
  throw new RejectedError(
    'BAD_FIELD',
    'a signing key is id:secret, 1 to 16 lower-case letters and digits and 64 hexadecimal digits'
  )
}

/**
 * `192.0.2.9/24` → `192.0.2.9_24`; a mapped IPv4 address is one of IPv4.
 *
 * @throws {RejectedError} BAD_FIELD
 */
function canonicalNetwork(text: string): string {
  const [, written = '', prefix] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text.trim()) ?? []
  const address = plainIp(written).toLowerCase()
  const bitsMax = isIPv4(address) ? 32 : isIPv6(address) ? 128 : -1
  const bits = prefix === undefined ? bitsMax : Number(prefix)
  const shortened = address !== written.toLowerCase()
  if (bitsMax < 0 || bits > bitsMax || address.includes('%') || (shortened && prefix !== undefined)) {
    throw new RejectedError('BAD_FIELD', `'${text}' is not a network: address or address/prefix is expected`)
  }
  return `${address}_${bits}`
}

function holds(network: string, ip: string): boolean {
  const [address = '', bits = ''] = network.split('_')
  const [plain = ''] = plainIp(ip).split('%')
  const family = isIP(address)
  if (family === 0 || isIP(plain) !== family) return false
  const type = family === 4 ? 'ipv4' : 'ipv6'
  const list = new BlockList()
  list.addSubnet(address, Number(bits), type)
  return list.check(plain, type)
}

/** An apostrophe is allowed in URLs, but people paste them into command lines between two of them. */
function encodeId(id: string): string {
  return encodeURIComponent(id).replaceAll("'", '%27')
}
