/** The door: who is behind a request, and whether it may do what it asks for. */
import type { IncomingMessage } from 'node:http'
import {
  checkSignature,
  hashOfSecret,
  isSecret,
  SIGNATURE_PARAMETER,
  takeSignature,
  TOKEN_PREFIX
} from '@tributary/client'
import type { ChangedToken, Right } from '@tributary/calls'
import type { FileKey } from '@tributary/protocol'
import { AllowList, isLoopbackHost, type Clock, type Log } from '@tributary/runtime'
import type { Exchange } from '../exchange.ts'
import type { FileService } from '../file-service.ts'
import { filmOfApi } from '../file-target.ts'
import { HttpProblem } from '../problem.ts'
import { hostNameOf, WriteGuard } from '../write-guard.ts'
import { AccessCopy, STALE_READ_MS_MAX, STALE_WRITE_MS_MAX } from './access-copy.ts'
import { AuditTrail } from './audit-trail.ts'
import { clientAddressOf, customerOf, isSecure } from './client-address.ts'
import { EventTeller } from './event-teller.ts'
import { PlaySums } from './play-sums.ts'
import {
  ANONYMOUS,
  FULL_GRANTS,
  grantsCover,
  isAtLeast,
  limitKeyOf,
  type Principal,
  type Scope,
  type TokenPrincipal
} from './principal.ts'
import { Quotas } from './quotas.ts'
import { sessionOf } from './session-cookie.ts'
import { isShareId, SHARE_ID_CHARACTERS, ShareBook, signatureOfShare } from './share-book.ts'
import { TokenBuckets } from './token-bucket.ts'

export interface DoorOptions {
  files: FileService
  clock: Clock
  log: Log
  writeToken: string | undefined
  insecure: boolean
  names: readonly string[]
  /** Networks of proxies whose X-Forwarded-For is believed. */
  proxies: readonly string[]
}

const BEARER = /^Bearer[ ]+([\x21-\x7e]{1,512})[ ]*$/i
/** An application's limit, and this many seconds of it at once. */
const BURST_S = 2
/** Log-ins and passwords of shares that one address may try. */
const TRIES_PER_S = 10 / 60
const TRIES_BURST = 10
/** Passwords of one share that everybody together may try. */
const SHARE_TRIES_PER_S = 1
const SHARE_TRIES_BURST = 60
/** That tokens were used is told this often; to the day is all that anybody learns. */
const USED_INTERVAL_MS = 60_000
const USED_MAX = 1_000
const DAY_MS = 86_400_000

export class Door {
  readonly copy: AccessCopy
  readonly shares: ShareBook
  readonly quotas: Quotas
  readonly audit: AuditTrail
  readonly plays: PlaySums
  readonly events: EventTeller
  readonly guard: WriteGuard
  readonly #files: FileService
  readonly #clock: Clock
  readonly #proxies: AllowList
  readonly #insecure: boolean
  readonly #buckets: TokenBuckets
  readonly #principals = new WeakMap<IncomingMessage, Principal>()
  readonly #signatures = new WeakMap<IncomingMessage, string>()
  /** By token, the last day it is known to be used on. */
  readonly #usedDays = new Map<string, number>()
  readonly #used = new Set<string>()
  #usedTimer: NodeJS.Timeout | undefined

  constructor({ files, clock, log, writeToken, insecure, names, proxies }: DoorOptions) {
    this.#files = files
    this.#clock = clock
    this.#insecure = insecure
    this.#proxies = AllowList.parse(proxies)
    this.guard = new WriteGuard({ token: writeToken, insecure, names })
    this.copy = new AccessCopy(files, clock, log)
    this.shares = new ShareBook(files, clock)
    this.quotas = new Quotas(files, this.copy, clock)
    this.audit = new AuditTrail(files, clock, log)
    this.plays = new PlaySums(files, clock, log)
    this.events = new EventTeller(files, this.copy, clock, log)
    this.#buckets = new TokenBuckets(clock)
  }

  start(): void {
    this.copy.start()
    this.audit.start()
    this.plays.start()
    this.#usedTimer ??= setInterval(() => void this.#tellUsed(), USED_INTERVAL_MS)
    this.#usedTimer.unref()
  }

  /** What waits to be written is written, as far as `deadline` lets it. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.copy.stop()
    clearInterval(this.#usedTimer)
    const written = Promise.all([
      this.audit.stop(),
      this.plays.stop(),
      this.#tellUsed(),
      this.events.settled()
    ])
    await Promise.race([
      written,
      new Promise<void>(resolve => {
        if (deadline.aborted) resolve()
        else deadline.addEventListener('abort', () => resolve(), { once: true })
      })
    ])
  }

  /** Takes a signature off the request's address, before anybody else reads that. @returns where it was. */
  takeSignature(request: IncomingMessage): 'path' | 'query' | undefined {
    const url = request.url!
    const inPath = url.startsWith('/signed/')
    if (!inPath && !url.includes('signature=')) return undefined
    const taken = takeSignature(url)
    if (!taken) return undefined
    this.#signatures.set(request, taken.signature)
    request.url = taken.target
    return inPath ? 'path' : 'query'
  }

  signatureOf(request: IncomingMessage): string | undefined {
    return this.#signatures.get(request)
  }

  addressOf(request: IncomingMessage): string {
    return clientAddressOf(request, this.#proxies)
  }

  isSecure(request: IncomingMessage): boolean {
    return isSecure(request, this.#proxies)
  }

  /** Everybody may read the application's films and nothing is counted: nothing more is to be asked. */
  isOpen(application: string): boolean {
    if (!this.copy.isKnown) return false
    const rules = this.copy.rulesOf(application)
    return rules === undefined || (rules.reads === 'open' && rules.quotas.requestsPerS === 0)
  }

  /** Not everybody may read them: no shared cache may keep an answer. */
  isPrivate(application: string): boolean {
    return (this.copy.rulesOf(application)?.reads ?? 'open') !== 'open'
  }

  /** @throws {HttpProblem} 401, 403, 429; 503: it cannot be known now. */
  async admitRead({ request }: Pick<Exchange, 'request'>, film: FileKey): Promise<void> {
    await this.#known()
    const { application } = film
    const rules = this.copy.rulesOf(application)
    if (!rules) return
    if (rules.quotas.requestsPerS > 0) {
      const principal = rules.reads === 'open' ? ANONYMOUS : await this.#identify(request, false)
      this.#limit(request, principal, rules.quotas.requestsPerS)
    }
    if (rules.reads === 'open') return
    const signature = this.#signatures.get(request)
    if (signature !== undefined && rules.reads === 'signed') {
      const keyId = await this.#checkSignature(request, signature, film)
      this.#principals.set(request, { kind: 'signed', film, keyId })
      return
    }
    const principal = await this.#identify(request, false)
    if (principal.kind === 'local') return
    if (principal.kind === 'token' && grantsCover(principal.grants, 'read', film)) {
      return this.#checkFresh(principal, STALE_READ_MS_MAX)
    }
    throw refusal(
      principal,
      rules.reads === 'signed'
        ? `films of ${application} need a token, a signed address or a share link`
        : `films of ${application} need a token`
    )
  }

  /**
   * The same of who comes to a film's page, by a signature or a share that its address holds.
   *
   * @returns by what they were let in, where it was one of these
   * @throws as `admitRead`
   */
  async admitVisitor(
    exchange: Pick<Exchange, 'request'>,
    film: FileKey,
    { signature, share }: { signature?: string | undefined; share?: string | undefined }
  ): Promise<{ query: string; signature: string } | undefined> {
    const { request } = exchange
    await this.#known()
    let query: string | undefined
    if (signature !== undefined && !this.#signatures.has(request)) this.#signatures.set(request, signature)
    if (share !== undefined && !this.#signatures.has(request)) {
      const opened = await this.#signatureOfShare(share, film)
      if (opened !== undefined) {
        query = `share=${share}`
        this.#signatures.set(request, opened)
      }
    }
    await this.admitRead(exchange, film)
    const taken = this.#signatures.get(request)
    if (taken === undefined || this.knownPrincipal(request).kind !== 'signed') return undefined
    return { query: query ?? `${SIGNATURE_PARAMETER}=${taken}`, signature: taken }
  }

  /** What opening it would give; of one with a password, or of another film: nothing. */
  async #signatureOfShare(id: string, { application, user, file }: FileKey): Promise<string | undefined> {
    if (!isShareId(id) || this.copy.rulesOf(application)?.reads !== 'signed') return undefined
    const found = await this.shares.find(id)
    if (!found || found.share.hasPassword) return undefined
    const { share } = found
    if (share.application !== application || share.user !== user || share.file !== file) return undefined
    return signatureOfShare(found, this.#clock.nowMs()).signature
  }

  /** @throws As `admitRead`; 403 also: from another site. */
  admitWrite(exchange: Exchange, scope: Scope): Promise<void> {
    return this.authorize(exchange, 'write', scope)
  }

  /**
   * Everything but the reading of one film.
   *
   * @throws {HttpProblem} 401, 403, 429; 503: it cannot be known now.
   */
  async authorize({ request }: Exchange, right: Right | 'none', scope: Scope): Promise<void> {
    const { method = '' } = request
    const changes = method !== 'GET' && method !== 'HEAD'
    if (changes) this.guard.checkOrigin(request.headers)
    if (right === 'none') return
    await this.#known()
    if (right === 'read' && (await this.#isSigned(request))) return
    const principal = await this.#identify(request, true)
    const rules = scope.application === undefined ? undefined : this.copy.rulesOf(scope.application)
    if (rules && rules.quotas.requestsPerS > 0) this.#limit(request, principal, rules.quotas.requestsPerS)
    if (right === 'read' && this.#readsOpen(scope)) return
    if (principal.kind === 'local' && isAtLeast(principal.right, right)) return
    if (principal.kind === 'token' && grantsCover(principal.grants, right, scope)) {
      // A browser sends the cookie along by itself: only a page of ours may have made it do so.
      if (changes && principal.session !== undefined) this.guard.checkSameOrigin(request.headers)
      return this.#checkFresh(principal, right === 'read' ? STALE_READ_MS_MAX : STALE_WRITE_MS_MAX)
    }
    throw refusal(principal, `this needs the right to ${right} ${placeText(scope)}`)
  }

  /** Who is asking. @throws {HttpProblem} 401: with a token that is none. */
  async whoIs({ request }: Exchange): Promise<Principal> {
    await this.#known()
    return this.#identify(request, false)
  }

  /** As far as it is known already, for the audit log. */
  knownPrincipal(request: IncomingMessage): Principal {
    return this.#principals.get(request) ?? ANONYMOUS
  }

  /** The token, as a person gives it in to log in. @throws {HttpProblem} 401, 429 */
  async checkLogin({ request }: Exchange, secret: string): Promise<TokenPrincipal> {
    await this.#known()
    this.limitTries(request, 'login')
    const principal = await this.#tokenOf(secret)
    if (!principal) throw new HttpProblem(401, 'this token is not known, or no longer good')
    this.#principals.set(request, principal)
    return principal
  }

  /** @throws {HttpProblem} 429 */
  limitTries(request: IncomingMessage, what: string, shareId?: string): void {
    const waits = [
      this.#buckets.take(`${what} ${customerOf(this.addressOf(request))}`, TRIES_PER_S, TRIES_BURST)
    ]
    if (shareId !== undefined)
      waits.push(this.#buckets.take(`share ${shareId}`, SHARE_TRIES_PER_S, SHARE_TRIES_BURST))
    const waitS = Math.max(...waits)
    if (waitS > 0) throw tooMany(waitS)
  }

  /** @throws {HttpProblem} 429 */
  limitReports(request: IncomingMessage, perS: number, burst: number): void {
    const waitS = this.#buckets.take(`report ${customerOf(this.addressOf(request))}`, perS, burst)
    if (waitS > 0) throw tooMany(waitS)
  }

  #limit(request: IncomingMessage, principal: Principal, perS: number): void {
    const waitS = this.#buckets.take(
      limitKeyOf(principal, customerOf(this.addressOf(request))),
      perS,
      perS * BURST_S
    )
    if (waitS > 0) throw tooMany(waitS)
  }

  /** The same of a request that goes on: whether who began it still may. @throws as `authorize` */
  async authorizeAgain(exchange: Exchange, right: Right | 'none', scope: Scope): Promise<void> {
    this.#principals.delete(exchange.request)
    await this.authorize(exchange, right, scope)
  }

  async #known(): Promise<void> {
    if (this.copy.isKnown || (await this.copy.untilKnown())) return
    throw notKnown('who may read what is not known: no tracker answers')
  }

  /** No application that the scope names is closed to anybody. */
  #readsOpen({ application }: Scope): boolean {
    return application === undefined ? !this.copy.isAnyClosed : !this.isPrivate(application)
  }

  /** @param demandsName  where nobody but this machine is trusted, a name that is not ours is refused. */
  async #identify(request: IncomingMessage, demandsName: boolean): Promise<Principal> {
    const known = this.#principals.get(request)
    if (known) return known
    const principal = await this.#identifyAnew(request, demandsName)
    this.#principals.set(request, principal)
    return principal
  }

  async #identifyAnew(request: IncomingMessage, demandsName: boolean): Promise<Principal> {
    const { headers } = request
    const [, given] = BEARER.exec(headers.authorization ?? '') ?? []
    if (given !== undefined && (this.guard.needsToken || given.startsWith(TOKEN_PREFIX))) {
      const principal = await this.#tokenOf(given)
      if (principal) return principal
      throw unauthorized('this token is not known, or no longer good')
    }
    const session = sessionOf(headers.cookie)
    if (session !== undefined) {
      const principal = await this.#sessionOf(session)
      if (principal) return principal
    }
    if (this.guard.needsToken) return ANONYMOUS
    if (demandsName) this.guard.checkName(headers)
    else if (!this.guard.isOwnName(headers)) return ANONYMOUS
    return { kind: 'local', right: this.#localRight(request) }
  }

  /** Under a name for others, or from elsewhere, one may do what could always be done without a token, and no more. */
  #localRight(request: IncomingMessage): Right {
    const name = hostNameOf(request.headers.host ?? '')
    const isHere =
      name !== undefined && isLoopbackHost(name) && isLoopbackHost(request.socket.remoteAddress ?? '')
    if (isHere && request.headers['x-forwarded-for'] === undefined) return 'admin'
    return this.#insecure || isHere || this.guard.isOwnName(request.headers) ? 'write' : 'read'
  }

  async #tokenOf(secret: string): Promise<TokenPrincipal | undefined> {
    if (this.guard.isWriteToken(secret)) {
      return {
        kind: 'token',
        id: this.guard.tokenId,
        name: 'write token',
        grants: FULL_GRANTS,
        expiresAtMs: 0,
        session: undefined
      }
    }
    if (!isSecret(secret) || !secret.startsWith(TOKEN_PREFIX)) return undefined
    const token = await this.#look(hashOfSecret(secret))
    return token && token.parent === '' ? this.#principalOf(token, undefined) : undefined
  }

  async #sessionOf(secret: string): Promise<TokenPrincipal | undefined> {
    const session = await this.#look(hashOfSecret(secret))
    if (!session || session.parent === '') return undefined
    // It dies with its token, also with one of the configuration.
    const isParentGood = session.parent.startsWith('config:')
      ? session.parent === this.guard.tokenId
      : this.copy.byId(session.parent) !== undefined
    return isParentGood ? this.#principalOf(session, session.id) : undefined
  }

  /** One that another gateway made a moment ago is looked for. */
  async #look(hash: string): Promise<ChangedToken | undefined> {
    const token = this.copy.byHash(hash)
    if (token) return token
    await this.copy.refresh()
    return this.copy.byHash(hash)
  }

  #principalOf(
    { id, parent, name, grants, expiresAtMs }: ChangedToken,
    session: string | undefined
  ): TokenPrincipal {
    const tokenId = parent === '' ? id : parent
    if (!tokenId.startsWith('config:')) this.#noteUse(tokenId)
    return { kind: 'token', id: tokenId, name, grants, expiresAtMs, session }
  }

  /** What was revoked while no tracker could tell must not work for long. */
  async #checkFresh({ id, session }: TokenPrincipal, staleMsMax: number): Promise<void> {
    if (id.startsWith('config:') && session === undefined) return
    if (this.copy.ageMs <= staleMsMax) return
    await this.copy.refresh()
    if (this.copy.ageMs <= staleMsMax) return
    throw notKnown('whether this token is still good cannot be known: no tracker answers')
  }

  async #checkSignature(request: IncomingMessage, signature: string, film: FileKey): Promise<string> {
    const [, keyId = ''] = signature.split('~')
    const share = keyId.length === SHARE_ID_CHARACTERS ? await this.shares.find(keyId) : undefined
    if (!share && this.copy.ageMs > STALE_READ_MS_MAX) {
      throw notKnown('which keys are good is not known: no tracker answers')
    }
    // One that another gateway, or the command, made a moment ago is looked for.
    if (!share && keyId !== '' && this.copy.secretOf(keyId) === undefined) await this.copy.refresh()
    const verdict = checkSignature(signature, film, {
      nowMs: this.#clock.nowMs(),
      ip: this.addressOf(request),
      secretOf: id => (share && share.share.id === id ? share.secret : this.copy.secretOf(id))
    })
    if (verdict.good) return verdict.keyId
    throw new HttpProblem(403, SIGNATURE_REFUSALS[verdict.why], [], 'BAD_SIGNATURE')
  }

  /** What there is to know of a film is read under its signature, too. */
  async #isSigned(request: IncomingMessage): Promise<boolean> {
    const signature = this.#signatures.get(request)
    const film = signature === undefined ? undefined : filmOfApi(request.url!)
    if (signature === undefined || film === undefined) return false
    if (this.copy.rulesOf(film.application)?.reads !== 'signed') return false
    const keyId = await this.#checkSignature(request, signature, film)
    this.#principals.set(request, { kind: 'signed', film, keyId })
    return true
  }

  #noteUse(id: string): void {
    const day = Math.floor(this.#clock.nowMs() / DAY_MS)
    if (this.#usedDays.get(id) === day || this.#used.size >= USED_MAX) return
    this.#usedDays.set(id, day)
    this.#used.add(id)
  }

  async #tellUsed(): Promise<void> {
    const ids = [...this.#used]
    if (ids.length === 0) return
    this.#used.clear()
    try {
      await this.#files.index('tokens.used', { ids })
    } catch {
      for (const id of ids) this.#usedDays.delete(id) // the next use is told
    }
  }
}

const SIGNATURE_REFUSALS = {
  malformed: 'this is no signature',
  'unknown-key': 'the key of this signature is not known, or no longer good',
  forged: 'this signature is not of this film',
  expired: 'this address has expired',
  'lives-too-long': 'this signature lives longer than any may',
  'wrong-network': 'this address is good from another network only'
}

function refusal(principal: Principal, detail: string): HttpProblem {
  if (principal.kind === 'token' || principal.kind === 'local') {
    return new HttpProblem(403, `${detail}, which this token does not have`, [], 'ACCESS_DENIED')
  }
  return unauthorized(detail)
}

function unauthorized(detail: string): HttpProblem {
  return new HttpProblem(401, detail, ['WWW-Authenticate', 'Bearer realm="tributary"'])
}

/** The gateway cannot say yes or no, and a moment later it may. */
function notKnown(detail: string): HttpProblem {
  return new HttpProblem(503, detail, ['Retry-After', '2'], 'ACCESS_NOT_KNOWN')
}

function tooMany(waitS: number): HttpProblem {
  const retryS = String(Math.max(1, Math.ceil(waitS)))
  return new HttpProblem(429, `too many requests: wait ${retryS} s`, ['Retry-After', retryS])
}

function placeText({ application, user }: Scope): string {
  if (application === undefined) return 'in every application'
  return user === undefined ? `in ${application}` : `what ${user} has in ${application}`
}
