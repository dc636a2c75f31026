/** One request and its response. */
import type { IncomingMessage, OutgoingHttpHeader, ServerResponse } from 'node:http'
import type { Route } from './http-meter.ts'
import { HttpProblem, problemReply } from './problem.ts'

/** Of a refused upload so much is read and dropped, so that its sender gets the answer and not a reset. */
const DROP_BYTES_MAX = 64 * 1024 * 1024
const DROP_MS_MAX = 5_000

export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly startedMs: number
  route: Route
  /** Bytes of content sent or about to be. */
  sentBytes: number
  /** The sender waits for `100 Continue` before it sends its content. */
  awaitsContinue: boolean
  /** Headers that an error's answer carries as well. */
  errorHeaders: readonly OutgoingHttpHeader[]
}

/** The content is wanted: whoever asked before sending it is told so. */
export function sendContinue(exchange: Exchange): void {
  if (!exchange.awaitsContinue) return
  exchange.awaitsContinue = false
  exchange.response.writeContinue()
}

/** Sends a whole answer. `headers` are names and values in turn. */
export function sendWhole(
  { response, request }: Exchange,
  status: number,
  headers: OutgoingHttpHeader[],
  body?: Buffer
): void {
  response.writeHead(status, headers)
  response.end(request.method === 'HEAD' ? undefined : body)
}

export function sendJson(
  exchange: Exchange,
  status: number,
  value: unknown,
  headers: OutgoingHttpHeader[] = []
): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`)
  exchange.sentBytes = body.byteLength
  headers.push(
    'Content-Type',
    'application/json; charset=utf-8',
    'Content-Length',
    String(body.byteLength),
    'Cache-Control',
    'no-store',
    'X-Content-Type-Options',
    'nosniff'
  )
  sendWhole(exchange, status, headers, body)
}

/**
 * Answers with an error, or cuts the connection where an answer has begun: the receiver was promised other bytes.
 *
 * @returns the code that was answered with, for the metrics.
 */
export function sendProblem(exchange: Exchange, error: unknown): string {
  const { request, response } = exchange
  const { status, code, headers, body } = problemReply(error)
  if (response.headersSent) {
    response.destroy()
    return code
  }
  headers.push(...exchange.errorHeaders)
  if (hasNoBodyLeft(request)) sendWhole(exchange, status, headers, body)
  else {
    // What follows on this connection cannot be told from the content that was refused.
    headers.push('Connection', 'close')
    response.writeHead(status, headers)
    if (exchange.awaitsContinue) response.end(body)
    else {
      response.write(body)
      dropContent(request, () => response.end())
    }
  }
  return code
}

export function methodNotAllowed(allow: string): HttpProblem {
  return new HttpProblem(405, `this URL takes ${allow}`, ['Allow', allow])
}

function hasNoBodyLeft(request: IncomingMessage): boolean {
  if (request.complete) return true
  return (
    request.headers['transfer-encoding'] === undefined && Number(request.headers['content-length'] ?? 0) === 0
  )
}

function dropContent(request: IncomingMessage, done: () => void): void {
  let leftBytes = DROP_BYTES_MAX
  let ended = false
  const finish = (): void => {
    if (ended) return
    ended = true
    clearTimeout(timer)
    request.pause()
    done()
  }
  const timer = setTimeout(finish, DROP_MS_MAX)
  request.on('data', (chunk: Buffer) => {
    leftBytes -= chunk.byteLength
    if (leftBytes < 0) finish()
  })
  request.once('end', finish)
  request.once('close', finish)
  request.once('error', finish)
  request.resume()
}
