import { describe, it } from 'node:test'
import { deepEqual, equal, notEqual, throws } from 'node:assert/strict'
import fc from 'fast-check'
import type { FileKey } from '@tributary/protocol'
import {
  checkSignature,
  CLOCK_SKEW_S_MAX,
  describeSignature,
  FILM_TREES,
  filmPath,
  makeSigningKey,
  parseSigningKey,
  signedPath,
  signFilm,
  SIGNATURE_LIFETIME_S_MAX,
  takeSignature,
  type SigningKey
} from '../src/signed-address.ts'

const NOW_S = 1_790_000_000
const KEY: SigningKey = { id: 'k1', secret: '5e'.repeat(32) }
const FILM: FileKey = { application: 'media', user: 'public', file: 'my/film ü.mp4' }

function check(
  signature: string,
  { film = FILM, nowS = NOW_S, ip = '192.0.2.9', keys = [KEY] as SigningKey[] } = {}
): string {
  const secretOf = (id: string): string | undefined => keys.find(key => key.id === id)?.secret
  const verdict = checkSignature(signature, film, { nowMs: nowS * 1_000, ip, secretOf })
  return verdict.good ? 'good' : verdict.why
}

const ids = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
  .filter(text => !text.includes('\0') && text !== '.' && text !== '..')
const films = fc.record({ application: fc.stringMatching(/^[A-Za-z0-9]{1,15}$/), user: ids, file: ids })
const networks = fc.constantFrom(undefined, '192.0.2.9', '192.0.2.0/24', '0.0.0.0/0')
const keys = fc.record({
  id: fc.stringMatching(/^[a-z0-9]{1,16}$/),
  secret: fc.stringMatching(/^[0-9a-f]{64}$/)
})
const lifetimes = fc.integer({ min: 1, max: SIGNATURE_LIFETIME_S_MAX })

describe('a signature', () => {
  it('opens its film until it expires', () => {
    fc.assert(
      fc.property(films, networks, keys, lifetimes, (film, network, key, lifetimeS) => {
        const expiresS = NOW_S + lifetimeS
        const signature = signFilm(key, { film, expiresS, network })
        equal(check(signature, { film, keys: [key] }), 'good')
        equal(check(signature, { film, keys: [key], nowS: expiresS - 0.001 }), 'good')
        equal(check(signature, { film, keys: [key], nowS: expiresS }), 'expired')
        equal(check(signature, { film, keys: [key], nowS: expiresS + lifetimeS }), 'expired')
      })
    )
  })

  it('is refused with any one bit flipped, anywhere in it', () => {
    for (const network of [undefined, '192.0.2.0/24']) {
      const signature = signFilm(KEY, { film: FILM, expiresS: NOW_S + 60, network })
      // Every key id is known here: that a changed one is not found would prove nothing.
      const secretOf = (): string => KEY.secret
      const bytes = Buffer.from(signature, 'latin1')
      for (let bit = 0; bit < bytes.byteLength * 8; bit++) {
        const flipped = Buffer.from(bytes)
        flipped[bit >> 3]! ^= 1 << (bit & 7)
        const verdict = checkSignature(flipped.toString('latin1'), FILM, {
          nowMs: NOW_S * 1_000,
          ip: '192.0.2.9',
          secretOf
        })
        equal(verdict.good, false, `bit ${bit}`)
      }
    }
  })

  it('is refused with anything inserted, removed or repeated', () => {
    const signature = signFilm(KEY, { film: FILM, expiresS: NOW_S + 60, network: '192.0.2.0/24' })
    fc.assert(
      fc.property(
        fc.nat(signature.length),
        fc.nat(4),
        fc.string({ maxLength: 4 }),
        (at, removed, inserted) => {
          const other = signature.slice(0, at) + inserted + signature.slice(at + removed)
          fc.pre(other !== signature)
          notEqual(check(other), 'good')
        }
      )
    )
  })

  it('opens no other film, whatever is moved from one id into its neighbour', () => {
    fc.assert(
      fc.property(films, films, (film, other) => {
        fc.pre(film.application !== other.application || film.user !== other.user || film.file !== other.file)
        equal(check(signFilm(KEY, { film, expiresS: NOW_S + 60 }), { film: other }), 'forged')
      })
    )
    const film = { application: 'a', user: 'bc', file: 'd' }
    const signature = signFilm(KEY, { film, expiresS: NOW_S + 60 })
    equal(check(signature, { film: { application: 'ab', user: 'c', file: 'd' } }), 'forged')
    equal(check(signature, { film: { application: 'a', user: 'b', file: 'cd' } }), 'forged')
  })

  it('is refused under another secret, and when its key is known no more', () => {
    const signature = signFilm(KEY, { film: FILM, expiresS: NOW_S + 60 })
    equal(check(signature, { keys: [{ id: 'k1', secret: 'a0'.repeat(32) }] }), 'forged')
    equal(check(signature, { keys: [] }), 'unknown-key')
  })

  it('stays good while its key is an old one, which is how keys are rotated', () => {
    const newer = makeSigningKey()
    const signature = signFilm(KEY, { film: FILM, expiresS: NOW_S + 60 })
    equal(check(signature, { keys: [newer, KEY] }), 'good')
    equal(check(signFilm(newer, { film: FILM, expiresS: NOW_S + 60 }), { keys: [newer, KEY] }), 'good')
  })

  it('is good from its network only', () => {
    const good = (network: string, ip: string): boolean =>
      check(signFilm(KEY, { film: FILM, expiresS: NOW_S + 60, network }), { ip }) === 'good'
    equal(good('192.0.2.0/24', '192.0.2.255'), true)
    equal(good('192.0.2.0/24', '::ffff:192.0.2.7'), true)
    equal(good('192.0.2.0/24', '192.0.3.0'), false)
    equal(good('192.0.2.9', '192.0.2.9'), true)
    equal(good('192.0.2.9', '192.0.2.8'), false)
    equal(good('2001:DB8::/32', '2001:db8:ffff::1'), true)
    equal(good('2001:db8::/32', '2001:db9::1'), false)
    equal(good('fe80::/10', 'fe80::1%eth0'), true)
    equal(good('0.0.0.0/0', '2001:db8::1'), false)
    equal(good('::/0', '192.0.2.9'), false)
    equal(good('::ffff:192.0.2.9', '192.0.2.9'), true)
    equal(good('192.0.2.0/24', ''), false)
    equal(good('192.0.2.0/24', 'unknown'), false)
  })

  it('may not live longer than the longest lifetime, but for the difference of two clocks', () => {
    const expiresS = NOW_S + SIGNATURE_LIFETIME_S_MAX
    const signature = signFilm(KEY, { film: FILM, expiresS })
    equal(check(signature, { nowS: NOW_S - CLOCK_SKEW_S_MAX }), 'good')
    equal(check(signature, { nowS: NOW_S - CLOCK_SKEW_S_MAX - 1 }), 'lives-too-long')
  })

  it('is not made of what cannot be', () => {
    const claims = { film: FILM, expiresS: NOW_S + 60 }
    for (const expiresS of [0, -1, 1.5, NaN, Infinity, 12, 10 ** 13]) {
      throws(() => signFilm(KEY, { ...claims, expiresS }), /expiry/)
    }
    for (const network of [
      'x',
      '1.2.3.4/33',
      '::/129',
      '1.2.3.4/',
      '1.2.3',
      'fe80::1%eth0',
      '::ffff:1.2.3.4/8'
    ]) {
      throws(() => signFilm(KEY, { ...claims, network }), /network/)
    }
    throws(() => signFilm({ id: 'K', secret: KEY.secret }, claims), /signing key/)
    throws(() => signFilm({ id: 'k', secret: 'short' }, claims), /signing key/)
    throws(() => signFilm(KEY, { ...claims, film: { ...FILM, application: '../x' } }), /application/)
  })

  it('says what it is', () => {
    const signature = signFilm(KEY, { film: FILM, expiresS: NOW_S, network: '192.0.2.0/24' })
    deepEqual(describeSignature(signature), { keyId: 'k1', expiresS: NOW_S, network: '192.0.2.0/24' })
    equal(describeSignature('1~k1~'), undefined)
  })
})

describe('a signed address', () => {
  const signature = signFilm(KEY, { film: FILM, expiresS: NOW_S + 60, network: '192.0.2.0/24' })

  it('gives back the path and the signature, from in front and from behind', () => {
    for (const tree of FILM_TREES) {
      const path = filmPath(tree, FILM, 'part?x=1')
      deepEqual(takeSignature(signedPath(signature, path)), { signature, target: path })
      deepEqual(takeSignature(`${path}&signature=${signature}&y`), { signature, target: `${path}&y` })
    }
    deepEqual(takeSignature(`/files/a/b/c?signature=${signature}`), { signature, target: '/files/a/b/c' })
    equal(takeSignature('/files/a/b/c?download'), undefined)
    equal(takeSignature('/files/a/b/c'), undefined)
  })

  it('keeps its signature in whatever its playlists name relatively', () => {
    const base = `http://host${signedPath(signature, filmPath('hls', FILM, 'master.m3u8'))}`
    const { pathname } = new URL('generation/video/1.m4s', base)
    deepEqual(takeSignature(pathname), { signature, target: filmPath('hls', FILM, 'generation/video/1.m4s') })
  })

  it('has a signature that is not changed by what URLs do to text', () => {
    fc.assert(
      fc.property(films, keys, networks, (film, key, network) => {
        const made = signFilm(key, { film, expiresS: NOW_S + 60, network })
        equal(encodeURI(made), made)
        equal(new URLSearchParams(`signature=${made}`).get('signature'), made)
      })
    )
  })

  it('has one signature: of two, none counts', () => {
    equal(takeSignature(`/files/a/b/c?signature=${signature}&signature=${signature}`)?.signature, '')
    equal(takeSignature(signedPath(signature, `/files/a/b/c?signature=${signature}`))?.signature, '')
    equal(takeSignature(`/signed/${signature}`)?.signature, '')
    equal(check(''), 'malformed')
  })
})

describe('a signing key', () => {
  it('is made, and read as programs are handed it', () => {
    const key = makeSigningKey()
    deepEqual(parseSigningKey(`${key.id}:${key.secret}\n`), key)
  })

  it('is not told in the error about it', () => {
    throws(
      () => parseSigningKey(`k:${'5e'.repeat(31)}`),
      (error: Error) => !error.message.includes('5e5e')
    )
    throws(() => parseSigningKey(`k:${KEY.secret}:x`), /signing key/)
  })
})
