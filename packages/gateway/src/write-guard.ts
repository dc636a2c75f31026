/**
 * Who may write. Without a token only programs of this machine, and pages that this server itself gave out: a page
 * from elsewhere in the same browser must not, even when its name was made to point here (DNS rebinding).
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

const BEARER = /^Bearer[ ]+([\x21-\x7e]+)[ ]*$/i

export class WriteGuard {
  #tokenHash: Buffer | undefined
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
  }

  get needsToken(): boolean {
    return this.#tokenHash !== undefined
  }

  /** @throws {HttpProblem} 401: no or a wrong token. 403: from another site, or under a name that is not ours. */
  checkWrite(headers: IncomingHttpHeaders): void {
    this.#checkOrigin(headers)
    if (!this.#tokenHash) return this.checkName(headers)
    const [, given] = BEARER.exec(headers.authorization ?? '') ?? []
    // Hashes have one length, and comparing them tells nothing of the token.
    if (given !== undefined && timingSafeEqual(hash(given), this.#tokenHash)) return
    throw new HttpProblem(
      401,
      given === undefined
        ? 'writing needs the header Authorization: Bearer with the write token of this server'
        : 'this is not the write token of this server',
      ['WWW-Authenticate', 'Bearer realm="tributary"']
    )
  }

  /**
   * Closes DNS rebinding where being on this machine is all that is asked of a caller.
   *
   * @throws {HttpProblem} 403
   */
  checkName({ host }: IncomingHttpHeaders): void {
    if (this.#tokenHash) return
    const name = hostNameOf(host ?? '')
    if (name !== undefined) {
      if (this.#names.has(name) || isLoopbackHost(name)) return
      if (this.#insecure && isIP(name) !== 0) return // an address cannot be rebound
    }
    throw new HttpProblem(
      403,
      `'${host ?? ''}' is not a name of this server; its settings can add one to 'names'`,
      [],
      'ACCESS_DENIED'
    )
  }

  #checkOrigin(headers: IncomingHttpHeaders): void {
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
