/** Who may do what. */
import Type, { type Static } from 'typebox'

export const RIGHT = Type.Enum(['read', 'write', 'admin'])

/** Rights for an application (`*`: all) and, where it is named, one user of it. */
export const GRANT = Type.Object({
  application: Type.String(),
  user: Type.Optional(Type.String()),
  rights: Type.Array(RIGHT, { minItems: 1, maxItems: 3 })
})
export type Grant = Static<typeof GRANT>

/** Who the caller is, as the gateway sees it. */
export const SESSION = Type.Object({
  /** `anonymous`: nobody in particular; `local`: a program or page of this machine; `token`: logged in, or with a token. */
  kind: Type.Enum(['anonymous', 'local', 'token']),
  name: Type.String(),
  grants: Type.Array(GRANT),
  /** ISO 8601; null: does not end. */
  expiresAt: Type.Union([Type.String(), Type.Null()]),
  /** The console shows its log-in page: what the caller may do without a token is too little for it. */
  needsLogin: Type.Boolean()
})
export type Session = Static<typeof SESSION>
export const LOGIN = Type.Object({ token: Type.String({ minLength: 1, maxLength: 512 }) })

export const TOKEN = Type.Object({
  id: Type.String(),
  name: Type.String(),
  grants: Type.Array(GRANT),
  createdAt: Type.String(),
  expiresAt: Type.Union([Type.String(), Type.Null()]),
  /** To the day. */
  lastUsedAt: Type.Union([Type.String(), Type.Null()]),
  revokedAt: Type.Union([Type.String(), Type.Null()])
})
export type Token = Static<typeof TOKEN>
export const NEW_TOKEN = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 100 }),
  grants: Type.Array(GRANT, { minItems: 1, maxItems: 16 }),
  /** Seconds from now; absent: does not expire. */
  expiresInS: Type.Optional(Type.Integer({ minimum: 60, maximum: 315_360_000 }))
})
/** The secret is shown this once. */
export const MADE_TOKEN = Type.Object({ token: TOKEN, secret: Type.String() })

export const APPLICATION_RULES = Type.Object({
  application: Type.String(),
  /** Who may read: everybody who reaches the gateway, who has a token, or who has a token or a signed address. */
  reads: Type.Enum(['open', 'token', 'signed']),
  /** null: no bound. */
  bytesMax: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
  filesMax: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
  userBytesMax: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
  userFilesMax: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
  /** Of one token, or of one address without a token, at each gateway. */
  requestsPerS: Type.Union([Type.Integer({ minimum: 0, maximum: 1_000_000 }), Type.Null()])
})
export type ApplicationRules = Static<typeof APPLICATION_RULES>
export const APPLICATIONS_QUERY = Type.Object({
  /** That one alone: whose token is for one application may ask for its rules, and for no others. */
  application: Type.Optional(Type.String())
})
export const NEW_RULES = Type.Partial(Type.Omit(APPLICATION_RULES, ['application']))

export const SIGNING_KEY = Type.Object({
  id: Type.String(),
  createdAt: Type.String(),
  /** Signs; older ones are only believed until they are retired. */
  active: Type.Boolean()
})

export const NEW_SIGNATURE = Type.Object({
  expiresInS: Type.Integer({ minimum: 1, maximum: 31_536_000 }),
  /** CIDR: only clients of this network. */
  network: Type.Optional(Type.String({ maxLength: 64 }))
})
/** Addresses that work for whoever has them, until they expire. */
export const SIGNED_LINKS = Type.Object({
  expiresAt: Type.String(),
  watch: Type.String(),
  file: Type.String(),
  hls: Type.String(),
  dash: Type.String()
})
export type SignedLinks = Static<typeof SIGNED_LINKS>

export const SHARE = Type.Object({
  id: Type.String(),
  url: Type.String(),
  application: Type.String(),
  user: Type.String(),
  file: Type.String(),
  createdAt: Type.String(),
  expiresAt: Type.Union([Type.String(), Type.Null()]),
  hasPassword: Type.Boolean()
})
export type Share = Static<typeof SHARE>
export const NEW_SHARE = Type.Object({
  expiresInS: Type.Optional(Type.Integer({ minimum: 60, maximum: 315_360_000 })),
  password: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
  network: Type.Optional(Type.String({ maxLength: 64 }))
})
/** What a visitor of a share link is told. */
export const OPENED_SHARE = Type.Object({
  needsPassword: Type.Boolean(),
  title: Type.Union([Type.String(), Type.Null()]),
  /** Once it is open. */
  links: Type.Union([SIGNED_LINKS, Type.Null()])
})
export type OpenedShare = Static<typeof OPENED_SHARE>
export const SHARE_PASSWORD = Type.Object({ password: Type.Optional(Type.String({ maxLength: 200 })) })

const WEBHOOK_EVENTS = ['stored', 'ready', 'deleted', 'degraded'] as const
export const WEBHOOK_EVENT = Type.Enum([...WEBHOOK_EVENTS])
const DELIVERY = Type.Object({
  /** `test`: somebody asked for one. */
  event: Type.Enum([...WEBHOOK_EVENTS, 'test']),
  state: Type.Enum(['waiting', 'done', 'failed']),
  /** Tries so far. */
  tries: Type.Integer(),
  /** Why the last try failed; empty: it did not, or there was none. */
  failure: Type.String(),
  /** When it ended; of one that waits, when it is tried next. */
  at: Type.String()
})
export const WEBHOOK = Type.Object({
  id: Type.String(),
  url: Type.String(),
  application: Type.Union([Type.String(), Type.Null()]),
  events: Type.Array(WEBHOOK_EVENT),
  createdAt: Type.String(),
  /** Of the last delivery, in words; null: none yet. */
  lastStatus: Type.Union([Type.String(), Type.Null()]),
  /** The same for programs. */
  lastDelivery: Type.Union([DELIVERY, Type.Null()]),
  waiting: Type.Integer()
})
export type Webhook = Static<typeof WEBHOOK>
export type WebhookEvent = Static<typeof WEBHOOK_EVENT>
export const NEW_WEBHOOK = Type.Object({
  url: Type.String({ maxLength: 2_000 }),
  application: Type.Optional(Type.String()),
  events: Type.Array(WEBHOOK_EVENT, { minItems: 1, maxItems: 4 })
})
export const MADE_WEBHOOK = Type.Object({ webhook: WEBHOOK, secret: Type.String() })

export const AUDIT_ENTRY = Type.Object({
  at: Type.String(),
  /** Token's name, `local`, `anonymous`, … */
  who: Type.String(),
  address: Type.String(),
  what: Type.String(),
  target: Type.String(),
  outcome: Type.Enum(['done', 'denied', 'failed'])
})
export type AuditEntry = Static<typeof AUDIT_ENTRY>
export const AUDIT_QUERY = Type.Object({
  outcome: Type.Optional(Type.Enum(['done', 'denied', 'failed'])),
  after: Type.Optional(Type.String({ maxLength: 200 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 }))
})
export const AUDIT_PAGE = Type.Object({
  entries: Type.Array(AUDIT_ENTRY),
  next: Type.Union([Type.String(), Type.Null()])
})

export type AuditPage = Static<typeof AUDIT_PAGE>

/** A player tells now and then how far it is; nothing in it tells who watches. */
export const PLAY_REPORT = Type.Object({
  application: Type.String(),
  user: Type.String(),
  file: Type.String(),
  generation: Type.String(),
  /** The first report of a viewing. */
  started: Type.Optional(Type.Boolean()),
  /** Seconds played since the last report. */
  playedS: Type.Number({ minimum: 0, maximum: 3_600 }),
  /** How far, 0 to 1. */
  position: Type.Number({ minimum: 0, maximum: 1 }),
  /** The furthest that this viewing had come at its report before, 0 to 1; of the first one absent. */
  before: Type.Optional(Type.Number({ minimum: 0, maximum: 1 }))
})
export const PLAYS = Type.Object({
  starts: Type.Integer(),
  playedS: Type.Number(),
  /** Viewings that reached 0 %, 10 %, … 100 %. */
  reached: Type.Array(Type.Integer()),
  days: Type.Array(Type.Object({ day: Type.String(), starts: Type.Integer() }))
})
export type Plays = Static<typeof PLAYS>
