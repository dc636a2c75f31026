import { Redis, type RedisOptions } from 'ioredis'
import type { DatabaseEvent } from './database.ts'
import { redisAddressOf } from './redis-address.ts'

// The only importer of ioredis.

/** How long a cached answer may outlive what it was read from. */
export const CACHE_TTL_S = 60
/** A cache that takes longer than this is none: the database answers in about a millisecond. */
export const CACHE_DEADLINE_MS = 50
/** Silence on everything asked after which it is left alone, and for how long. A busy machine alone makes gaps of 50 ms. */
const SILENCE_MS_MAX = 250
const REST_MS = 1_000
/** Commands without an answer yet; past that the cache is passed by. */
const PENDING_MAX = 2_000
const RECONNECT_MS_MAX = 2_000
const CONNECT_TIMEOUT_MS = 1_000

const OPTIONS: RedisOptions = {
  // Only GET, SET and DEL are used: RESP2 says all they have to say, to servers of every age.
  protocol: 2,
  enableOfflineQueue: false,
  enableAutoPipelining: true,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: CONNECT_TIMEOUT_MS,
  retryStrategy: reconnectAfterMs,
  // A server that was made a replica keeps its connections, and refuses every write.
  reconnectOnError: error => error.message.startsWith('READONLY')
}

function reconnectAfterMs(attempts: number): number {
  return Math.min(attempts * 100, RECONNECT_MS_MAX)
}

/**
 * @param options  those of Sentinels count where the address names some.
 * @throws {Error} the address is none; see redisAddressOf.
 */
export function redisClientOf(url: string, options: RedisOptions): Redis {
  const address = redisAddressOf(url)
  if (address.kind === 'server') return new Redis(address.url, options)
  return new Redis({
    ...options,
    sentinels: [...address.sentinels],
    name: address.name,
    ...(address.user !== undefined && { username: address.user }),
    ...(address.password !== undefined && { password: address.password })
  })
}

/** Short texts in Redis, read and written if that goes at once. No method ever rejects. */
export class RedisCache {
  readonly #redis: Redis
  readonly #onEvent: (event: DatabaseEvent) => void
  #pending = 0
  /** When it was first asked after its last answer. */
  #unansweredSinceMs: number | undefined
  #restsUntilMs = 0
  #isDown = false

  /** @throws {Error} the address is none; see redisAddressOf. */
  constructor(url: string, onEvent: (event: DatabaseEvent) => void) {
    this.#onEvent = onEvent
    this.#redis = redisClientOf(url, {
      ...OPTIONS,
      // They tell when another server is the primary; else a client would stay with the old one.
      failoverDetector: true,
      sentinelCommandTimeout: CONNECT_TIMEOUT_MS,
      sentinelRetryStrategy: reconnectAfterMs,
      sentinelReconnectStrategy: reconnectAfterMs
    })
    // Errors are many while it is away: one event tells of the first, another of its return.
    this.#redis.on('error', (error: Error) => this.#setDown(true, error.message))
    this.#redis.on('close', () => this.#setDown(true, 'connection closed'))
    this.#redis.on('ready', () => this.#setDown(false, ''))
  }

  /** Undefined: not there, or not at once. */
  async get(key: string): Promise<string | undefined> {
    return (await this.#call(() => this.#redis.get(key))) ?? undefined
  }

  set(key: string, text: string): void {
    void this.#call(() => this.#redis.set(key, text, 'EX', CACHE_TTL_S))
  }

  /** Resolves once it is gone, or the cache proved too slow to say so; then CACHE_TTL_S ends it. */
  async remove(key: string): Promise<void> {
    await this.#call(() => this.#redis.del(key))
  }

  close(): void {
    this.#redis.removeAllListeners('close')
    this.#redis.disconnect()
  }

  async #call<T>(start: () => Promise<T>): Promise<T | undefined> {
    const isResting = performance.now() < this.#restsUntilMs
    if (isResting || this.#pending >= PENDING_MAX || this.#redis.status !== 'ready') return undefined
    this.#pending++
    this.#unansweredSinceMs ??= performance.now()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>(resolve => {
      // The turn after the next: an answer that already lies in the socket still counts.
      timer = setTimeout(() => setImmediate(resolve, undefined), CACHE_DEADLINE_MS)
    }).then(() => this.#missed())
    const answer = start().then(
      value => {
        this.#unansweredSinceMs = undefined
        return value
      },
      // Full, read-only, gone: all the same to us.
      () => undefined
    )
    try {
      return await Promise.race([answer, late])
    } finally {
      clearTimeout(timer)
      this.#pending--
    }
  }

  #missed(): undefined {
    const nowMs = performance.now()
    const silenceMs = nowMs - (this.#unansweredSinceMs ?? nowMs)
    if (silenceMs < SILENCE_MS_MAX || nowMs < this.#restsUntilMs) return
    this.#unansweredSinceMs = undefined
    this.#restsUntilMs = nowMs + REST_MS
    this.#setDown(true, `no answer in ${SILENCE_MS_MAX} ms`)
    // Whatever waits on this connection is dropped with it.
    this.#redis.disconnect(true)
  }

  #setDown(isDown: boolean, why: string): void {
    if (isDown === this.#isDown) return
    this.#isDown = isDown
    if (isDown) this.#onEvent({ level: 'warn', text: `cache: passed by: ${why}` })
    else this.#onEvent({ level: 'info', text: 'cache: back' })
  }
}
