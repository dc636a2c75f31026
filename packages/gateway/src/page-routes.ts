/** Routes of the console, of a film's page and of its frame, and what they tell programs of a film. */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { takeSignature } from '@tributary/client'
import type { FileKey } from '@tributary/protocol'
import type { Answering, Work } from './answering.ts'
import { sendJson, type Exchange } from './exchange.ts'
import { FILES_PREFIX, parseTarget, type Owner } from './file-target.ts'
import { Page, PAGE_ROUTES } from './page.ts'
import { HttpProblem } from './problem.ts'
import { oEmbedOf, watchHead, type WatchedFilm } from './watch-page.ts'
import { hostNameOf } from './write-guard.ts'

/** The page does not wait longer for its card's words: people came for the film. */
const LOOK_UP_MS_MAX = 1_000
const URL_CHARACTERS_MAX = 4_096

export interface PageRoutesOptions {
  app: FastifyInstance
  /** Answers a request that came through the router. */
  run: Answering['run']
  fallback: Owner
  isSecure: boolean
  /**
   * What whoever asks may know of a film.
   *
   * @param given  what the address holds that lets them in
   * @throws it is not there, or not for them: the page is the same then.
   */
  lookUp(key: FileKey, exchange: Exchange, given: GivenWayIn): Promise<WatchedFilm>
}

/** Unchecked. */
export interface GivenWayIn {
  /** Of an address within the request; that of its own the door has taken. */
  signature?: string | undefined
  share?: string | undefined
}

export function addPageRoutes({ app, run, fallback, isSecure, lookUp }: PageRoutesOptions): void {
  const page = new Page()
  const reading = (url: string, work: Work): void => {
    app.route({
      method: ['GET', 'HEAD'],
      url,
      handler: (request, reply) => run('GET page', request.raw, reply, work)
    })
  }
  page.serveAssets(app)
  reading('/icon.svg', exchange => page.sendIcon(exchange))
  for (const url of PAGE_ROUTES) reading(url, exchange => page.send(exchange))

  for (const prefix of ['watch', 'embed'] as const) {
    reading(`/${prefix}/*`, async exchange => {
      const key = keyOf(pathOf(exchange.request.url!), prefix, fallback)
      const base = baseOf(exchange.request, isSecure)
      const film =
        base === undefined
          ? undefined
          : await within(() => lookUp(key, exchange, { share: shareIn(exchange.request.url!) }))
      const head = film && base !== undefined ? watchHead(film, base) : ''
      return page.send(exchange, { head, framed: prefix === 'embed' })
    })
  }

  reading('/oembed', async exchange => {
    const { request } = exchange
    const query = new URLSearchParams(request.url!.split('?', 2)[1] ?? '')
    if ((query.get('format') ?? 'json') !== 'json') throw new HttpProblem(501, 'the only format is json')
    const base = baseOf(request, isSecure)
    const asked = pageBelow(query.get('url') ?? '', request.headers.host ?? '')
    if (base === undefined || asked === undefined)
      throw new HttpProblem(404, 'url is not the address of a film here, as in /watch/app/user/film')
    const { target, signature } = asked
    const path = pathOf(target)
    const key = keyOf(path, path.startsWith('/embed/') ? 'embed' : 'watch', fallback)
    const film = await lookUp(key, exchange, { signature, share: shareIn(target) })
    const pixels = (name: string): number | undefined => {
      const text = query.get(name)
      if (text === null) return undefined
      if (!/^[1-9]\d{0,4}$/.test(text)) throw new HttpProblem(400, `${name} is a whole number of pixels`)
      return Number(text)
    }
    sendJson(
      exchange,
      200,
      oEmbedOf(film, base, { maxWidth: pixels('maxwidth'), maxHeight: pixels('maxheight') })
    )
    return 200
  })
}

/** @throws {HttpProblem} 404: no file can have this address. */
function keyOf(path: string, prefix: string, fallback: Owner): FileKey {
  const { application, user, file } = parseTarget(FILES_PREFIX + path.slice(prefix.length + 2), fallback)
  if (file === undefined) throw new HttpProblem(404, `expected /${prefix}/{application}/{user}/{file}`)
  return { application, user, file }
}

function pathOf(url: string): string {
  return url.split('?', 1)[0]!
}

/** Path and parameters of a whole address that leads here, and its signature; undefined where it leads elsewhere, or to no film. */
function pageBelow(text: string, host: string): { target: string; signature?: string } | undefined {
  if (text.length > URL_CHARACTERS_MAX || !URL.canParse(text)) return undefined
  const url = new URL(text)
  const ours = /^https?:$/.test(url.protocol) && url.host === host.toLowerCase().replace(/:(80|443)$/, '')
  const given = url.pathname + url.search
  const asked = takeSignature(given) ?? { target: given }
  return ours && /^\/(watch|embed)\//.test(asked.target) ? asked : undefined
}

function shareIn(target: string): string | undefined {
  return new URLSearchParams(target.split('?', 2)[1] ?? '').get('share') ?? undefined
}

/** Scheme and host by which the reader came; undefined where its Host is none. */
function baseOf({ headers }: IncomingMessage, isSecure: boolean): string | undefined {
  const { host = '' } = headers
  if (hostNameOf(host) === undefined) return undefined
  // Whoever lies about it is the only one to read it: the page is revalidated, and its tag differs.
  const secure = isSecure || headers['x-forwarded-proto'] === 'https'
  return `${secure ? 'https' : 'http'}://${host.toLowerCase()}`
}

async function within(look: () => Promise<WatchedFilm>): Promise<WatchedFilm | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>(resolve => {
    timer = setTimeout(() => resolve(undefined), LOOK_UP_MS_MAX)
  })
  try {
    return await Promise.race([look(), late])
  } catch {
    return undefined
  } finally {
    clearTimeout(timer)
  }
}
