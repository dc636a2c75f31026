/** The cluster as it is now. */
import Type, { type Static } from 'typebox'

export const CLUSTER_MEMBER = Type.Object({
  hostName: Type.String(),
  addresses: Type.Array(Type.String()),
  version: Type.String(),
  status: Type.Enum(['OFFLINE', 'ONLINE', 'ACTIVE']),
  /** Existing files are served. */
  serving: Type.Boolean(),
  /** New files are taken. */
  taking: Type.Boolean(),
  /** In words, where something is not as it should be. */
  reason: Type.Union([Type.String(), Type.Null()]),
  /** ISO 8601; null: never. */
  startedAt: Type.Union([Type.String(), Type.Null()]),
  beatAt: Type.Union([Type.String(), Type.Null()]),
  freeBytes: Type.Integer(),
  totalBytes: Type.Integer(),
  connections: Type.Integer(),
  requestsPerS: Type.Integer(),
  bytesPerS: Type.Integer(),
  /** Speaks the plain commands only. */
  legacy: Type.Boolean(),
  copies: Type.Union([Type.Integer(), Type.Null()]),
  copiesWanted: Type.Union([Type.Integer(), Type.Null()])
})
export type ClusterMember = Static<typeof CLUSTER_MEMBER>

export const CLUSTER_GROUP = Type.Object({
  name: Type.String(),
  region: Type.String(),
  draining: Type.Boolean(),
  members: Type.Array(CLUSTER_MEMBER)
})
export type ClusterGroup = Static<typeof CLUSTER_GROUP>

export const CLUSTER_TRACKER = Type.Object({
  address: Type.String(),
  answers: Type.Boolean(),
  /** Milliseconds; null where it does not answer. */
  roundTripMs: Type.Union([Type.Number(), Type.Null()]),
  version: Type.Union([Type.String(), Type.Null()]),
  /** In words, where it does not answer. */
  reason: Type.Union([Type.String(), Type.Null()])
})
export type ClusterTracker = Static<typeof CLUSTER_TRACKER>

/** Something that somebody should know, most urgent first. `code` and `values` let a page say it in its own language. */
export const CLUSTER_FAULT = Type.Object({
  severity: Type.Enum(['error', 'warning']),
  code: Type.Enum([
    'tracker-silent',
    'no-group',
    'group-dead',
    'group-full',
    'group-nearly-full',
    'member-offline',
    'member-not-serving',
    'member-not-taking',
    'copies-missing'
  ]),
  /** In English. */
  text: Type.String(),
  values: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number()]))
})
export type ClusterFault = Static<typeof CLUSTER_FAULT>

/** Also each event of /api/v1/cluster/events. */
export const CLUSTER = Type.Object({
  /** UUID. */
  cluster: Type.String(),
  at: Type.String(),
  trackers: Type.Array(CLUSTER_TRACKER),
  groups: Type.Array(CLUSTER_GROUP),
  faults: Type.Array(CLUSTER_FAULT),
  /** This gateway's own. */
  gateway: Type.Object({
    connections: Type.Integer(),
    requestsPerS: Type.Number(),
    bytesSentPerS: Type.Number(),
    bytesReceivedPerS: Type.Number(),
    uploads: Type.Integer()
  })
})
export type Cluster = Static<typeof CLUSTER>
