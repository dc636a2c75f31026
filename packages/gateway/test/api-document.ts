/**
 * What docs/HTTP-API.md and docs/openapi.json say of the API, made from the contract. Run by itself it writes them:
 * `node scripts/run.mjs packages/gateway/test/api-document.ts`.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { fastify } from 'fastify'
import { registerApi, type ApiHandlers } from '../src/api/api.ts'
import type { Endpoint } from '../src/contract/endpoint.ts'
import { ENDPOINTS } from '../src/contract/endpoints.ts'

const ROOT = new URL('../../../', import.meta.url)
export const DOCUMENT = new URL('docs/HTTP-API.md', ROOT)
export const OPENAPI = new URL('docs/openapi.json', ROOT)
const START = '<!-- endpoints: start -->'
const END = '<!-- endpoints: end -->'

export function withEndpoints(document: string): string {
  const rows = Object.entries(ENDPOINTS as Record<string, Endpoint>).map(
    ([name, { summary, right }]) => `| \`${name.replace('/api/v1', '')}\` | ${right} | ${summary} |`
  )
  const table = ['| what | right | does |', '| --- | --- | --- |', ...rows].join('\n')
  const start = document.indexOf(START)
  const end = document.indexOf(END)
  if (start < 0 || end < start) throw new Error('the document has no place for the endpoints')
  return `${document.slice(0, start + START.length)}\n\n${table}\n\n${document.slice(end)}`
}

/** The same as GET /api/v1/openapi.json answers, but for the program's version. */
export async function openApi(): Promise<string> {
  const app = fastify()
  const handlers = Object.fromEntries(
    Object.keys(ENDPOINTS).map(name => [name, () => 200])
  ) as unknown as ApiHandlers
  let document: unknown
  void app.register(async api => {
    await registerApi(api, { handlers, authorize: () => {}, run: () => {}, version: '1', contentMs: 1_000 })
    api.addHook('onReady', async () => {
      document = api.swagger()
    })
  })
  await app.ready()
  await app.close()
  return `${JSON.stringify(document, undefined, 2)}\n`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(DOCUMENT, withEndpoints(readFileSync(DOCUMENT, 'utf8')))
  writeFileSync(OPENAPI, await openApi())
}
