/** One request of the HTTP API. Failures are ApiErrors: a status (0: no answer) and words for people. */
import type { ProblemBody } from '@tributary/gateway/contract'
import { askForToken, keptToken } from './sign-in.ts'

export class ApiError extends Error {
  /** Of HTTP; 0: there was no answer. */
  readonly status: number
  /** From docs/ERRORS.md. */
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

export interface Asked {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  query?: Record<string, string | number | boolean | undefined>
  json?: unknown
  body?: Blob | string
  type?: string
  signal?: AbortSignal
}

/** @returns the answer's JSON; undefined where it has no content. */
export async function ask<Answer>(path: string, asked: Asked = {}): Promise<Answer> {
  const response = await fetchAllowed(path, asked)
  const text = await response.text().catch(() => undefined)
  if (text === undefined) throw new ApiError(0, '', '')
  const answer = parse(text)
  if (!response.ok) throw errorOf(response.status, text)
  return answer as Answer
}

/** Asks for a token where one is needed, as often as it takes. */
async function fetchAllowed(path: string, asked: Asked): Promise<Response> {
  for (let wrong = false; ; wrong = true) {
    const token = keptToken()
    const response = await fetchOnce(path, asked, token)
    if (response.status !== 401 || (asked.method ?? 'GET') === 'GET') return response
    if (!(await askForToken(token, wrong))) return response
  }
}

async function fetchOnce(
  path: string,
  { method = 'GET', query = {}, json, body, type, signal }: Asked,
  token: string
): Promise<Response> {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '')
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]))
  const headers: Record<string, string> = {}
  if (token !== '') headers['authorization'] = `Bearer ${token}`
  if (json !== undefined) headers['content-type'] = 'application/json'
  else if (type !== undefined) headers['content-type'] = type
  try {
    return await fetch(given.length > 0 ? `${path}?${search}` : path, {
      method,
      headers,
      ...(json !== undefined ? { body: JSON.stringify(json) } : body !== undefined ? { body } : {}),
      ...(signal && { signal })
    })
  } catch (error) {
    signal?.throwIfAborted()
    throw new ApiError(0, '', '', )
  }
}

export function errorOf(status: number, text: string): ApiError {
  const problem = parse(text) as Partial<ProblemBody> | undefined
  return new ApiError(status, problem?.code ?? '', problem?.detail ?? `HTTP ${status}`)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
