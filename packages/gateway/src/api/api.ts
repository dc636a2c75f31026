/**
 * The API below /api/v1: every endpoint of the contract that has a handler, with its rights, validation and errors, and the
 * OpenAPI document of them all.
 */
import swagger from '@fastify/swagger'
import type {
  FastifyError,
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  FastifySchema,
  onRequestHookHandler
} from 'fastify'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { Convert } from 'typebox/value'
import type { BodyOf, Endpoint, ParametersOf, QueryOf, ReplyOf, Right } from '../contract/endpoint.ts'
import { ENDPOINTS, type EndpointName, type EndpointOf } from '../contract/endpoints.ts'
import type { Answering } from '../answering.ts'
import { sendJson, sendWhole, type Exchange } from '../exchange.ts'
import type { Route } from '../http-meter.ts'
import { HttpProblem } from '../problem.ts'

type PathOf<N extends EndpointName> = N extends `${string} ${infer Path}` ? Path : never

export interface ApiCall<N extends EndpointName> {
  readonly parameters: ParametersOf<PathOf<N>>
  readonly query: QueryOf<EndpointOf<N>>
  readonly body: BodyOf<EndpointOf<N>>
  readonly exchange: Exchange
}

/** What a handler answers; one of an endpoint without a reply of JSON may have answered by itself, and returns its status. */
type Answer<N extends EndpointName> =
  EndpointOf<N> extends { reply: TSchema } ? ReplyOf<EndpointOf<N>> : number | void
export type ApiHandlers<N extends EndpointName = EndpointName> = {
  [K in N]: (call: ApiCall<K>) => Answer<K> | Promise<Answer<K>>
}

/** Whose films a request is about; undefined: everybody's. */
export interface Scope {
  application?: string | undefined
  user?: string | undefined
}

export interface ApiOptions {
  handlers: Partial<ApiHandlers>
  /** @throws {HttpProblem} 401, 403 */
  authorize: (exchange: Exchange, right: Right, scope: Scope) => void | Promise<void>
  /** Answers a request, and reckons with it. */
  run: Answering['run']
  version: string
  /** The content of a request that is JSON is whole within this time, or the request is given up. */
  contentMs: number
}

/** Of a JSON body. */
const BODY_BYTES_MAX = 256 * 1024
const PREFIX = '/api/v1'
/** What content that a handler reads itself goes by. */
const UNPARSED = 'application/x-unparsed'
const COMPLAINTS_MAX = 3

export async function registerApi(
  app: FastifyInstance,
  { handlers, authorize, run, version, contentMs }: ApiOptions
): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Tributary',
        version,
        description:
          'Films, cluster, jobs and access. Errors are application/problem+json (RFC 9457); see docs/HTTP-API.md.'
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } }
    }
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(UNPARSED, (_request, _payload, done) => done(null))
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer', bodyLimit: BODY_BYTES_MAX },
    (_request, body, done) => {
      try {
        done(null, JSON.parse(body.toString()))
      } catch {
        done(new HttpProblem(400, 'the content is no JSON'))
      }
    }
  )
  app.setValidatorCompiler(({ schema, httpPart }) => {
    const validator = Compile(schema as TSchema)
    const isText = httpPart !== 'body'
    return data => {
      const value: unknown = isText ? Convert(schema as TSchema, data) : data
      if (validator.Check(value)) return { value }
      const complaints = validator.Errors(value).slice(0, COMPLAINTS_MAX)
      const text = complaints
        .map(({ instancePath, message }) => `${instancePath.slice(1) || 'it'} ${message}`)
        .join('; ')
      return {
        error: new HttpProblem(400, `${isText ? 'the query' : 'the content'} is not as expected: ${text}`)
      }
    }
  })
  // A handler's answer is typed by its schema; it is not checked once more.
  app.setSerializerCompiler(() => value => JSON.stringify(value))
  app.setErrorHandler((error: FastifyError, request, reply) => {
    run('other', request.raw, reply, () => Promise.reject(problemOf(error)))
  })
  const boundContent: onRequestHookHandler = (request, reply, done) => {
    const timer = setTimeout(() => {
      // Whoever holds a connection with it holds no other: there would be none left for anybody.
      reply.raw.once('close', () => request.raw.destroy())
      reply.raw.once('finish', () => request.raw.destroy())
      const late = new HttpProblem(408, 'the content did not come in time', ['Connection', 'close'])
      run('other', request.raw, reply, () => Promise.reject(late))
    }, contentMs)
    for (const event of ['end', 'close'] as const) request.raw.once(event, () => clearTimeout(timer))
    done()
  }
  for (const name of Object.keys(handlers) as EndpointName[])
    addRoute(app, name, handlers[name]!, { authorize, run, boundContent })
  app.get(`${PREFIX}/openapi.json`, { schema: { hide: true } as FastifySchema }, (request, reply) => {
    run('GET api', request.raw, reply, async exchange => {
      sendJson(exchange, 200, app.swagger())
      return 200
    })
  })
}

function addRoute(
  app: FastifyInstance,
  name: EndpointName,
  handler: ApiHandlers[EndpointName],
  {
    authorize,
    run,
    boundContent
  }: Pick<ApiOptions, 'authorize' | 'run'> & { boundContent: onRequestHookHandler }
): void {
  const endpoint: Endpoint = ENDPOINTS[name]
  const [method, path] = name.split(' ') as [string, string]
  const meterAs: Route = method === 'GET' ? 'GET api' : 'other api'
  app.route({
    method,
    url: path.replaceAll(/\{(\w+)\}/g, ':$1'),
    schema: schemaOf(endpoint, path),
    onRequest: endpoint.body ? boundContent : takeNoBody,
    handler: (request, reply) => {
      run(meterAs, request.raw, reply, async exchange => {
        const call = {
          parameters: request.params,
          query: request.query,
          body: request.body,
          exchange
        } as unknown as ApiCall<EndpointName>
        await authorize(exchange, endpoint.right, scopeOf(endpoint, call))
        const answer: unknown = await (handler as (call: ApiCall<EndpointName>) => unknown)(call)
        if (typeof answer === 'number') return answer
        const status = endpoint.status ?? (endpoint.reply ? 200 : 204)
        if (endpoint.reply) sendJson(exchange, status, answer)
        else sendWhole(exchange, status, ['Cache-Control', 'no-store', 'X-Content-Type-Options', 'nosniff'])
        return status
      })
    }
  })
}

/** Content that a handler reads itself, or that nobody asked for, goes past the parser. */
function takeNoBody(request: FastifyRequest, _reply: FastifyReply, done: () => void): void {
  request.headers['content-type'] = UNPARSED
  done()
}

function schemaOf(
  { summary, query, body, bodyType, reply, replyType, status, right }: Endpoint,
  path: string
): FastifySchema {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!)
  const success = String(status ?? (reply || replyType ? 200 : 204))
  const types = bodyType?.split(', ')
  return {
    summary,
    tags: [path.split('/')[3]!],
    ...(query && { querystring: query }),
    ...(body && { body }),
    ...(types && { consumes: types }),
    ...(names.length > 0 && {
      params: {
        type: 'object',
        properties: Object.fromEntries(names.map(name => [name, { type: 'string' }])),
        required: names
      }
    }),
    ...(right !== 'none' && { security: [{ token: [] }] }),
    ...(replyType && { produces: [replyType] }),
    response: { [success]: reply ?? { type: 'null', description: 'Done' } }
  } as FastifySchema
}

/**
 * Whose films a request is about, as its endpoint has it: in its path, or else in what its query is declared to say. Whatever
 * else a caller puts into the query counts for nothing: rights for what it names would be rights for everything.
 */
function scopeOf({ query: declared }: Endpoint, { parameters, query }: ApiCall<EndpointName>): Scope {
  const { application, user } = parameters as Scope
  if (application !== undefined) return { application, user }
  const names = Object.keys((declared as { properties?: object } | undefined)?.properties ?? {})
  const said = (query ?? {}) as Scope
  return {
    application: names.includes('application') ? said.application : undefined,
    user: names.includes('user') ? said.user : undefined
  }
}

/** What the framework refuses, in our words. */
function problemOf(error: FastifyError): unknown {
  if (error instanceof HttpProblem) return error
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new HttpProblem(413, `the content of such a request has at most ${BODY_BYTES_MAX} bytes`)
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_EMPTY_TYPE':
      return new HttpProblem(415, 'the content of such a request is application/json')
    case 'FST_ERR_VALIDATION':
      return new HttpProblem(400, 'the content is not as expected: JSON is needed')
    default:
      return error
  }
}
