/** What /metrics tells of the requests: by route and method and status, with latencies and bytes. */
import type { IncomingMessage } from 'node:http'
import { RequestMeter, type Metrics } from '@tributary/runtime'

/** Route and method as one word; also the label `command` of the histogram. */
export const ROUTES = [
  'GET file',
  'HEAD file',
  'PUT file',
  'DELETE file',
  'OPTIONS file',
  'GET folder',
  'HEAD folder',
  'POST folder',
  'POST upload',
  'HEAD upload',
  'PATCH upload',
  'DELETE upload',
  'OPTIONS upload',
  'GET page',
  'GET picture',
  'GET stream',
  'GET api',
  'other api',
  'other'
] as const
export type Route = (typeof ROUTES)[number]

const STATUS_MAX = 600
const KNOWN: ReadonlySet<string> = new Set(ROUTES)

/** `PUT` and `file` → `PUT file`; `other`, where that is not told apart. */
export function routeOf(method: string, what: 'file' | 'upload'): Route {
  const route = `${method} ${what}`
  return KNOWN.has(route) ? (route as Route) : 'other'
}

export class HttpMeter {
  readonly requests = new RequestMeter<Route>(ROUTES)
  readonly #rows = new Map<Route, Float64Array>(ROUTES.map(route => [route, new Float64Array(STATUS_MAX)]))

  /**
   * One request is answered.
   *
   * @param outcome  OUTCOME_OK of the runtime, or the error's code.
   */
  record(route: Route, status: number, outcome: string, latencyMs: number): void {
    this.requests.record(route, outcome, latencyMs)
    const row = this.#rows.get(route)!
    const index = status < STATUS_MAX ? status : 0
    row[index] = row[index]! + 1
  }

  /** Counts what an upload brought, whatever becomes of it. */
  receiving({ socket }: IncomingMessage, upload: Promise<number>): Promise<number> {
    const beforeBytes = socket.bytesRead
    return upload.finally(() => this.requests.bytesReceived(socket.bytesRead - beforeBytes))
  }

  expose(metrics: Metrics): void {
    metrics.addMeter(() => this.requests.snapshot())
    metrics.counter(
      'responses_total',
      'Responses, by route, method and status',
      () =>
        [...this.#rows].flatMap(([command, row]) => {
          const [method = '', route = command] = command.includes(' ') ? command.split(' ') : ['', command]
          return Array.from(row.entries())
            .filter(([, count]) => count > 0)
            .map(([status, value]) => ({ labels: { route, method, status: String(status) }, value }))
        }),
      ['route', 'method', 'status']
    )
  }
}
