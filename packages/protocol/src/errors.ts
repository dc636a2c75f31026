/**
 * Every failure that crosses the wire, HTTP or the command line. One table owns code, wire number,
 * HTTP status, retry policy and kind. Append only: a released code keeps its number for ever.
 *
 * - `wire`  errno in error replies between our own programs; legacy peers always read -1.
 * - `http`  status at the gateway.
 * - `retry` `never`: the same request fails again; `elsewhere`: another server, or a later try, may succeed;
 *           `ask-first`: the outcome is unknown, look before you repeat.
 * - `kind`  what the catcher does, see the classes below.
 *
 * Documented in docs/ERRORS.md; a test holds the two together.
 */
export const ERRORS = {
  FRAME_TOO_LARGE: { wire: 1, http: 413, retry: 'never', kind: 'protocol' },
  NO_STORAGE_READY: { wire: 2, http: 503, retry: 'elsewhere', kind: 'unavailable' },
  OUTCOME_UNKNOWN: { wire: 3, http: 504, retry: 'ask-first', kind: 'unknown' },
  FILE_EXISTS: { wire: 4, http: 409, retry: 'never', kind: 'rejected' },
  NEGATIVE_LENGTH: { wire: 5, http: 400, retry: 'never', kind: 'protocol' },
  UNKNOWN_COMMAND: { wire: 6, http: 501, retry: 'never', kind: 'protocol' },
  BAD_BODY_LENGTH: { wire: 7, http: 400, retry: 'never', kind: 'protocol' },
  BAD_FIELD: { wire: 8, http: 400, retry: 'never', kind: 'rejected' },
  UNKNOWN_APPLICATION: { wire: 9, http: 404, retry: 'never', kind: 'rejected' },
  FILE_NOT_FOUND: { wire: 10, http: 404, retry: 'never', kind: 'rejected' },
  BAD_RANGE: { wire: 11, http: 416, retry: 'never', kind: 'rejected' },
  SIZE_MISMATCH: { wire: 12, http: 400, retry: 'never', kind: 'rejected' },
  NO_SPACE: { wire: 13, http: 507, retry: 'elsewhere', kind: 'unavailable' },
  NOT_JOINED: { wire: 14, http: 409, retry: 'never', kind: 'rejected' },
  TABLE_FULL: { wire: 15, http: 503, retry: 'elsewhere', kind: 'unavailable' },
  DATABASE_UNAVAILABLE: { wire: 16, http: 503, retry: 'elsewhere', kind: 'unavailable' },
  STORE_UNAVAILABLE: { wire: 17, http: 503, retry: 'elsewhere', kind: 'unavailable' },
  GENERATION_MISMATCH: { wire: 18, http: 412, retry: 'never', kind: 'rejected' },
  IDS_EXHAUSTED: { wire: 19, http: 507, retry: 'elsewhere', kind: 'unavailable' },
  TIMED_OUT: { wire: 20, http: 504, retry: 'elsewhere', kind: 'unavailable' },
  CONNECTION_LOST: { wire: 21, http: 502, retry: 'elsewhere', kind: 'unavailable' },
  SHUTTING_DOWN: { wire: 22, http: 503, retry: 'elsewhere', kind: 'unavailable' },
  ACCESS_DENIED: { wire: 23, http: 403, retry: 'never', kind: 'rejected' },
  CHECKSUM_MISMATCH: { wire: 24, http: 500, retry: 'elsewhere', kind: 'unavailable' },
  INTERNAL: { wire: 25, http: 500, retry: 'elsewhere', kind: 'unavailable' },
  VERSION_UNSUPPORTED: { wire: 26, http: 502, retry: 'never', kind: 'protocol' },
  PEER_ERROR: { wire: 27, http: 502, retry: 'elsewhere', kind: 'rejected' },
  OVERLOADED: { wire: 28, http: 503, retry: 'elsewhere', kind: 'unavailable' },
  CANCELLED: { wire: 29, http: 499, retry: 'never', kind: 'cancelled' },
  ID_SERVER_UNAVAILABLE: { wire: 30, http: 503, retry: 'elsewhere', kind: 'unavailable' },
  WRONG_CLUSTER: { wire: 31, http: 502, retry: 'never', kind: 'protocol' },
  BAD_REPLY: { wire: 32, http: 502, retry: 'elsewhere', kind: 'protocol' },
  DEGRADED: { wire: 33, http: 503, retry: 'elsewhere', kind: 'unavailable' },
  WRONG_GROUP: { wire: 35, http: 503, retry: 'elsewhere', kind: 'rejected' },
  UPLOAD_NOT_FOUND: { wire: 65, http: 404, retry: 'never', kind: 'rejected' },
  UPLOAD_OFFSET: { wire: 66, http: 409, retry: 'never', kind: 'rejected' },
  UPLOAD_TAKEN: { wire: 67, http: 423, retry: 'never', kind: 'rejected' },
  UPLOAD_CHECKSUM: { wire: 68, http: 460, retry: 'never', kind: 'rejected' },
  NO_SUCH_ENTRY: { wire: 70, http: 404, retry: 'never', kind: 'rejected' },
  ENTRY_EXISTS: { wire: 71, http: 409, retry: 'never', kind: 'rejected' },
  TOO_MANY_ENTRIES: { wire: 72, http: 409, retry: 'never', kind: 'rejected' },
  NOT_AUTHENTICATED: { wire: 73, http: 502, retry: 'never', kind: 'protocol' },
  JOB_NOT_FOUND: { wire: 85, http: 404, retry: 'never', kind: 'rejected' }
} as const satisfies Record<string, ErrorPolicy>

export interface ErrorPolicy {
  wire: number
  http: number
  retry: 'never' | 'elsewhere' | 'ask-first'
  kind: 'protocol' | 'rejected' | 'unavailable' | 'unknown' | 'cancelled'
}
export type ErrorCode = keyof typeof ERRORS
export type CodesOf<Kind extends ErrorPolicy['kind']> = {
  [C in ErrorCode]: (typeof ERRORS)[C]['kind'] extends Kind ? C : never
}[ErrorCode]

/** Every expected failure. Messages are for people and are never parsed. */
export abstract class TributaryError extends Error {
  abstract readonly code: ErrorCode
  get policy(): ErrorPolicy {
    return ERRORS[this.code]
  }
}

/** The peer broke the contract: answer if possible, then close its connection. */
export class ProtocolError extends TributaryError {
  override readonly name = 'ProtocolError'
  readonly code: CodesOf<'protocol'>
  constructor(code: CodesOf<'protocol'>, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** The request is sound but refused; the same request will be refused again. */
export class RejectedError extends TributaryError {
  override readonly name = 'RejectedError'
  readonly code: CodesOf<'rejected'>
  constructor(code: CodesOf<'rejected'>, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Nobody is at fault and nothing was done; another server, or a later try, may succeed. */
export class UnavailableError extends TributaryError {
  override readonly name = 'UnavailableError'
  readonly code: CodesOf<'unavailable'>
  constructor(code: CodesOf<'unavailable'>, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** The request left and no reply came: it may or may not have been done. Ask before repeating it. */
export class OutcomeUnknownError extends TributaryError {
  override readonly name = 'OutcomeUnknownError'
  readonly code = 'OUTCOME_UNKNOWN'
}

/** The caller's own AbortSignal ended the call. */
export class CancelledError extends TributaryError {
  override readonly name = 'CancelledError'
  readonly code = 'CANCELLED'
}

const CODE_BY_WIRE = new Map<number, ErrorCode>(
  (Object.keys(ERRORS) as ErrorCode[]).map(code => [ERRORS[code].wire, code])
)

/** Builds the error of the class that the table assigns to `code`. */
export function errorOf(code: ErrorCode, message: string, options?: ErrorOptions): TributaryError {
  switch (ERRORS[code].kind) {
    case 'protocol':
      return new ProtocolError(code as CodesOf<'protocol'>, message, options)
    case 'rejected':
      return new RejectedError(code as CodesOf<'rejected'>, message, options)
    case 'unavailable':
      return new UnavailableError(code as CodesOf<'unavailable'>, message, options)
    case 'unknown':
      return new OutcomeUnknownError(message, options)
    case 'cancelled':
      return new CancelledError(message, options)
  }
}

/** The error behind an error reply; numbers not in the table (legacy peers send -1) become PEER_ERROR. */
export function errorFromWire(errno: number, message: string): TributaryError {
  return errorOf(CODE_BY_WIRE.get(errno) ?? 'PEER_ERROR', message || 'the peer gave no reason')
}
