/** Tokens, sessions, rules of applications, signing keys and shares. */
import { randomBytes } from 'node:crypto'
import {
  CHANGES_MAX,
  SESSIONS_MAX,
  SESSIONS_PER_TOKEN_MAX,
  SHARES_PER_FILM_MAX,
  SIGNING_KEYS_MAX,
  TOKENS_MAX,
  type AccessChanges,
  type AccessGrant,
  type ApplicationRules,
  type ChangedKey,
  type ChangedToken,
  type KEY_STATES,
  type ReadRule,
  type ShareEntry,
  type SigningKeyEntry,
  type TokenEntry
} from '@tributary/calls'
import type { RulesRow, ShareRow, SigningKeyRow, TokenRow } from '@tributary/database'
import { checkFileKey, RejectedError } from '@tributary/protocol'
import type { CallHandlers } from './call-dispatcher.ts'
import type { IndexParts } from './index-parts.ts'
import { placeOf, placeText } from './list-place.ts'
import { isReady, whenReady } from './ready-handlers.ts'

type AccessCallName = Extract<
  keyof CallHandlers,
  | `access.${string}`
  | `tokens.${string}`
  | `sessions.${string}`
  | `applications.${string}`
  | `keys.${string}`
  | `shares.${string}`
>

const DAY_MS = 86_400_000
/** What ended is followed by nobody after this time: every gateway has heard of it, or starts anew. */
const ENDED_KEPT_MS = 7 * DAY_MS
const UPKEEP_INTERVAL_MS = 600_000
const SECRET_BYTES = 32
const KEY_ID_BYTES = 5
const NO_CHANGES: AccessChanges = { revision: 0, more: false, tokens: [], rules: [], keys: [], webhooks: 0 }
const NO_QUOTAS = { bytesMax: 0, filesMax: 0, userBytesMax: 0, userFilesMax: 0, requestsPerS: 0 }

export function accessHandlers({
  database,
  clock
}: Pick<IndexParts, 'database' | 'clock'>): CallHandlers<AccessCallName> {
  const { access, routes } = database
  const { tokens, shares, webhooks } = access
  let keptUpMs = -Infinity

  /** Opportunistic: whoever follows the changes keeps their tables short. */
  const keepUp = async (): Promise<void> => {
    if (clock.monotonicMs() - keptUpMs < UPKEEP_INTERVAL_MS) return
    keptUpMs = clock.monotonicMs()
    const beforeMs = clock.nowMs() - ENDED_KEPT_MS
    await tokens.forgetEnded(beforeMs)
    await shares.forgetEnded(beforeMs)
  }

  const rulesOf = async (application: string): Promise<ApplicationRules> => {
    const known = (await tokens.rules()).find(rules => rules.application === application)
    return known ? rulesEntry(known) : { application, reads: 'open', quotas: NO_QUOTAS }
  }

  const handlers = whenReady<AccessCallName>(access, {
    async 'access.changes'({ since }) {
      void keepUp().catch(() => {}) // the next one tries again
      const [changes, hooks] = await Promise.all([tokens.changes(since, CHANGES_MAX), webhooks.list()])
      return {
        revision: changes.revision,
        more: changes.more,
        tokens: changes.tokens.map((row): ChangedToken => ({
          ...tokenEntry(row),
          hash: row.hash,
          parent: row.parent
        })),
        rules: changes.rules.map(rulesEntry),
        keys: changes.keys.map((row): ChangedKey => ({ ...keyEntry(row), secret: row.secret })),
        webhooks: hooks.length
      }
    },

    async 'tokens.list'({ after = '', limit, revoked = false }) {
      const rows = await tokens.tokens(after, limit + 1, revoked)
      const page = rows.slice(0, limit)
      return {
        tokens: page.map(tokenEntry),
        ...(rows.length > limit && { next: page.at(-1)!.id })
      }
    },

    async 'tokens.create'(token) {
      if ((await tokens.countTokens()) >= TOKENS_MAX) throw tooMany(`${TOKENS_MAX} tokens`)
      await addToken({ ...token, parent: '' })
      return { token: tokenEntry((await tokens.token(token.id))!) }
    },

    async 'tokens.revoke'({ id }) {
      if (!(await tokens.revokeToken(id, clock.nowMs()))) throw noSuch('token', id)
      return {}
    },

    async 'tokens.used'({ ids }) {
      await tokens.noteUse(ids, Math.floor(clock.nowMs() / DAY_MS))
      return {}
    },

    async 'sessions.open'(session) {
      const open = await tokens.sessionsOf(session.parent, clock.nowMs())
      const surplus = open.filter(id => id !== session.id).slice(0, -(SESSIONS_PER_TOKEN_MAX - 1))
      for (const id of surplus) await tokens.revokeToken(id, clock.nowMs())
      if ((await tokens.countSessions(clock.nowMs())) >= SESSIONS_MAX)
        throw tooMany(`${SESSIONS_MAX} sessions`)
      await addToken(session)
      return {}
    },

    async 'sessions.close'({ id }) {
      const session = await tokens.token(id)
      if (session && session.parent !== '') await tokens.revokeToken(id, clock.nowMs())
      return {}
    },

    async 'applications.list'() {
      const [names, rules] = await Promise.all([routes.applications(), tokens.rules()])
      const byName = new Map(rules.map(row => [row.application, rulesEntry(row)]))
      return {
        applications: names.map(
          application => byName.get(application) ?? { application, reads: 'open' as const, quotas: NO_QUOTAS }
        )
      }
    },

    async 'applications.setRules'({ application, reads, quotas }) {
      if (!(await routes.applications()).includes(application)) {
        throw new RejectedError('UNKNOWN_APPLICATION', `there is no application '${application}'`)
      }
      const now = await rulesOf(application)
      const rules = { application, reads: reads ?? now.reads, quotas: { ...now.quotas, ...quotas } }
      await tokens.setRules(rules)
      return { rules }
    },

    async 'keys.list'() {
      return { keys: (await tokens.keys()).map(keyEntry) }
    },

    async 'keys.signing'({ application }) {
      const key = await signingKey(application)
      if (key) return key
      await addKey('', [])
      return (await signingKey(application))!
    },

    async 'keys.rotate'({ application }) {
      const keys = await tokens.keys()
      if (keys.length >= SIGNING_KEYS_MAX) throw tooMany(`${SIGNING_KEYS_MAX} signing keys`)
      const retired = keys.filter(key => key.application === application && key.state === 'active')
      return {
        key: await addKey(
          application,
          retired.map(({ id }) => id)
        )
      }
    },

    async 'keys.remove'({ id }) {
      if (!(await tokens.removeKey(id))) throw noSuch('signing key', id)
      return {}
    },

    async 'shares.create'(share) {
      checkFileKey(share)
      const { application, user, file } = share
      const nowMs = clock.nowMs()
      if (share.expiresAtMs !== 0 && share.expiresAtMs <= nowMs) {
        throw new RejectedError('BAD_FIELD', 'a share ends in the future, or never')
      }
      const count = await shares.countOf({ application, user, file }, nowMs)
      if (count >= SHARES_PER_FILM_MAX) throw tooMany(`${SHARES_PER_FILM_MAX} shares of this film`)
      const added = await shares.add({ ...share, createdAtMs: nowMs })
      const stored = (await shares.find(share.id))!
      if (!added && stored.secret !== share.secret) throw exists('share', share.id)
      return { share: shareEntry(stored) }
    },

    async 'shares.find'({ id }) {
      const row = await shares.find(id)
      if (!row) throw noSuch('share', id)
      return { share: shareEntry(row), passwordHash: row.passwordHash, secret: row.secret }
    },

    async 'shares.list'({ after, limit, ...of }) {
      const place = placeOf(after)
      const rows = await shares.list(of, place && { createdAtMs: place.atMs, id: place.id }, limit + 1)
      const page = rows.slice(0, limit)
      const last = page.at(-1)
      return {
        shares: page.map(shareEntry),
        ...(last && rows.length > limit && { next: placeText(last.createdAtMs, last.id) })
      }
    },

    async 'shares.revoke'({ id }) {
      if (!(await shares.revoke(id, clock.nowMs()))) throw noSuch('share', id)
      return {}
    }
  })

  return {
    ...handlers,
    // Where there are no such tables there are no rules: gateways go on as they did.
    'access.changes': async args => ((await isReady(access)) ? handlers['access.changes'](args) : NO_CHANGES)
  }

  async function addToken(
    token: Omit<TokenRow, 'grants' | 'createdAtMs' | 'usedDay' | 'revokedAtMs'> & { grants: AccessGrant[] }
  ): Promise<void> {
    if (token.grants.some(({ application, user }) => user !== undefined && application === '*')) {
      throw new RejectedError('BAD_FIELD', 'a user is one of an application: name that as well')
    }
    const nowMs = clock.nowMs()
    if (token.expiresAtMs !== 0 && token.expiresAtMs <= nowMs) {
      throw new RejectedError('BAD_FIELD', 'a token ends in the future, or never')
    }
    if (await tokens.addToken({ ...token, grants: JSON.stringify(token.grants), createdAtMs: nowMs })) return
    // Asked twice it is the same one.
    if ((await tokens.token(token.id))?.hash !== token.hash) throw exists('token', token.id)
  }

  /** The newest that signs for the application, or for all. */
  async function signingKey(
    application: string
  ): Promise<{ id: string; application: string; secret: string } | undefined> {
    const active = (await tokens.keys()).filter(key => key.state === 'active')
    const key =
      active.findLast(each => each.application === application) ??
      active.findLast(each => each.application === '')
    return key && { id: key.id, application: key.application, secret: key.secret }
  }

  async function addKey(application: string, retire: readonly string[]): Promise<SigningKeyEntry> {
    const row = {
      id: randomBytes(KEY_ID_BYTES).toString('hex'),
      application,
      secret: randomBytes(SECRET_BYTES).toString('hex'),
      createdAtMs: clock.nowMs()
    }
    await tokens.addKey(row, retire)
    return keyEntry({ ...row, state: 'active' })
  }
}

function tokenEntry(row: TokenRow): TokenEntry {
  const { id, name, grants, createdAtMs, expiresAtMs, usedDay, revokedAtMs } = row
  return {
    id,
    name,
    grants: JSON.parse(grants) as AccessGrant[],
    createdAtMs,
    expiresAtMs,
    usedDay,
    revokedAtMs
  }
}

function rulesEntry({ application, reads, quotas }: RulesRow): ApplicationRules {
  return { application, reads: reads as ReadRule, quotas }
}

function keyEntry({ id, application, state, createdAtMs }: SigningKeyRow): SigningKeyEntry {
  return { id, application, state: state as (typeof KEY_STATES)[number], createdAtMs }
}

function shareEntry({ passwordHash, secret: _secret, ...rest }: ShareRow): ShareEntry {
  return { ...rest, hasPassword: passwordHash !== '' }
}

function noSuch(what: string, id: string): RejectedError {
  return new RejectedError('NO_SUCH_ENTRY', `there is no ${what} ${id}`)
}

function exists(what: string, id: string): RejectedError {
  return new RejectedError('ENTRY_EXISTS', `another ${what} has the id ${id}`)
}

function tooMany(what: string): RejectedError {
  return new RejectedError('TOO_MANY_ENTRIES', `there are ${what} already`)
}
