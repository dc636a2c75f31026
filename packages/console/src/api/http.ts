/** One request of the HTTP API. Failures are ApiErrors: a status (0: no answer) and words for people. */
import type { ProblemBody } from '@tributary/gateway/contract'
import { askToLogIn } from './sign-in.ts'

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
  body?: Blob
  type?: string
  signal?: AbortSignal
}

/**
 * A change that needs a log-in asks for one, and goes on. What is only read does not: its page says it.
 *
 * @returns the answer's JSON; undefined where it has no content.
 * @throws {ApiError}
 */
export async function ask<Answer>(path: string, asked: Asked = {}): Promise<Answer> {
  const response = await fetchAllowed(path, asked)
  const text = await response.text().catch(() => undefined)
  if (text === undefined) throw new ApiError(0, '', '')
  if (!response.ok) throw errorOf(response.status, text)
  return parse(text) as Answer
}

async function fetchAllowed(path: string, asked: Asked): Promise<Response> {
  for (;;) {
    const response = await fetchOnce(path, asked)
    const mayAsk = response.status === 401 && (asked.method ?? 'GET') !== 'GET' && path !== '/api/v1/session'
    if (!mayAsk || !(await askToLogIn())) return response
  }
}

async function fetchOnce(
  path: string,
  { method = 'GET', query = {}, json, body, type, signal }: Asked
): Promise<Response> {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '')
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]))
  const headers: Record<string, string> = {}
  if (json !== undefined) headers['content-type'] = 'application/json'
  else if (type !== undefined) headers['content-type'] = type
  try {
    const target = underSignature(path)
    return await fetch(given.length > 0 ? `${target}?${search}` : target, {
      method,
      headers,
      ...(json !== undefined ? { body: JSON.stringify(json) } : body !== undefined ? { body } : {}),
      ...(signal && { signal })
    })
  } catch {
    signal?.throwIfAborted()
    throw new ApiError(0, '', '')
  }
}

/** A page that was reached by a signed address asks for its film under that signature. */
export function underSignature(path: string): string {
  const signature = new URLSearchParams(location.search).get('signature')
  const isOfFilm = path.startsWith('/api/v1/films/') || path === '/api/v1/plays'
  return signature !== null && isOfFilm ? `/signed/${signature}${path}` : path
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
