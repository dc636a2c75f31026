/** Sessions, tokens, rules of applications and signing keys, as the API has them. */
import { makeAccessId, makeSecret, SESSION_PREFIX, TOKEN_PREFIX } from '@tributary/client'
import type { ApplicationRules as StoredRules, Quotas, SigningKeyEntry, TokenEntry } from '@tributary/calls'
import { checkFileKey } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import type { Door } from '../access/door.ts'
import { FULL_GRANTS, type Principal } from '../access/principal.ts'
import { SESSION_MS, sessionCookie } from '../access/session-cookie.ts'
import type { ApplicationRules, Session, Token } from '../contract/index.ts'
import type { FileService } from '../file-service.ts'
import { checkAccessId, dateOf } from './access-view.ts'
import type { ApiHandlers } from './api.ts'

type AccessEndpoint = Extract<
  keyof ApiHandlers,
  | `${string} /api/v1/session`
  | `${string} /api/v1/tokens${string}`
  | `${string} /api/v1/applications${string}`
  | `${string} /api/v1/keys${string}`
>

export interface AccessHandlersOptions {
  files: Pick<FileService, 'index'>
  door: Door
  clock: Clock
}

const DAY_MS = 86_400_000
const PAGE = 500

export function accessHandlers({
  files,
  door,
  clock
}: AccessHandlersOptions): Pick<ApiHandlers, AccessEndpoint> {
  const { copy } = door

  /** A gateway that changed something knows it at once; the others follow within a second or so. */
  const changed = async <T>(change: Promise<T>): Promise<T> => {
    const result = await change
    await copy.refresh()
    return result
  }

  return {
    'GET /api/v1/session': async ({ exchange }) => sessionView(await door.whoIs(exchange), door),

    'POST /api/v1/session': async ({ exchange, body }) => {
      const principal = await door.checkLogin(exchange, body.token)
      const { secret, hash } = makeSecret(SESSION_PREFIX)
      const latestMs = clock.nowMs() + SESSION_MS
      const expiresAtMs = principal.expiresAtMs === 0 ? latestMs : Math.min(latestMs, principal.expiresAtMs)
      await changed(
        files.index('sessions.open', {
          id: makeAccessId(),
          hash,
          parent: principal.id,
          name: principal.name,
          grants: [...principal.grants],
          expiresAtMs
        })
      )
      const maxAgeS = Math.floor((expiresAtMs - clock.nowMs()) / 1_000)
      const cookie = sessionCookie(secret, maxAgeS, door.isSecure(exchange.request))
      exchange.response.setHeader('Set-Cookie', cookie)
      return sessionView({ ...principal, expiresAtMs }, door)
    },

    'DELETE /api/v1/session': async ({ exchange }) => {
      const principal = await door.whoIs(exchange)
      exchange.response.setHeader('Set-Cookie', sessionCookie('', 0, door.isSecure(exchange.request)))
      if (principal.kind === 'token' && principal.session !== undefined) {
        await changed(files.index('sessions.close', { id: principal.session }))
      }
    },

    'GET /api/v1/tokens': async () => {
      const tokens: Token[] = []
      for (let after = ''; ;) {
        const page = await files.index('tokens.list', { after, limit: PAGE, revoked: true })
        tokens.push(...page.tokens.map(tokenView))
        if (page.next === undefined) return { tokens }
        after = page.next
      }
    },

    'POST /api/v1/tokens': async ({ body: { name, grants, expiresInS } }) => {
      const { secret, hash } = makeSecret(TOKEN_PREFIX)
      const expiresAtMs = expiresInS === undefined ? 0 : clock.nowMs() + expiresInS * 1_000
      const { token } = await changed(
        files.index('tokens.create', { id: makeAccessId(), hash, name, grants, expiresAtMs })
      )
      return { token: tokenView(token), secret }
    },

    'DELETE /api/v1/tokens/{id}': async ({ parameters: { id } }) => {
      await changed(files.index('tokens.revoke', { id: checkAccessId(id) }))
    },

    'GET /api/v1/applications': async ({ query: { application } }) => {
      const { applications } = await files.index('applications.list', {})
      const asked = applications.filter(rules => (application ?? rules.application) === rules.application)
      return { applications: asked.map(rulesView) }
    },

    'PATCH /api/v1/applications/{application}': async ({ parameters: { application }, body }) => {
      const { reads, ...bounds } = body
      const quotas: Partial<Quotas> = {}
      for (const [name, value] of Object.entries(bounds) as [keyof Quotas, number | null | undefined][]) {
        if (value !== undefined) quotas[name] = value ?? 0
      }
      const { rules } = await changed(
        files.index('applications.setRules', {
          application: checkFileKey({ application, user: 'u', file: 'f' }).application,
          ...(reads !== undefined && { reads }),
          quotas
        })
      )
      return rulesView(rules)
    },

    'GET /api/v1/keys': async () => {
      const { keys } = await files.index('keys.list', {})
      return { keys: keys.map(keyView) }
    },

    'POST /api/v1/keys': async () => {
      const { key } = await changed(files.index('keys.rotate', { application: '' }))
      return keyView(key)
    },

    'DELETE /api/v1/keys/{id}': async ({ parameters: { id } }) => {
      await changed(files.index('keys.remove', { id: checkAccessId(id) }))
    }
  }
}

function sessionView(principal: Principal, door: Door): Session {
  switch (principal.kind) {
    case 'token':
      return {
        kind: 'token',
        name: principal.name,
        grants: [...principal.grants],
        expiresAt: dateOf(principal.expiresAtMs),
        needsLogin: false
      }
    case 'local': {
      const grants =
        principal.right === 'admin' ? [...FULL_GRANTS] : [{ application: '*', rights: [principal.right] }]
      return { kind: 'local', name: 'local', grants, expiresAt: null, needsLogin: false }
    }
    default:
      return {
        kind: 'anonymous',
        name: 'anonymous',
        grants: [],
        expiresAt: null,
        needsLogin: door.copy.isAnyClosed
      }
  }
}

function tokenView({ id, name, grants, createdAtMs, expiresAtMs, usedDay, revokedAtMs }: TokenEntry): Token {
  return {
    id,
    name,
    grants,
    createdAt: dateOf(createdAtMs)!,
    expiresAt: dateOf(expiresAtMs),
    lastUsedAt: dateOf(usedDay * DAY_MS),
    revokedAt: dateOf(revokedAtMs)
  }
}

function rulesView({ application, reads, quotas }: StoredRules): ApplicationRules {
  const bound = (value: number): number | null => (value === 0 ? null : value)
  return {
    application,
    reads,
    bytesMax: bound(quotas.bytesMax),
    filesMax: bound(quotas.filesMax),
    userBytesMax: bound(quotas.userBytesMax),
    userFilesMax: bound(quotas.userFilesMax),
    requestsPerS: bound(quotas.requestsPerS)
  }
}

function keyView({ id, createdAtMs, state }: SigningKeyEntry) {
  return { id, createdAt: dateOf(createdAtMs)!, active: state === 'active' }
}
