/** Who may do what: tokens and the sessions opened with them, the rules of applications, signing keys, shares. */
import Type, { type Static } from 'typebox'
import { indexCall } from './call.ts'
import { APPLICATION, BYTES, FILE, fileKeyFields, NOTHING, TIME_MS, USER } from './common.ts'

/** Each one includes those before it. */
export const RIGHTS = ['read', 'write', 'admin'] as const
export type Right = (typeof RIGHTS)[number]
/**
 * Who may read what is stored in an application.
 *
 * - `open`    whoever connects
 * - `signed`  a token, a signed address or a share
 * - `token`   a token only
 */
export const READ_RULES = ['open', 'signed', 'token'] as const
export type ReadRule = (typeof READ_RULES)[number]

/** Tokens of a cluster, those that were revoked not counted. */
export const TOKENS_MAX = 10_000
/** Sessions open with one token; the oldest ends when another one is opened. */
export const SESSIONS_PER_TOKEN_MAX = 50
/** Sessions open with all tokens together: gateways keep them in memory. */
export const SESSIONS_MAX = 20_000
/** Of one token. */
export const GRANTS_MAX = 16
export const SIGNING_KEYS_MAX = 100
export const SHARES_PER_FILM_MAX = 1_000
/** Entries of one answer to `access.changes`. */
export const CHANGES_MAX = 200
export const NAME_LENGTH_MAX = 100
const PAGE_MAX = 500
const CURSOR_LENGTH_MAX = 200

const RIGHT = Type.Enum([...RIGHTS])
const READ_RULE = Type.Enum([...READ_RULES])
export const ACCESS_ID = Type.String({ pattern: '^[a-z0-9]{4,32}$' })
const SHA256_HEX = Type.String({ pattern: '^[0-9a-f]{64}$' })
const NAME = Type.String({ minLength: 1, maxLength: NAME_LENGTH_MAX })
/** Empty: all of them. */
const APPLICATION_OR_ALL = Type.String({ pattern: '^[A-Za-z0-9]{0,15}$' })
/** Id of the token that stands for the write token of a configuration, with its fingerprint. */
const PARENT = Type.String({ pattern: '^(?:config:[0-9a-f]{16}|[a-z0-9]{4,32})$' })
/** Who did it, for people: the name of a token, `this machine`, `command line`. */
const WHO = Type.String({ maxLength: NAME_LENGTH_MAX })
const CURSOR = Type.String({ maxLength: CURSOR_LENGTH_MAX })
const LIMIT = Type.Integer({ minimum: 1, maximum: PAGE_MAX })

/** What a token may do in an application (`*`: all), or with the films of one user of it. */
const GRANT = Type.Object({
  application: Type.String({ pattern: '^(?:[*]|[A-Za-z0-9]{1,15})$' }),
  user: Type.Optional(USER),
  rights: Type.Array(RIGHT, { minItems: 1, maxItems: RIGHTS.length })
})
export type AccessGrant = Static<typeof GRANT>
const GRANTS = Type.Array(GRANT, { minItems: 1, maxItems: GRANTS_MAX })

export const TOKEN = Type.Object({
  id: ACCESS_ID,
  name: Type.String(),
  grants: GRANTS,
  createdAtMs: TIME_MS,
  /** 0: never. */
  expiresAtMs: TIME_MS,
  /** Days since 1970, UTC; 0: never used. */
  usedDay: Type.Integer({ minimum: 0 }),
  /** 0: it is not. */
  revokedAtMs: TIME_MS
})
export type TokenEntry = Static<typeof TOKEN>

/** 0: without a bound. Bytes and files in the trash count, derived files as well. */
export const QUOTAS = Type.Object({
  bytesMax: BYTES,
  filesMax: BYTES,
  userBytesMax: BYTES,
  userFilesMax: BYTES,
  /** Requests of one token, or of one address without a token, at each gateway. */
  requestsPerS: Type.Integer({ minimum: 0, maximum: 1_000_000 })
})
export type Quotas = Static<typeof QUOTAS>
export const APPLICATION_RULES = Type.Object({
  application: Type.String(),
  reads: READ_RULE,
  quotas: QUOTAS
})
export type ApplicationRules = Static<typeof APPLICATION_RULES>

/** `active` signs; `old` is still believed; `removed` is not. */
export const KEY_STATES = ['active', 'old', 'removed'] as const
const KEY_STATE = Type.Enum([...KEY_STATES])
export const SIGNING_KEY = Type.Object({
  id: ACCESS_ID,
  application: APPLICATION_OR_ALL,
  state: KEY_STATE,
  createdAtMs: TIME_MS
})
export type SigningKeyEntry = Static<typeof SIGNING_KEY>
const SECRET_KEY = Type.Object({ id: ACCESS_ID, application: APPLICATION_OR_ALL, secret: SHA256_HEX })

export const SHARE = Type.Object({
  id: ACCESS_ID,
  ...fileKeyFields,
  createdAtMs: TIME_MS,
  /** 0: never. */
  expiresAtMs: TIME_MS,
  hasPassword: Type.Boolean(),
  /** Address or network; empty: from everywhere. */
  network: Type.String(),
  createdBy: Type.String(),
  revokedAtMs: TIME_MS
})
export type ShareEntry = Static<typeof SHARE>
/** The same with what a gateway needs to open it. */
const OPENABLE_SHARE = Type.Object({
  share: SHARE,
  /** Empty: there is none. Else `scrypt:` with its parameters, salt and hash. */
  passwordHash: Type.String(),
  secret: SHA256_HEX
})
export type OpenableShare = Static<typeof OPENABLE_SHARE>

/** What a gateway keeps a copy of. */
const CHANGED_TOKEN = Type.Object({
  ...TOKEN.properties,
  hash: SHA256_HEX,
  /** Of a session: the token that it was opened with; empty: it is a token. */
  parent: Type.String()
})
export type ChangedToken = Static<typeof CHANGED_TOKEN>
const CHANGED_KEY = Type.Object({ ...SIGNING_KEY.properties, secret: Type.String() })
export type ChangedKey = Static<typeof CHANGED_KEY>
const CHANGES = Type.Object({
  /** To be given as `since` the next time. */
  revision: BYTES,
  /** There is more: ask again at once. */
  more: Type.Boolean(),
  tokens: Type.Array(CHANGED_TOKEN),
  rules: Type.Array(APPLICATION_RULES),
  keys: Type.Array(CHANGED_KEY),
  /** Webhooks there are; who delivers looks for work only where there are some. */
  webhooks: Type.Integer({ minimum: 0 })
})
export type AccessChanges = Static<typeof CHANGES>

export const accessCalls = {
  /** What became of tokens, rules and keys since a revision; 0: all of it. */
  'access.changes': indexCall('safe', Type.Object({ since: BYTES }), CHANGES),
  'tokens.list': indexCall(
    'safe',
    Type.Object({ after: Type.Optional(CURSOR), limit: LIMIT, revoked: Type.Optional(Type.Boolean()) }),
    Type.Object({ tokens: Type.Array(TOKEN), next: Type.Optional(Type.String()) })
  ),
  /** The id is the caller's, so that asking twice makes one. TOKEN_EXISTS where it is another one's. */
  'tokens.create': indexCall(
    'safe',
    Type.Object({
      id: ACCESS_ID,
      hash: SHA256_HEX,
      name: NAME,
      grants: GRANTS,
      expiresAtMs: TIME_MS
    }),
    Type.Object({ token: TOKEN })
  ),
  /** With its sessions. NO_SUCH_ENTRY. */
  'tokens.revoke': indexCall('safe', Type.Object({ id: ACCESS_ID }), NOTHING),
  /** They were used today. */
  'tokens.used': indexCall('safe', Type.Object({ ids: Type.Array(ACCESS_ID, { maxItems: 1_000 }) }), NOTHING),
  'sessions.open': indexCall(
    'safe',
    Type.Object({
      id: ACCESS_ID,
      hash: SHA256_HEX,
      parent: PARENT,
      name: NAME,
      grants: GRANTS,
      expiresAtMs: TIME_MS
    }),
    NOTHING
  ),
  'sessions.close': indexCall('safe', Type.Object({ id: ACCESS_ID }), NOTHING),
  'applications.list': indexCall(
    'safe',
    Type.Object({}),
    Type.Object({ applications: Type.Array(APPLICATION_RULES) })
  ),
  /** Fields that are not given stay as they are. UNKNOWN_APPLICATION. */
  'applications.setRules': indexCall(
    'safe',
    Type.Object({
      application: APPLICATION,
      reads: Type.Optional(READ_RULE),
      quotas: Type.Optional(Type.Partial(QUOTAS))
    }),
    Type.Object({ rules: APPLICATION_RULES })
  ),
  'keys.list': indexCall('safe', Type.Object({}), Type.Object({ keys: Type.Array(SIGNING_KEY) })),
  /** The key that signs, with its secret; made where there is none. */
  'keys.signing': indexCall('safe', Type.Object({ application: APPLICATION }), SECRET_KEY),
  /** Makes a new one that signs; those that signed before are old from then on. */
  'keys.rotate': indexCall(
    'ask-first',
    Type.Object({ application: APPLICATION_OR_ALL }),
    Type.Object({ key: SIGNING_KEY })
  ),
  /** What it signed is good no more. NO_SUCH_ENTRY. */
  'keys.remove': indexCall('safe', Type.Object({ id: ACCESS_ID }), NOTHING),
  'shares.create': indexCall(
    'safe',
    Type.Object({
      id: ACCESS_ID,
      ...fileKeyFields,
      secret: SHA256_HEX,
      expiresAtMs: TIME_MS,
      passwordHash: Type.String({ maxLength: 300 }),
      network: Type.String({ maxLength: 60 }),
      createdBy: WHO
    }),
    Type.Object({ share: SHARE })
  ),
  /** Also one that has ended: who asks sees it by its fields. NO_SUCH_ENTRY. */
  'shares.find': indexCall('safe', Type.Object({ id: ACCESS_ID }), OPENABLE_SHARE),
  /** The newest first; of one film, user or application, or of all. */
  'shares.list': indexCall(
    'safe',
    Type.Object({
      application: Type.Optional(APPLICATION),
      user: Type.Optional(USER),
      file: Type.Optional(FILE),
      after: Type.Optional(CURSOR),
      limit: LIMIT
    }),
    Type.Object({ shares: Type.Array(SHARE), next: Type.Optional(Type.String()) })
  ),
  'shares.revoke': indexCall('safe', Type.Object({ id: ACCESS_ID }), NOTHING)
}
