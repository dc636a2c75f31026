/**
 * Every command of the wire protocol: the published ones and our extensions. Append only.
 * Source: docs/PROTOCOL.md, Commands and Extensions.
 *
 * `bodyBytesMax` bounds what a server collects before it calls the handler; of commands that carry content
 * (`content: true`) it bounds the part in front of the content.
 */
import { FILE_KEY_BYTES } from './file-key.ts'

/** The largest content that may ride in the frame of a STORE, and the largest a pipelined FETCH returns. */
export const INLINE_BYTES_MAX = 64 * 1024
/** The largest piece of a body whose size was not announced (STORE_BODY). */
export const PIECE_BYTES_MAX = 16 * 1024 * 1024
export const EXTENSION_BODY_BYTES_MAX = 64 * 1024

export const JOIN_BYTES = 171
export const BEAT_BYTES = 146
export const ID_KEY_BYTES_MAX = 65
export const UPLOAD_HEAD_BYTES = FILE_KEY_BYTES + 8
export const DOWNLOAD_BYTES = FILE_KEY_BYTES + 16
/** In front of the content of a PART_APPEND; see append-head.ts. */
export const APPEND_HEAD_BYTES = 72

export interface Command {
  readonly code: number
  readonly role: Role
  /** A shorter body is an error; the same as bodyBytesMax where the layout is fixed. */
  readonly bodyBytesMin: number
  readonly bodyBytesMax: number
  /** Content follows the part that is collected. */
  readonly content?: true
  /** Ours only: never sent to a peer that did not answer HELLO. */
  readonly extension?: true
}
export type Role = 'tracker' | 'id' | 'storage'

export const COMMANDS = {
  JOIN: { code: 10, role: 'tracker', bodyBytesMin: JOIN_BYTES, bodyBytesMax: JOIN_BYTES },
  BEAT: { code: 11, role: 'tracker', bodyBytesMin: BEAT_BYTES, bodyBytesMax: BEAT_BYTES },
  SADDRS: { code: 12, role: 'tracker', bodyBytesMin: FILE_KEY_BYTES, bodyBytesMax: FILE_KEY_BYTES },
  GROUPS: { code: 13, role: 'tracker', bodyBytesMin: 0, bodyBytesMax: 0 },
  TRACKER_HELLO: {
    code: 14,
    role: 'tracker',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  PRESENCE: {
    code: 15,
    role: 'tracker',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  LEAVE: {
    code: 16,
    role: 'tracker',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  LOCATE: {
    code: 17,
    role: 'tracker',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  LIST: {
    code: 18,
    role: 'tracker',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  CLUSTER: {
    code: 19,
    role: 'tracker',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  CALL: {
    code: 20,
    role: 'tracker',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  TRACKER_AUTHENTICATE: {
    code: 21,
    role: 'tracker',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  ID_GET: { code: 40, role: 'id', bodyBytesMin: 1, bodyBytesMax: ID_KEY_BYTES_MAX },
  ID_HELLO: {
    code: 41,
    role: 'id',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  ID_BLOCK: {
    code: 42,
    role: 'id',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  ID_RAISE: {
    code: 43,
    role: 'id',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  ID_AUTHENTICATE: {
    code: 44,
    role: 'id',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  UPLOAD: {
    code: 70,
    role: 'storage',
    bodyBytesMin: UPLOAD_HEAD_BYTES,
    bodyBytesMax: UPLOAD_HEAD_BYTES,
    content: true
  },
  FILESIZE: { code: 71, role: 'storage', bodyBytesMin: FILE_KEY_BYTES, bodyBytesMax: FILE_KEY_BYTES },
  DOWNLOAD: { code: 72, role: 'storage', bodyBytesMin: DOWNLOAD_BYTES, bodyBytesMax: DOWNLOAD_BYTES },
  DELETE: { code: 73, role: 'storage', bodyBytesMin: FILE_KEY_BYTES, bodyBytesMax: FILE_KEY_BYTES },
  STORAGE_HELLO: {
    code: 74,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  FETCH: {
    code: 75,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  STORE: {
    code: 76,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX + INLINE_BYTES_MAX,
    extension: true
  },
  STORE_BODY: { code: 77, role: 'storage', bodyBytesMin: 0, bodyBytesMax: 0, content: true, extension: true },
  STAT: {
    code: 78,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  ADOPT: {
    code: 79,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  REMOVE: {
    code: 80,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  TRASH: {
    code: 81,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  PART_BEGIN: {
    code: 82,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  PART_APPEND: {
    code: 83,
    role: 'storage',
    bodyBytesMin: APPEND_HEAD_BYTES,
    bodyBytesMax: APPEND_HEAD_BYTES,
    content: true,
    extension: true
  },
  PART_STATUS: {
    code: 84,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  PART_COMMIT: {
    code: 85,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  PART_ABORT: {
    code: 86,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  PART_READ: {
    code: 87,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  },
  STORAGE_AUTHENTICATE: {
    code: 88,
    role: 'storage',
    bodyBytesMin: 0,
    bodyBytesMax: EXTENSION_BODY_BYTES_MAX,
    extension: true
  }
} as const satisfies Record<string, Command>
export type CommandName = keyof typeof COMMANDS
export type CommandsOf<R extends Role> = {
  [K in CommandName]: (typeof COMMANDS)[K]['role'] extends R ? K : never
}[CommandName]

export function commandNamesOf<R extends Role>(role: R): CommandsOf<R>[] {
  const names = Object.keys(COMMANDS) as CommandName[]
  return names.filter((name): name is CommandsOf<R> => COMMANDS[name].role === role)
}

/** Every reply carries the code of the role that answers, on success and on error alike. */
export const REPLY_CODES = { tracker: 100, id: 101, storage: 102 } as const satisfies Record<Role, number>

export const HELLO_OF = {
  tracker: COMMANDS.TRACKER_HELLO,
  id: COMMANDS.ID_HELLO,
  storage: COMMANDS.STORAGE_HELLO
} as const satisfies Record<Role, Command>

/** Follows HELLO where the cluster has a key. */
export const AUTHENTICATE_OF = {
  tracker: COMMANDS.TRACKER_AUTHENTICATE,
  id: COMMANDS.ID_AUTHENTICATE,
  storage: COMMANDS.STORAGE_AUTHENTICATE
} as const satisfies Record<Role, Command>
