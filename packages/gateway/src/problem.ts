/** Errors as people and programs get them: application/problem+json, RFC 9457. */
import { STATUS_CODES, type OutgoingHttpHeader } from 'node:http'
import { TributaryError } from '@tributary/protocol'
import type { ProblemBody } from './contract/index.ts'

/** A refusal that is HTTP's own; what crosses the wire has its TributaryError. */
export class HttpProblem extends Error {
  override readonly name = 'HttpProblem'
  readonly status: number
  /** Header names and values in turn, which the status asks for: Allow, Content-Range, Retry-After … */
  readonly headers: readonly OutgoingHttpHeader[]
  readonly code: string
  constructor(status: number, detail: string, headers: readonly OutgoingHttpHeader[] = [], code?: string) {
    super(detail)
    this.status = status
    this.headers = headers
    this.code = code ?? phraseCode(status)
  }
}

export interface ProblemReply {
  status: number
  code: string
  /** The whole answer's headers, names and values in turn. */
  headers: OutgoingHttpHeader[]
  body: Buffer
}

/** Seconds after which a client may try again what failed for want of servers. */
const RETRY_AFTER_S = '2'
/** A reason may quote what a peer sent; longer ones help nobody. */
const DETAIL_CHARACTERS_MAX = 500
const SERVER_NAME = /^\[[^\]]*\] /

/** The answer to a failure. What nobody foresaw says nothing of itself: the log has it. */
export function problemReply(error: unknown): ProblemReply {
  if (error instanceof HttpProblem) return build(error.status, error.code, error.message, [...error.headers])
  if (error instanceof TributaryError) {
    const status = error.policy.http
    // Servers put their host names before their sentences; those are nobody's business out there.
    const detail = error.message.replace(SERVER_NAME, '')
    return build(status, error.code, detail, status === 503 ? ['Retry-After', RETRY_AFTER_S] : [])
  }
  return build(500, 'INTERNAL', 'something went wrong here that nobody foresaw', [])
}

/** A failure that is worth a line in the log: not the caller's doing. */
export function isOurFault(error: unknown): boolean {
  return !(error instanceof HttpProblem || error instanceof TributaryError)
}

function build(status: number, code: string, detail: string, headers: OutgoingHttpHeader[]): ProblemReply {
  const problem: ProblemBody = {
    type: 'about:blank',
    title: phraseOf(status),
    status,
    detail: detail.slice(0, DETAIL_CHARACTERS_MAX),
    code
  }
  const body = Buffer.from(`${JSON.stringify(problem)}\n`)
  headers.push(
    'Content-Type',
    'application/problem+json',
    'Content-Length',
    String(body.byteLength),
    'Cache-Control',
    'no-store',
    'X-Content-Type-Options',
    'nosniff'
  )
  return { status, code, headers, body }
}

/** The name that the standard has now; Node still has the one before (413). */
function phraseOf(status: number): string {
  return status === 413 ? 'Content Too Large' : (STATUS_CODES[status] ?? 'Unknown')
}

function phraseCode(status: number): string {
  return phraseOf(status)
    .toUpperCase()
    .replace(/[^A-Z]+/g, '_')
}
