/**
 * Bodies of our extension commands, all of tagged fields. Legacy peers never see them. Append only: a released
 * tag keeps its number and type. Source: docs/PROTOCOL.md, Extensions.
 */
import { fieldsCodec, type FieldsOf } from './tagged-fields.ts'

export const PROTOCOL_VERSION_MIN = 1
export const PROTOCOL_VERSION_MAX = 1

/** What a peer can do beyond the first version; bits are appended. */
export const FEATURES = {
  NONE: 0,
  /** Understands WRONG_GROUP: asks a tracker afresh where the file is, instead of having the request forwarded. */
  WRONG_GROUP: 1,
  /** A storage server that knows REMOVE. */
  REMOVE: 2,
  /** A tracker that knows CALL. */
  CALL: 4,
  /** A storage server that knows resumable uploads, PART_BEGIN to PART_READ. */
  PARTS: 8,
  /** It has a cluster key: it gives a proof of it, and wants one. */
  AUTHENTICATE: 16,
  /** A storage server that knows TRASH. */
  TRASH: 32,
  /** Understands a SHUTTING_DOWN that it did not ask for: nothing that it sent behind the last reply was taken. */
  GOODBYE: 64
} as const
/** Those of this program. */
export const OWN_FEATURES =
  FEATURES.WRONG_GROUP | FEATURES.REMOVE | FEATURES.CALL | FEATURES.PARTS | FEATURES.TRASH | FEATURES.GOODBYE

/** HELLO (14, 41, 74), both directions: first on a new connection between our own programs. */
const helloTable = {
  protocolMin: { tag: 1, type: 'u32' },
  protocolMax: { tag: 2, type: 'u32' },
  /** 'tracker' | 'id' | 'storage' | 'client' */
  role: { tag: 3, type: 'text' },
  /** Cluster UUID; absent where the sender does not know it (clients). */
  cluster: { tag: 4, type: 'text', optional: true },
  features: { tag: 5, type: 'u64' },
  /** UNIX milliseconds of the sender's clock */
  timeMs: { tag: 6, type: 'u64' },
  nonce: { tag: 7, type: 'hex' },
  /** Program version, for logs */
  version: { tag: 8, type: 'text' }
} as const
export const hello = fieldsCodec(helloTable)
export type Hello = FieldsOf<typeof helloTable>

/** AUTHENTICATE (21, 44, 88), both directions: the sender has the cluster key. Source: docs/PROTOCOL.md §4.1. */
const authenticateTable = {
  /** HMAC-SHA-256 under the key, of side, role of the server, both nonces, and what binds it to the TLS connection. */
  proof: { tag: 1, type: 'hex' }
} as const
export const authenticate = fieldsCodec(authenticateTable)

/** Where a storage server can be reached; `host` is an IP address or a name. */
const addressTable = {
  host: { tag: 1, type: 'text' },
  port: { tag: 2, type: 'u32' },
  /** 4, 6, or 0 for a name */
  family: { tag: 3, type: 'u32' },
  tls: { tag: 4, type: 'flag', optional: true },
  region: { tag: 5, type: 'text', optional: true }
} as const
export type ExtendedAddress = FieldsOf<typeof addressTable>

/** PRESENCE: join, heartbeat and load in one; idempotent, sent at every heartbeat interval. */
const presenceTable = {
  version: { tag: 1, type: 'text' },
  group: { tag: 2, type: 'text' },
  hostName: { tag: 3, type: 'text' },
  port: { tag: 4, type: 'u32' },
  /** UNIX seconds */
  startedAtS: { tag: 5, type: 'u64' },
  joinedAtS: { tag: 6, type: 'u64' },
  /** false: serving is not possible right now (a volume is missing); it is not handed out */
  serving: { tag: 7, type: 'flag' },
  /** false: nothing new is taken (full, draining); existing files are served */
  taking: { tag: 8, type: 'flag' },
  reason: { tag: 9, type: 'text', optional: true },
  /** Configured addresses, handed out instead of the peer's */
  advertised: { tag: 10, type: addressTable, optional: true },
  /** Bytes that new files may still take, the reserve already taken off */
  freeBytes: { tag: 11, type: 'u64' },
  totalBytes: { tag: 12, type: 'u64' },
  connections: { tag: 13, type: 'u32' },
  /** Since the last report, per second */
  requestsPerS: { tag: 14, type: 'u32' },
  bytesPerS: { tag: 15, type: 'u64' },
  /** Share of one core that the busiest process used, 0 to 1000 */
  busyPermille: { tag: 16, type: 'u32' },
  /** Of its content that can be reached, and that there should be; absent where nobody counts them */
  copies: { tag: 17, type: 'u32', optional: true },
  copiesWanted: { tag: 18, type: 'u32', optional: true },
  /** It speaks TLS. */
  tls: { tag: 19, type: 'flag', optional: true }
} as const
export const presence = fieldsCodec(presenceTable)
export type Presence = FieldsOf<typeof presenceTable>

const presenceReplyTable = { checkIntervalMs: { tag: 1, type: 'u32' } } as const
export const presenceReply = fieldsCodec(presenceReplyTable)

/** LEAVE: this storage server shuts down; it is no longer handed out from now on. */
const leaveTable = {
  group: { tag: 1, type: 'text' },
  hostName: { tag: 2, type: 'text' },
  port: { tag: 3, type: 'u32' }
} as const
export const leave = fieldsCodec(leaveTable)

const keyTable = {
  application: { tag: 1, type: 'text' },
  user: { tag: 2, type: 'text' },
  file: { tag: 3, type: 'text' }
} as const

/** LOCATE: SADDRS for ours; an empty file asks where a new file would go. */
const locateTable = {
  ...keyTable,
  /** An upload follows: a user without a group is tied to one. */
  forUpload: { tag: 4, type: 'flag', optional: true },
  /** Asks the index itself: what was remembered proved to be wrong */
  fresh: { tag: 5, type: 'flag', optional: true },
  /** Address of the client that the asker speaks for; it chooses the region of a new user, nothing else */
  clientIp: { tag: 6, type: 'text', optional: true }
} as const
export const locate = fieldsCodec(locateTable)
const locateReplyTable = {
  group: { tag: 1, type: 'text' },
  exists: { tag: 2, type: 'flag' },
  addresses: { tag: 3, type: addressTable }
} as const
export const locateReply = fieldsCodec(locateReplyTable)
export type LocateReply = FieldsOf<typeof locateReplyTable>

/** LIST: a keyset page of a user's files in byte order of the file id. */
export const LIST_LIMIT_MAX = 1_000
const listTable = {
  application: { tag: 1, type: 'text' },
  user: { tag: 2, type: 'text' },
  /** Files after this id; empty = from the first */
  after: { tag: 3, type: 'text' },
  limit: { tag: 4, type: 'u32' }
} as const
export const list = fieldsCodec(listTable)
const listedFileTable = {
  file: { tag: 1, type: 'text' },
  generation: { tag: 2, type: 'hex' },
  sizeBytes: { tag: 3, type: 'u64' },
  crc32: { tag: 4, type: 'u32' },
  storedAtMs: { tag: 5, type: 'u64' },
  mediaType: { tag: 6, type: 'text' },
  name: { tag: 7, type: 'text' },
  group: { tag: 8, type: 'text' }
} as const
export type ListedFile = FieldsOf<typeof listedFileTable>
const listReplyTable = {
  files: { tag: 1, type: listedFileTable },
  /** More files follow after the last one of this page */
  more: { tag: 2, type: 'flag' }
} as const
export const listReply = fieldsCodec(listReplyTable)

/** CLUSTER: the tracker's table for programs; the request body is empty. */
const memberTable = {
  version: { tag: 1, type: 'text' },
  hostName: { tag: 2, type: 'text' },
  addresses: { tag: 3, type: addressTable },
  startedAtS: { tag: 4, type: 'u64' },
  joinedAtS: { tag: 5, type: 'u64' },
  /** 0 = never */
  beatAtS: { tag: 6, type: 'u64' },
  /** 'OFFLINE' | 'ONLINE' | 'ACTIVE' */
  status: { tag: 7, type: 'text' },
  serving: { tag: 8, type: 'flag' },
  taking: { tag: 9, type: 'flag' },
  reason: { tag: 10, type: 'text', optional: true },
  freeBytes: { tag: 11, type: 'u64' },
  totalBytes: { tag: 12, type: 'u64' },
  connections: { tag: 13, type: 'u32' },
  requestsPerS: { tag: 14, type: 'u32' },
  bytesPerS: { tag: 15, type: 'u64' },
  /** Speaks the plain commands only */
  legacy: { tag: 16, type: 'flag' },
  /** As it reported; absent where nobody counts them */
  copies: { tag: 17, type: 'u32', optional: true },
  copiesWanted: { tag: 18, type: 'u32', optional: true }
} as const
const groupTable = {
  name: { tag: 1, type: 'text' },
  region: { tag: 2, type: 'text' },
  /** In the database; a group that is not is listed, never given new users */
  known: { tag: 3, type: 'flag' },
  members: { tag: 4, type: memberTable },
  /** Serves what it has, gets nothing new */
  draining: { tag: 5, type: 'flag', optional: true }
} as const
const clusterReplyTable = {
  cluster: { tag: 1, type: 'text' },
  groups: { tag: 2, type: groupTable }
} as const
export const clusterReply = fieldsCodec(clusterReplyTable)
export type ClusterReply = FieldsOf<typeof clusterReplyTable>
export type ClusterGroup = FieldsOf<typeof groupTable>
export type ClusterMember = FieldsOf<typeof memberTable>

/**
 * CALL: what the control plane asks of the index, by the name of a method; arguments and result are JSON. The methods and
 * what they take are in the package `calls`.
 */
const callTable = { method: { tag: 1, type: 'text' }, arguments: { tag: 2, type: 'text' } } as const
export const call = fieldsCodec(callTable)
const callReplyTable = { result: { tag: 1, type: 'text' } } as const
export const callReply = fieldsCodec(callReplyTable)

/** ID_BLOCK: `count` consecutive ids at once, at most ID_BLOCK_MAX. */
export const ID_BLOCK_MAX = 10_000
const idBlockTable = { key: { tag: 1, type: 'text' }, count: { tag: 2, type: 'u32' } } as const
export const idBlock = fieldsCodec(idBlockTable)
const idBlockReplyTable = { first: { tag: 1, type: 'u64' }, count: { tag: 2, type: 'u32' } } as const
export const idBlockReply = fieldsCodec(idBlockReplyTable)

/** ID_RAISE: from now on ids of `key` are at least `atLeast`; after a restore of an older database. */
const idRaiseTable = { key: { tag: 1, type: 'text' }, atLeast: { tag: 2, type: 'u64' } } as const
export const idRaise = fieldsCodec(idRaiseTable)

/**
 * FETCH: metadata, condition and range together with the bytes, in one round trip.
 * Its reply is u32 length of the fields · fields · content.
 */
const fetchTable = {
  ...keyTable,
  /** Only this generation; another one is GENERATION_MISMATCH. For resumed reads. */
  generation: { tag: 4, type: 'hex', optional: true },
  /** The caller has this generation: no content is sent when it is still the one. */
  unlessGeneration: { tag: 5, type: 'hex', optional: true },
  /** The range counts only for this generation; with another one the whole file is sent (If-Range). */
  rangeGeneration: { tag: 6, type: 'hex', optional: true },
  /** First byte wanted; absent together with `suffix` = the whole file */
  start: { tag: 7, type: 'u64', optional: true },
  /** Last byte wanted, inclusive; beyond the end is cut; absent = to the end */
  end: { tag: 8, type: 'u64', optional: true },
  /** The last so many bytes; instead of start and end */
  suffix: { tag: 9, type: 'u64', optional: true },
  /** When the range is longer than this, only metadata comes back (`omitted`). */
  contentBytesMax: { tag: 10, type: 'u64', optional: true },
  /** In the trash or not: for who moves the file, and shows it to nobody */
  trashed: { tag: 11, type: 'flag', optional: true }
} as const
export const fetch = fieldsCodec(fetchTable)
export type FetchRequest = FieldsOf<typeof fetchTable>

/** What is known of a file; STAT's reply, and in front of a FETCH's content. */
const fileFactsTable = {
  generation: { tag: 1, type: 'hex' },
  sizeBytes: { tag: 2, type: 'u64' },
  crc32: { tag: 3, type: 'u32' },
  storedAtMs: { tag: 4, type: 'u64' },
  mediaType: { tag: 5, type: 'text' },
  name: { tag: 6, type: 'text' }
} as const
/** Of FETCH only: what the content is. No tag beyond the facts = the whole file follows. */
const fetchReplyTable = {
  ...fileFactsTable,
  /** Resolved range of the content that follows; absent = the whole file */
  offset: { tag: 10, type: 'u64', optional: true },
  lengthBytes: { tag: 11, type: 'u64', optional: true },
  /** No content follows, because … */
  notModified: { tag: 12, type: 'flag', optional: true },
  unsatisfiable: { tag: 13, type: 'flag', optional: true },
  omitted: { tag: 14, type: 'flag', optional: true }
} as const
export const fileFacts = fieldsCodec(fileFactsTable)
export type FileFacts = FieldsOf<typeof fileFactsTable>
export const fetchReply = fieldsCodec(fetchReplyTable)
export type FetchReply = FieldsOf<typeof fetchReplyTable>

/**
 * STORE: an upload announced. Body: u32 length of the fields · fields · content or nothing.
 *
 * - content rides along (`inline`, at most INLINE_BYTES_MAX): the reply is the final one.
 * - else the reply says `send` (or the upload is already there: final), and the next frames on this connection are
 *   STORE_BODY: one with all `sizeBytes`; or, where sizeBytes is absent, pieces, each answered by an empty reply,
 *   ended by an empty one, which is answered by the final reply.
 */
const storeTable = {
  ...keyTable,
  nonce: { tag: 4, type: 'hex' },
  sizeBytes: { tag: 5, type: 'u64', optional: true },
  name: { tag: 6, type: 'text', optional: true },
  mediaType: { tag: 7, type: 'text', optional: true },
  inline: { tag: 8, type: 'flag', optional: true }
} as const
export const store = fieldsCodec(storeTable)
export type StoreRequest = FieldsOf<typeof storeTable>
const storeReplyTable = {
  /** The body is awaited now; the facts below come with the final reply */
  send: { tag: 20, type: 'flag', optional: true },
  generation: { tag: 1, type: 'hex', optional: true },
  sizeBytes: { tag: 2, type: 'u64', optional: true },
  crc32: { tag: 3, type: 'u32', optional: true },
  storedAtMs: { tag: 4, type: 'u64', optional: true },
  mediaType: { tag: 5, type: 'text', optional: true },
  name: { tag: 6, type: 'text', optional: true }
} as const
export const storeReply = fieldsCodec(storeReplyTable)
export type StoreReply = FieldsOf<typeof storeReplyTable>

/** STAT: facts of a file. With `nonce`: is this upload the one that is there? */
const statTable = {
  ...keyTable,
  /** In the trash or not */
  trashed: { tag: 4, type: 'flag', optional: true }
} as const
export const stat = fieldsCodec(statTable)
const statReplyTable = {
  ...fileFactsTable,
  nonce: { tag: 10, type: 'hex' },
  group: { tag: 11, type: 'text' }
} as const
export const statReply = fieldsCodec(statReplyTable)
export type StatReply = FieldsOf<typeof statReplyTable>

/** REMOVE: deletes one generation of a file, and no later one of its name. Once it is gone, FILE_NOT_FOUND. */
const removeTable = {
  ...keyTable,
  generation: { tag: 4, type: 'hex' },
  /** Only while it is in the trash: what was taken out of it is FILE_NOT_FOUND */
  fromTrash: { tag: 5, type: 'flag', optional: true }
} as const
export const remove = fieldsCodec(removeTable)

/** TRASH: puts one generation of a file into the trash, or takes it out again. Safe to repeat. */
const trashTable = {
  ...keyTable,
  generation: { tag: 4, type: 'hex' },
  /** UNIX milliseconds when it is deleted for good; 0: out of the trash */
  untilMs: { tag: 5, type: 'u64' }
} as const
export const trash = fieldsCodec(trashTable)

/**
 * ADOPT, to a member of the group that is to get a file: fetches it from the group that has it, stores it durably under
 * the same generation, and switches its row. Answered when that is done, or was done before.
 */
const adoptTable = {
  ...keyTable,
  /** Only this generation; another one is GENERATION_MISMATCH */
  generation: { tag: 4, type: 'hex' },
  /** The content is fetched no faster than this; absent = as fast as it goes */
  bytesPerS: { tag: 5, type: 'u64', optional: true }
} as const
export const adopt = fieldsCodec(adoptTable)
export type AdoptRequest = FieldsOf<typeof adoptTable>

/** Parts that one upload is joined of. */
export const UPLOAD_PARTS_MAX = 128
/** What PART_READ gives at a time. */
export const PART_READ_BYTES_MAX = 1024 * 1024

/** PART_BEGIN: a resumable upload. The same id again, with the same facts, is the same upload. */
const partBeginTable = {
  application: { tag: 1, type: 'text' },
  user: { tag: 2, type: 'text' },
  /** Absent: a part, which gets no name by itself */
  file: { tag: 3, type: 'text', optional: true },
  /** Id of the upload, 16 random bytes: whoever knows it may go on with it */
  id: { tag: 4, type: 'hex' },
  sizeBytes: { tag: 5, type: 'u64' },
  name: { tag: 6, type: 'text', optional: true },
  mediaType: { tag: 7, type: 'text', optional: true },
  /** Kept as it is, for whoever asks */
  metadata: { tag: 8, type: 'text', optional: true },
  /** Of a part: whole that it belongs to, its number there, how many there are, and the size of the whole */
  whole: { tag: 9, type: 'hex', optional: true },
  part: { tag: 10, type: 'u32', optional: true },
  parts: { tag: 11, type: 'u32', optional: true },
  totalBytes: { tag: 12, type: 'u64', optional: true },
  /** Ids of finished parts, 16 bytes each: the upload is these, joined */
  joins: { tag: 13, type: 'hex', optional: true }
} as const
export const partBegin = fieldsCodec(partBeginTable)
export type PartBegin = FieldsOf<typeof partBeginTable>

/** PART_STATUS, PART_COMMIT, PART_ABORT */
export const partId = fieldsCodec({ id: { tag: 1, type: 'hex' } })

/** What is known of an upload: the reply to PART_BEGIN, PART_APPEND, PART_STATUS and PART_ABORT. */
const partStatusTable = {
  id: { tag: 1, type: 'hex' },
  application: { tag: 2, type: 'text' },
  user: { tag: 3, type: 'text' },
  /** Empty: a part */
  file: { tag: 4, type: 'text' },
  sizeBytes: { tag: 5, type: 'u64' },
  /** So many bytes are on disk, from the first on */
  offsetBytes: { tag: 6, type: 'u64' },
  /** Of these */
  crc32: { tag: 7, type: 'u32' },
  /** Grows whenever somebody begins to write */
  fence: { tag: 8, type: 'u64' },
  group: { tag: 9, type: 'text' },
  expiresMs: { tag: 10, type: 'u64' },
  name: { tag: 11, type: 'text' },
  mediaType: { tag: 12, type: 'text' },
  metadata: { tag: 13, type: 'text' },
  /** Of the stored file; absent = it is not stored yet */
  generation: { tag: 14, type: 'hex', optional: true },
  /** Ids of its parts, 16 bytes each */
  joins: { tag: 15, type: 'hex', optional: true }
} as const
export const partStatus = fieldsCodec(partStatusTable)
export type PartStatus = FieldsOf<typeof partStatusTable>

/** PART_READ: acknowledged bytes of an upload, at most PART_READ_BYTES_MAX. Its reply is a block of a status and the bytes. */
const partReadTable = {
  id: { tag: 1, type: 'hex' },
  start: { tag: 2, type: 'u64' },
  lengthBytes: { tag: 3, type: 'u64' }
} as const
export const partRead = fieldsCodec(partReadTable)
