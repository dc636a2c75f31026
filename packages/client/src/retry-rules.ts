/** When a failed call is worth another server, and when it is worth another try later. */
import { CancelledError, TributaryError, type ErrorCode } from '@tributary/protocol'

/** For so long, by default, a request that nobody could serve is tried again: a server is back within 3 s. */
export const RETRY_FOR_MS = 5_000
/** Longest wait for one reply: a server waits 2 s for its database, and a mirrored volume may stall for a moment. */
export const CALL_TIMEOUT_MS = 5_000
/** Longest wait for the reply to an upload whose last byte has left: a cut-off mirror stalls writes 7 s and more. */
export const COMMIT_TIMEOUT_MS = 30_000
/** Longest silence in the middle of a transfer. */
export const SILENCE_MS = 10_000
const PAUSE_MS_MIN = 50
const PAUSE_MS_MAX = 1_000

/** What may have passed after a moment. Others are the same later: a full disk, a fault, a damaged copy. */
const PASSES = new Set<ErrorCode>([
  'NO_STORAGE_READY',
  'DATABASE_UNAVAILABLE',
  'STORE_UNAVAILABLE',
  'ID_SERVER_UNAVAILABLE',
  'TIMED_OUT',
  'CONNECTION_LOST',
  'SHUTTING_DOWN',
  'OVERLOADED',
  'WRONG_GROUP'
])

export function worthElsewhere(error: unknown): error is TributaryError {
  return error instanceof TributaryError && error.policy.retry === 'elsewhere'
}

export function worthLater(error: unknown): boolean {
  return error instanceof TributaryError && PASSES.has(error.code)
}

/** The request may have been carried out although no reply came. */
export function leavesDoubt(error: unknown): boolean {
  return (
    error instanceof TributaryError &&
    (error.code === 'CONNECTION_LOST' || error.code === 'TIMED_OUT' || error.code === 'OUTCOME_UNKNOWN')
  )
}

export function isCode(error: unknown, code: ErrorCode): error is TributaryError {
  return error instanceof TributaryError && error.code === code
}

export function cancelledBy(signal: AbortSignal): CancelledError {
  return signal.reason instanceof CancelledError
    ? signal.reason
    : new CancelledError('the caller cancelled the call', { cause: signal.reason })
}

/**
 * Ends the wait, not the call: on a shared connection other callers' replies follow this one.
 *
 * @throws {CancelledError}
 */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  if (signal.aborted) {
    promise.catch(() => {}) // nobody waits for it any more
    return Promise.reject(cancelledBy(signal))
  }
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(cancelledBy(signal))
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

/** Waits between the rounds of one request, a little longer each time, until its time is up. */
export class Patience {
  readonly #untilMs: number
  readonly #signal: AbortSignal | undefined
  #pauseMs = PAUSE_MS_MIN

  constructor(forMs: number, signal: AbortSignal | undefined) {
    this.#untilMs = performance.now() + forMs
    this.#signal = signal
  }

  /** False at once when another round would be too late. @throws {CancelledError} */
  async pause(): Promise<boolean> {
    if (this.#signal?.aborted) throw cancelledBy(this.#signal)
    const waitMs = this.#pauseMs * (0.75 + Math.random() / 2) // callers that failed together do not return together
    if (performance.now() + waitMs > this.#untilMs) return false
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MS_MAX)
    await abortable(new Promise<void>(resolve => setTimeout(resolve, waitMs)), this.#signal)
    return true
  }
}
