/**
 * What every gateway knows by itself: its write token, its names, its own pages. Without a token only programs of this machine may
 * write, and pages that this server itself gave out: a page from elsewhere in the same browser must not, even when its name was
 * made to point here (DNS rebinding).
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'
import { isLoopbackHost } from '@tributary/runtime'
import { HttpProblem } from './problem.ts'

export interface WriteGuardOptions {
  token: string | undefined
  insecure: boolean
  names: readonly string[]
}

const FINGERPRINT_CHARACTERS = 16

export class WriteGuard {
  #tokenHash: Buffer | undefined
  /** Fingerprint of the token: sessions opened with it end when it changes. */
  #tokenId = ''
  readonly #insecure: boolean
  readonly #names: ReadonlySet<string>

  constructor({ token, insecure, names }: WriteGuardOptions) {
    this.useToken(token)
    this.#insecure = insecure
    this.#names = new Set(names.map(name => name.toLowerCase()))
  }

  /** From the next request on; undefined: none is asked for. */
  useToken(token: string | undefined): void {
    this.#tokenHash = token === undefined ? undefined : hash(token)
    this.#tokenId = this.#tokenHash
      ? `config:${hash(`id ${token}`).toString('hex').slice(0, FINGERPRINT_CHARACTERS)}`
      : ''
  }

  get needsToken(): boolean {
    return this.#tokenHash !== undefined
  }

  /** Names the token, and not what it is; empty where there is none. */
  get tokenId(): string {
    return this.#tokenId
  }

  /** Hashes have one length, and comparing them tells nothing of the token. */
  isWriteToken(given: string): boolean {
    return this.#tokenHash !== undefined && timingSafeEqual(hash(given), this.#tokenHash)
  }

  /**
   * Closes DNS rebinding where being on this machine is all that is asked of a caller.
   *
   * @throws {HttpProblem} 403
   */
  checkName(headers: IncomingHttpHeaders): void {
    if (this.#tokenHash || this.isOwnName(headers)) return
    throw new HttpProblem(
      403,
      `'${headers.host ?? ''}' is not a name of this server; its settings can add one to 'names'`,
      [],
      'ACCESS_DENIED'
    )
  }

  /** Whether the request came under a name that cannot have been made to point here. */
  isOwnName({ host }: IncomingHttpHeaders): boolean {
    const name = hostNameOf(host ?? '')
    if (name === undefined) return false
    if (this.#names.has(name) || isLoopbackHost(name)) return true
    return this.#insecure && isIP(name) !== 0 // an address cannot be rebound
  }

  /** @throws {HttpProblem} 403: no page of this server made the browser ask. */
  checkSameOrigin(headers: IncomingHttpHeaders): void {
    if (headers.origin !== undefined || headers['sec-fetch-site'] === 'same-origin') return // and it was checked to be ours
    throw new HttpProblem(403, 'a session may be used by pages of this server only', [], 'ACCESS_DENIED')
  }

  /** @throws {HttpProblem} 403: a page of another site. */
  checkOrigin(headers: IncomingHttpHeaders): void {
    const site = headers['sec-fetch-site']
    const { origin } = headers
    const foreignSite = site !== undefined && site !== 'same-origin' && site !== 'none'
    if (foreignSite || (origin !== undefined && !this.#isOwnOrigin(origin, headers.host ?? ''))) {
      throw new HttpProblem(403, 'a page of another site may not write here', [], 'ACCESS_DENIED')
    }
  }

  #isOwnOrigin(origin: string, host: string): boolean {
    const [, authority] = /^https?:\/\/([^/?#@]+)$/i.exec(origin) ?? []
    if (authority === undefined) return false
    if (authority.toLowerCase() === host.toLowerCase()) return true
    // Behind a proxy that rewrites Host, the page's own name is the one that is configured.
    const name = hostNameOf(authority)
    return name !== undefined && this.#names.has(name)
  }
}

/** `[::1]:8080` → `::1`, `Films.local:8080` → `films.local`; undefined where it is neither. */
export function hostNameOf(host: string): string | undefined {
  const [, bracketed, plain] = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(host) ?? []
  return (bracketed ?? plain)?.toLowerCase()
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
