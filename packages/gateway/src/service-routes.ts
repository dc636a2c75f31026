/** What programs ask of the gateway itself: whether it lives, whether it is ready, how it does, and what it is. */
import type { FastifyInstance } from 'fastify'
import type { Metrics, ReadinessReport } from '@tributary/runtime'
import type { Answering, Work } from './answering.ts'
import type { About } from './contract/index.ts'
import { sendJson, sendWhole } from './exchange.ts'
import type { Route } from './http-meter.ts'

export interface ServiceRoutesOptions {
  app: FastifyInstance
  answering: Answering
  metrics: Metrics
  /** Looks at what the gateway depends on. */
  report: () => Promise<ReadinessReport>
  about: () => About
}

export function addServiceRoutes({ app, answering, metrics, report, about }: ServiceRoutesOptions): void {
  const reading = (url: string, route: Route, work: Work): void => {
    app.route({
      method: ['GET', 'HEAD'],
      url,
      handler: (request, reply) => answering.run(route, request.raw, reply, work)
    })
  }
  reading('/healthz', 'other', exchange => {
    sendJson(exchange, 200, { status: 'ok' })
    return 200
  })
  reading('/readyz', 'other', async exchange => {
    const readiness = await report()
    const status = readiness.ready ? 200 : 503
    sendJson(exchange, status, readiness)
    return status
  })
  reading('/metrics', 'other', async exchange => {
    const text = Buffer.from(await metrics.text())
    const headers = ['Content-Type', metrics.contentType, 'Content-Length', String(text.byteLength)]
    headers.push('Cache-Control', 'no-store', 'X-Content-Type-Options', 'nosniff')
    sendWhole(exchange, 200, headers, text)
    return 200
  })
  reading('/about.json', 'GET page', exchange => {
    sendJson(exchange, 200, about())
    return 200
  })
}
