/** The console as browsers get it: one HTML page for all of its addresses, and assets that never change under their names. */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import { sendWhole, type Exchange } from './exchange.ts'
import { HttpProblem } from './problem.ts'

/** Beside src/ and dist/ alike; the console's build makes it. */
const FOLDER = fileURLToPath(new URL('../public/', import.meta.url))
/** Where the build left room for what only the server knows. */
const HEAD_MARK = '<!--head-->'
const ASSET_AGE_S = 365 * 24 * 3_600
const COMMON_HEADERS = {
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer'
} as const

/** Addresses of the console; what is behind them, its own router knows. */
export const PAGE_ROUTES = ['/', '/trash', '/cluster', '/jobs', '/access', '/login'] as const

export interface PageOptions {
  /** Lines for `<head>`, escaped already. */
  head?: string
  /** Other sites may show it in a frame. */
  framed?: boolean
}

export class Page {
  readonly #folder: string
  readonly #before: string
  readonly #after: string
  readonly #hashes: readonly string[]

  /** Reads what was built. Without it every page is a 503 that says what to do; all else works. */
  constructor(folder = FOLDER) {
    this.#folder = folder
    const html = this.isBuilt ? readFileSync(join(folder, 'index.html'), 'utf8') : ''
    const at = html.indexOf(HEAD_MARK)
    this.#before = at < 0 ? html : html.slice(0, at)
    this.#after = at < 0 ? '' : html.slice(at + HEAD_MARK.length)
    this.#hashes = this.isBuilt
      ? (JSON.parse(readFileSync(join(folder, 'page.json'), 'utf8')) as { styleHashes: string[] }).styleHashes
      : []
  }

  get isBuilt(): boolean {
    return existsSync(join(this.#folder, 'index.html'))
  }

  /** Assets have their content's hash in their names: they are kept for good, and never asked for again. */
  serveAssets(app: FastifyInstance): void {
    if (!this.isBuilt) return
    void app.register(fastifyStatic, {
      root: join(this.#folder, 'assets'),
      prefix: '/assets/',
      wildcard: false,
      preCompressed: true,
      cacheControl: false,
      setHeaders: reply => {
        reply.headers(COMMON_HEADERS)
        reply.header('Cache-Control', `public, max-age=${ASSET_AGE_S}, immutable`)
        reply.header('Content-Security-Policy', "default-src 'none'")
      }
    })
  }

  /** @returns the status that was answered. */
  sendIcon(exchange: Exchange): number {
    const icon = this.isBuilt ? readFileSync(join(this.#folder, 'icon.svg')) : Buffer.alloc(0)
    return send(exchange, icon, 'image/svg+xml', "default-src 'none'")
  }

  /**
   * The page itself: checked again at each visit, so that a new version is there at once.
   *
   * @returns the status that was answered.
   */
  send(exchange: Exchange, { head = '', framed = false }: PageOptions = {}): number {
    if (!this.isBuilt) {
      throw new HttpProblem(
        503,
        'the console was not built; `npm run build` builds it, and the API works without it'
      )
    }
    return send(
      exchange,
      Buffer.from(`${this.#before}${head}${this.#after}`),
      'text/html; charset=utf-8',
      this.#policy(framed)
    )
  }

  #policy(framed: boolean): string {
    return [
      "default-src 'none'",
      "script-src 'self'",
      // The player's controls bring rules of their own; the build lists them.
      `style-src 'self' ${this.#hashes.join(' ')}`.trimEnd(),
      "img-src 'self' data: blob:",
      // What is packaged for adaptive streaming reaches the element through a blob.
      "media-src 'self' blob:",
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      `frame-ancestors ${framed ? '*' : "'none'"}`
    ].join('; ')
  }
}

function send(exchange: Exchange, body: Buffer, type: string, policy: string): number {
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`
  const headers = [
    'ETag',
    etag,
    'Cache-Control',
    'no-cache',
    'Content-Security-Policy',
    policy,
    'Cross-Origin-Opener-Policy',
    'same-origin',
    ...Object.entries(COMMON_HEADERS).flat()
  ]
  const known = exchange.request.headers['if-none-match']?.split(',').some(tag => tag.trim() === etag)
  if (known) {
    sendWhole(exchange, 304, headers)
    return 304
  }
  headers.push('Content-Type', type, 'Content-Length', String(body.byteLength))
  exchange.sentBytes = body.byteLength
  sendWhole(exchange, 200, headers, body)
  return 200
}
