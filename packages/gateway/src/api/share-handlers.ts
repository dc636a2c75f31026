/** Signed addresses and share links of a film. */
import { randomBytes } from 'node:crypto'
import { filmPath, makeAccessId, SIGNATURE_PARAMETER, signedPath, signFilm } from '@tributary/client'
import type { ShareEntry } from '@tributary/calls'
import { checkFileKey, RejectedError, type FileKey } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import type { Door } from '../access/door.ts'
import { nameOf } from '../access/principal.ts'
import { signatureOfShare } from '../access/share-book.ts'
import type { FilmDetails, Share, SignedLinks } from '../contract/index.ts'
import type { FileService } from '../file-service.ts'
import { HttpProblem } from '../problem.ts'
import { checkAccessId, dateOf } from './access-view.ts'
import type { ApiHandlers } from './api.ts'

type ShareEndpoint = Extract<keyof ApiHandlers, `${string}/signature` | `${string}/shares${string}`>

export interface ShareHandlersOptions {
  files: Pick<FileService, 'index'>
  door: Door
  clock: Clock
}

const PAGE = 500
const SECRET_BYTES = 32

export function shareHandlers({
  files,
  door,
  clock
}: ShareHandlersOptions): Pick<ApiHandlers, ShareEndpoint> {
  const { copy, shares } = door

  return {
    'POST /api/v1/films/{application}/{user}/{file}/signature': async ({ parameters, body }) => {
      const film = keyOf(parameters)
      const key = await files.index('keys.signing', { application: film.application })
      if (copy.secretOf(key.id) === undefined) await copy.refresh()
      const expiresS = Math.floor(clock.nowMs() / 1_000) + body.expiresInS
      return linksOf(film, signFilm(key, { film, expiresS, network: body.network }), expiresS)
    },

    'GET /api/v1/films/{application}/{user}/{file}/shares': async ({ parameters }) => {
      const film = keyOf(parameters)
      const found: Share[] = []
      for (let after = ''; ;) {
        const page = await files.index('shares.list', { ...film, after, limit: PAGE })
        found.push(...page.shares.filter(({ revokedAtMs }) => revokedAtMs === 0).map(shareView))
        if (page.next === undefined) return { shares: found }
        after = page.next
      }
    },

    'POST /api/v1/films/{application}/{user}/{file}/shares': async ({ parameters, body, exchange }) => {
      const film = keyOf(parameters)
      const { expiresInS, password, network } = body
      const id = makeAccessId()
      const secret = randomBytes(SECRET_BYTES).toString('hex')
      const nowMs = clock.nowMs()
      // Whether the network is one shows now, and not to whoever gets the link.
      if (network !== undefined) {
        signFilm({ id, secret }, { film, expiresS: Math.ceil(nowMs / 1_000), network })
      }
      const { share } = await files.index('shares.create', {
        id,
        ...film,
        secret,
        expiresAtMs: expiresInS === undefined ? 0 : nowMs + expiresInS * 1_000,
        passwordHash: password === undefined ? '' : await shares.hashPassword(password),
        network: network ?? '',
        createdBy: nameOf(await door.whoIs(exchange))
      })
      shares.forget(id)
      return shareView(share)
    },

    'DELETE /api/v1/shares/{id}': async ({ parameters: { id }, exchange }) => {
      const { share } = await files.index('shares.find', { id: checkAccessId(id) })
      await door.authorize(exchange, 'write', share)
      await files.index('shares.revoke', { id: share.id })
      shares.forget(share.id)
    },

    'POST /api/v1/shares/{id}/open': async ({ parameters: { id }, body, exchange }) => {
      const found = await shares.find(checkAccessId(id))
      if (!found) throw new HttpProblem(404, 'there is no such share, or it has ended', [], 'NO_SUCH_ENTRY')
      const { share, passwordHash } = found
      if (share.hasPassword) {
        if (body.password === undefined) return { needsPassword: true, title: null, links: null }
        door.limitTries(exchange.request, 'password', id)
        if (!(await shares.isPassword(body.password, passwordHash))) {
          throw new HttpProblem(403, 'this is not the password of this share', [], 'WRONG_PASSWORD')
        }
      }
      const { signature, expiresS } = signatureOfShare(found, clock.nowMs())
      return {
        needsPassword: false,
        title: await titleOf(share),
        links: linksOf(keyOf(share), signature, expiresS)
      }
    }
  }

  async function titleOf(share: ShareEntry): Promise<string | null> {
    try {
      const { film } = await files.index('library.film', keyOf(share))
      return film.trashedUntilMs > 0 ? null : film.title
    } catch (error) {
      if (error instanceof RejectedError) return null // deleted meanwhile: the player says so
      throw error
    }
  }
}

function keyOf({ application, user, file }: FileKey): FileKey {
  return checkFileKey({ application, user, file })
}

function linksOf(film: FileKey, signature: string, expiresS: number): SignedLinks {
  const parameter = `?${SIGNATURE_PARAMETER}=${signature}`
  return {
    expiresAt: new Date(expiresS * 1_000).toISOString(),
    watch: `${filmPath('watch', film)}${parameter}`,
    file: `${filmPath('files', film)}${parameter}`,
    // In front, where the relative addresses of the playlists keep it.
    hls: signedPath(signature, filmPath('hls', film, 'master.m3u8')),
    dash: signedPath(signature, filmPath('dash', film, 'manifest.mpd'))
  }
}

function shareView({
  id,
  application,
  user,
  file,
  createdAtMs,
  expiresAtMs,
  hasPassword
}: ShareEntry): Share {
  return {
    id,
    url: `${filmPath('watch', { application, user, file })}?share=${id}`,
    application,
    user,
    file,
    createdAt: dateOf(createdAtMs)!,
    expiresAt: dateOf(expiresAtMs),
    hasPassword
  }
}

/** A film as whoever has its signature sees it: its addresses are signed as well. */
export function signedDetails(details: FilmDetails, signature: string): FilmDetails {
  const sign = <T extends string | null>(link: T): T | string =>
    link === null ? link : signedPath(signature, link)
  const { film, subtitles, thumbnails } = details
  const { file, watch, hls, dash, poster } = film.links
  return {
    ...details,
    film: {
      ...film,
      links: {
        file: sign(file),
        watch: `${watch}?${SIGNATURE_PARAMETER}=${signature}`,
        hls: sign(hls),
        dash: sign(dash),
        poster: sign(poster)
      }
    },
    subtitles: subtitles.map(each => ({ ...each, url: sign(each.url) })),
    thumbnails: sign(thumbnails)
  }
}
