/** The life of a request: answered by what was asked for or by its error, then counted, and audited. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'
import { OUTCOME_OK, type Clock, type Log } from '@tributary/runtime'
import { auditedOf } from './access/audited-request.ts'
import type { Door } from './access/door.ts'
import { nameOf } from './access/principal.ts'
import { sendProblem, type Exchange } from './exchange.ts'
import type { Owner } from './file-target.ts'
import type { HttpMeter, Route } from './http-meter.ts'
import { HttpProblem, isOurFault, problemReply } from './problem.ts'

/** Answers, and returns the status; or throws. */
export type Work = (exchange: Exchange) => number | Promise<number>

export interface AnsweringParts {
  door: Door
  meter: HttpMeter
  clock: Clock
  log: Log
  /** Whose a file is whose address does not say it. */
  owner: Owner
}

const NO_HEADERS: readonly string[] = []
/** Their senders wait for `100 Continue`. */
const AWAITS_CONTINUE = new WeakSet<IncomingMessage>()

/** To be called before the request is answered. */
export function markAwaitingContinue(request: IncomingMessage): void {
  AWAITS_CONTINUE.add(request)
}

export class Answering {
  readonly #parts: AnsweringParts

  constructor(parts: AnsweringParts) {
    this.#parts = parts
  }

  /** A request that came through the router; the framework has no further part in its answer. */
  run(route: Route, request: IncomingMessage, reply: FastifyReply, work: Work): void {
    reply.hijack()
    this.answer(route, request, reply.raw, work)
  }

  /** Every request ends up here. */
  answer(route: Route, request: IncomingMessage, response: ServerResponse, work: Work): void {
    const exchange = this.exchange(route, request, response)
    try {
      checkHostHeader(request)
      const status = work(exchange)
      if (typeof status === 'number') return this.done(exchange, status)
      status.then(
        answered => this.done(exchange, answered),
        error => this.fail(exchange, error)
      )
    } catch (error) {
      this.fail(exchange, error)
    }
  }

  exchange(route: Route, request: IncomingMessage, response: ServerResponse): Exchange {
    return {
      request,
      response,
      route,
      startedMs: this.#parts.clock.monotonicMs(),
      sentBytes: 0,
      awaitsContinue: request.headers.expect !== undefined && AWAITS_CONTINUE.has(request),
      errorHeaders: NO_HEADERS
    }
  }

  /** It was answered with this status. */
  done(exchange: Exchange, status: number): void {
    const { meter } = this.#parts
    const { route, sentBytes } = exchange
    this.#audit(exchange, status, '')
    if (sentBytes > 0) meter.requests.bytesSent(sentBytes)
    meter.record(route, status, OUTCOME_OK, this.#latencyMs(exchange))
  }

  /** Answers with the error, as far as there is anybody who hears it. */
  fail(exchange: Exchange, error: unknown): void {
    const { meter, log } = this.#parts
    const { request, response, route } = exchange
    const gone = response.destroyed
    const { status } = problemReply(error)
    if (!gone && isOurFault(error)) {
      log.error({ err: error, method: request.method, route }, 'a request failed')
    }
    const code = sendProblem(exchange, error)
    this.#audit(exchange, status, code)
    meter.record(route, gone ? 499 : status, gone ? 'CANCELLED' : code, this.#latencyMs(exchange))
  }

  #latencyMs({ startedMs }: Exchange): number {
    return this.#parts.clock.monotonicMs() - startedMs
  }

  /** Whatever changes something, and whatever is refused. */
  #audit({ request }: Exchange, status: number, code: string): void {
    const { door, owner } = this.#parts
    const audited = auditedOf(request, status, owner)
    if (!audited) return
    const { outcome } = audited
    const principal = door.knownPrincipal(request)
    // What nobody in particular got wrong is no news: anybody could fill the log with it.
    if (outcome === 'failed' && principal.kind === 'anonymous') return
    door.audit.note({
      ...audited,
      code,
      who: nameOf(principal),
      token: principal.kind === 'token' ? principal.id : '',
      address: door.addressOf(request)
    })
  }
}

/** More than one Host, or one that is no host, is an attack or a mistake: RFC 9112 §3.2. */
function checkHostHeader({ rawHeaders }: IncomingMessage): void {
  let hosts = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  if (hosts > 1) throw new HttpProblem(400, 'a request has one Host header')
}
