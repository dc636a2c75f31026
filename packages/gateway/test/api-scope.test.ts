/** Whose films a request is about: what its endpoint says, and nothing that a caller adds. */
import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { fastify } from 'fastify'
import { registerApi, type ApiHandlers, type Scope } from '../src/api/api.ts'
import type { Endpoint } from '../src/contract/endpoint.ts'
import { ENDPOINTS } from '../src/contract/endpoints.ts'

describe('the scope of a request', () => {
  it('is that of its endpoint, whatever a caller puts into the query', async () => {
    const scopes = new Map<string, Scope>()
    const app = fastify()
    const handlers = Object.fromEntries(
      Object.keys(ENDPOINTS).map(name => [name, () => 200])
    ) as unknown as ApiHandlers
    let asked = ''
    void app.register(async api => {
      await registerApi(api, {
        handlers,
        authorize: (_exchange, _right, scope) => void scopes.set(asked, scope),
        run: (_route, request, reply, work) => {
          reply.hijack()
          Promise.resolve(work({ request, response: reply.raw, errorHeaders: [] } as never)).then(
            () => reply.raw.end(),
            () => reply.raw.end()
          )
        },
        version: '1',
        contentMs: 1_000
      })
    })
    for (const [name, endpoint] of Object.entries(ENDPOINTS as Record<string, Endpoint>)) {
      const [method, path] = name.split(' ') as ['GET', string]
      asked = name
      const url = path.replace('{application}', 'own').replaceAll(/\{\w+\}/g, 'x')
      // Bodies that no schema takes are refused before anybody is asked for rights.
      if (endpoint.body) continue
      await app.inject({ method, url: `${url}?application=theirs&user=mallory` })
      const declared = Object.keys((endpoint.query as { properties?: object } | undefined)?.properties ?? {})
      const expected: Scope = path.includes('{application}')
        ? { application: 'own', user: path.includes('{user}') ? 'x' : undefined }
        : {
            application: declared.includes('application') ? 'theirs' : undefined,
            user: declared.includes('user') ? 'mallory' : undefined
          }
      const scope = scopes.get(name)
      if (scope) deepEqual(scope, expected, name)
    }
    equal(scopes.get('GET /api/v1/tokens')?.application, undefined)
    equal(scopes.get('GET /api/v1/owners')?.application, undefined)
    equal(scopes.get('GET /api/v1/films')?.application, 'theirs')
    await app.close()
  })
})
