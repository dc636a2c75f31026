/**
 * This gateway's copy of tokens, rules and keys. It is asked for changes every second, so what was revoked is dead here a
 * second or two later, whichever gateway it was revoked at.
 */
import {
  type AccessChanges,
  type ApplicationRules,
  type ChangedKey,
  type ChangedToken
} from '@tributary/calls'
import { ProtocolError, UnavailableError } from '@tributary/protocol'
import type { Clock, Log } from '@tributary/runtime'
import type { FileService } from '../file-service.ts'

/** What is revoked is dead everywhere within 5 s: a question a second, and one that is lost. */
export const FOLLOW_INTERVAL_MS = 1_000
/** Of an index that is read anew: some hundred thousand tokens. */
const PARTS_MAX = 1_000
const ASK_WAIT_MS = 2_000
/** After a failure, and until the first answer. */
const RETRY_MS = 250
/** So old a copy is believed where something is written or administered … */
export const STALE_WRITE_MS_MAX = 5_000
/** … and where something is read: a film that plays goes on while the trackers are away. */
export const STALE_READ_MS_MAX = 15 * 60_000
/** Whoever shows a token that is not known makes us look, but not more often than this. */
const LOOK_INTERVAL_MS = 200
/** The first answer is waited for so long by a request. */
const FIRST_WAIT_MS = 3_000
/** Ended entries are dropped this often. */
const FORGET_INTERVAL_MS = 60_000

export class AccessCopy {
  readonly #files: Pick<FileService, 'index'>
  readonly #clock: Clock
  readonly #log: Log
  readonly #byHash = new Map<string, ChangedToken>()
  readonly #byId = new Map<string, ChangedToken>()
  readonly #rules = new Map<string, ApplicationRules>()
  readonly #keys = new Map<string, ChangedKey>()
  #webhooks = 0
  #revision = 0
  /** On the monotonic clock: when the question was sent whose answer this is. */
  #asOfMs = -Infinity
  /** The same of the latest question, answered or not. */
  #askedMs = -Infinity
  #isKnown = false
  #first: PromiseWithResolvers<void> = Promise.withResolvers()
  #asking: Promise<void> | undefined
  #failing = false
  #stop: AbortController | undefined
  #forgotMs = 0

  constructor(files: Pick<FileService, 'index'>, clock: Clock, log: Log) {
    this.#files = files
    this.#clock = clock
    this.#log = log
  }

  start(): void {
    if (this.#stop) return
    this.#stop = new AbortController()
    void this.#follow(this.#stop.signal)
  }

  stop(): void {
    this.#stop?.abort()
    this.#stop ??= new AbortController()
  }

  /** Once it has been answered. */
  get isKnown(): boolean {
    return this.#isKnown
  }

  get ageMs(): number {
    return this.#clock.monotonicMs() - this.#asOfMs
  }

  get webhooks(): number {
    return this.#webhooks
  }

  /** Resolves when there is a first answer. @returns false: there is none in time. */
  async untilKnown(): Promise<boolean> {
    if (this.#isKnown) return true
    const stop = new AbortController()
    await Promise.race([this.#first.promise, this.#clock.sleep(FIRST_WAIT_MS, stop.signal).catch(() => {})])
    stop.abort()
    return this.#isKnown
  }

  /** Of an application with rules of its own; undefined: everybody reads, without quotas. */
  rulesOf(application: string): ApplicationRules | undefined {
    return this.#rules.get(application)
  }

  /** Applications whose films not everybody may read. */
  get isAnyClosed(): boolean {
    for (const { reads } of this.#rules.values()) if (reads !== 'open') return true
    return false
  }

  /** A token or session by the hash of its secret, if it is good. */
  byHash(hash: string): ChangedToken | undefined {
    return this.#ifGood(this.#byHash.get(hash))
  }

  /** A token by its id, if it is good. */
  byId(id: string): ChangedToken | undefined {
    return this.#ifGood(this.#byId.get(id))
  }

  /** Secret of a signing key that is believed. */
  secretOf(keyId: string): string | undefined {
    const key = this.#keys.get(keyId)
    return key && key.state !== 'removed' ? key.secret : undefined
  }

  /**
   * Looks for changes: what was done before is known after it, where a tracker answers. Those who ask at the same time
   * share the question. Never rejects.
   */
  async refresh(): Promise<void> {
    const sinceMs = this.#clock.monotonicMs()
    const waitMs = this.#askedMs + LOOK_INTERVAL_MS - sinceMs
    if (waitMs > 0) await this.#clock.sleep(waitMs, this.#stop?.signal).catch(() => {})
    // One that is under way may have been answered before.
    if (this.#askedMs < sinceMs) await this.#asking
    if (this.#askedMs < sinceMs) await this.#ask()
    else await this.#asking
  }

  #ask(): Promise<void> {
    this.#asking ??= this.#askNow().finally(() => (this.#asking = undefined))
    return this.#asking
  }

  async #askNow(): Promise<void> {
    try {
      for (;;) {
        const askedMs = (this.#askedMs = this.#clock.monotonicMs())
        const changes = await this.#files.index(
          'access.changes',
          { since: this.#revision },
          { signal: AbortSignal.timeout(ASK_WAIT_MS) }
        )
        if (changes.revision < this.#revision) await this.#startAnew(changes.revision)
        else this.#apply(changes)
        if (changes.more) continue
        this.#answered(askedMs)
        return
      }
    } catch (error) {
      // An older tracker has no rules to tell; one that is asked while others are renewed already changes nothing.
      if (!this.#isKnown && error instanceof ProtocolError && isOlder(error)) {
        this.#answered(this.#clock.monotonicMs())
        return
      }
      if (!this.#failing)
        this.#log.warn({ err: error }, 'tokens and rules cannot be followed: no tracker tells them')
      this.#failing = true
    }
  }

  #answered(askedMs: number): void {
    if (this.#failing) this.#log.info({}, 'tokens and rules are followed again')
    this.#failing = false
    this.#asOfMs = askedMs
    if (this.#isKnown) return
    this.#isKnown = true
    this.#first.resolve()
  }

  /**
   * An index that was made anew begins at the first revision: what is known of the old one goes, when all of the new one is
   * here. In between there would be no rules, and without rules everybody may read.
   *
   * @throws {UnavailableError} it has none, and had some: no answer is better than that one
   */
  async #startAnew(revision: number): Promise<void> {
    if (revision === 0) {
      throw new UnavailableError('DATABASE_UNAVAILABLE', 'a tracker has no rules where there were some')
    }
    const parts: AccessChanges[] = []
    let since = 0
    do {
      const signal = AbortSignal.timeout(ASK_WAIT_MS)
      const part = await this.#files.index('access.changes', { since }, { signal })
      since = part.revision
      parts.push(part)
    } while (parts.at(-1)!.more && parts.length < PARTS_MAX)
    this.#byHash.clear()
    this.#byId.clear()
    this.#rules.clear()
    this.#keys.clear()
    for (const part of parts) this.#apply(part)
  }

  #apply({ revision, tokens, rules, keys, webhooks }: AccessChanges): void {
    this.#revision = revision
    for (const token of tokens) {
      this.#byHash.set(token.hash, token)
      this.#byId.set(token.id, token)
    }
    for (const rule of rules) this.#rules.set(rule.application, rule)
    for (const key of keys) this.#keys.set(key.id, key)
    this.#webhooks = webhooks
    this.#forgetEnded()
  }

  #forgetEnded(): void {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#forgotMs < FORGET_INTERVAL_MS) return
    this.#forgotMs = nowMs
    for (const [hash, token] of this.#byHash) {
      if (this.#ifGood(token)) continue
      this.#byHash.delete(hash)
      this.#byId.delete(token.id)
    }
  }

  #ifGood(token: ChangedToken | undefined): ChangedToken | undefined {
    if (!token || token.revokedAtMs > 0) return undefined
    return token.expiresAtMs === 0 || token.expiresAtMs > this.#clock.nowMs() ? token : undefined
  }

  async #follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#ask()
      const waitMs = this.#failing || !this.#isKnown ? RETRY_MS : FOLLOW_INTERVAL_MS
      await this.#clock.sleep(waitMs, signal).catch(() => {})
    }
  }
}

function isOlder({ code }: ProtocolError): boolean {
  return code === 'VERSION_UNSUPPORTED' || code === 'UNKNOWN_COMMAND'
}
