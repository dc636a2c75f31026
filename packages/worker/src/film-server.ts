/**
 * Lets a program on this machine read films by HTTP, so that it can seek: on loopback only, for programs of this user alone, each
 * film under a path that nobody can guess, for as long as a job needs it.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { FilmAccess } from './film-access.ts'
import { isOwnPeer } from './own-peer.ts'

/** A program has one or two open; seeking opens the next before the last is closed. */
const CONNECTIONS_MAX = 256
const HEADERS_WAIT_MS = 5_000
const HEADER_BYTES_MAX = 8 * 1024
const SECRET_BYTES = 24

export interface ServedFilm {
  readonly url: string
  /** How far into the film the program has read, 0 to 1. */
  readonly reached: number
  /** The address is dead from now on, and what is being read through it is cut off. */
  close(): void
}

interface Entry {
  film: FilmAccess
  reachedBytes: number
  responses: Set<ServerResponse>
}

export class FilmServer {
  readonly #entries = new Map<string, Entry>()
  readonly #server = createServer(
    { headersTimeout: HEADERS_WAIT_MS, maxHeaderSize: HEADER_BYTES_MAX, requestTimeout: 0 },
    (request, response) => void this.#answer(request, response)
  )

  async start(): Promise<void> {
    this.#server.maxConnections = CONNECTIONS_MAX
    this.#server.listen({ host: '127.0.0.1', port: 0 })
    await once(this.#server, 'listening')
  }

  serve(film: FilmAccess): ServedFilm {
    const path = `/${randomBytes(SECRET_BYTES).toString('base64url')}`
    const entry: Entry = { film, reachedBytes: 0, responses: new Set() }
    this.#entries.set(path, entry)
    const { port } = this.#server.address() as AddressInfo
    return {
      url: `http://127.0.0.1:${port}${path}`,
      get reached() {
        return film.sizeBytes === 0 ? 0 : entry.reachedBytes / film.sizeBytes
      },
      close: () => {
        this.#entries.delete(path)
        for (const response of entry.responses) response.destroy()
      }
    }
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume()
    const entry = this.#entries.get(request.url ?? '')
    const { remotePort = 0, localPort = 0 } = request.socket
    const isOurs = await isOwnPeer(remotePort, localPort).catch(() => false)
    if (!entry || !isOurs || request.method !== 'GET') {
      response.writeHead(404).end()
      return
    }
    const { film, responses } = entry
    const range = rangeOf(request.headers.range, film.sizeBytes)
    if (!range) {
      response.writeHead(416, { 'content-range': `bytes */${film.sizeBytes}` }).end()
      return
    }
    responses.add(response)
    try {
      const { stream } = await film.open(range.start, range.end)
      response.writeHead(range.isPart ? 206 : 200, {
        'content-type': 'application/octet-stream',
        'content-length': range.end - range.start,
        'accept-ranges': 'bytes',
        ...(range.isPart && { 'content-range': `bytes ${range.start}-${range.end - 1}/${film.sizeBytes}` })
      })
      let at = range.start
      stream.on('data', (piece: Buffer) => {
        at += piece.byteLength
        if (at > entry.reachedBytes) entry.reachedBytes = at
      })
      await pipeline(stream, response)
    } catch {
      // What went wrong with the film is noted there; a program that closed the connection has enough of it.
      response.destroy()
    } finally {
      responses.delete(response)
    }
  }
}

/** As players ask: none, `bytes=a-` or `bytes=a-b`. undefined: it lies behind the end, or is none. */
function rangeOf(
  header: string | undefined,
  sizeBytes: number
): { start: number; end: number; isPart: boolean } | undefined {
  if (header === undefined) return sizeBytes > 0 ? { start: 0, end: sizeBytes, isPart: false } : undefined
  const [, first, last] = /^bytes=(\d{1,16})-(\d{0,16})$/.exec(header) ?? []
  if (first === undefined) return undefined
  const start = Number(first)
  const end = last ? Math.min(Number(last) + 1, sizeBytes) : sizeBytes
  return start < end ? { start, end, isPart: true } : undefined
}
