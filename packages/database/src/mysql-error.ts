// What MySQL's and MariaDB's error numbers mean for whoever asked.

const LOCK_WAIT_TIMEOUT = 1205
const DEADLOCK = 1213
const RECORD_CHANGED = 1020
const QUERY_INTERRUPTED = 1317
const WSREP_NOT_READY = 1047
const SERVER_SHUTDOWN = 1053
const CONNECTION_KILLED = 1927
const ACCESS_DENIED = 1045
const DATABASE_ACCESS_DENIED = 1044
const NO_SUCH_DATABASE = 1049
const READ_ONLY_OPTION = 1290
const READ_ONLY_TRANSACTION = 1792
const READ_ONLY_MODE = 1836

/** The transaction was rolled back and may go through next time; Galera reports its conflicts the same way. */
const TRANSIENT = new Set([LOCK_WAIT_TIMEOUT, DEADLOCK, RECORD_CHANGED, QUERY_INTERRUPTED])
/** Another node may take it. */
const UNFIT_NODE = new Set([
  WSREP_NOT_READY,
  SERVER_SHUTDOWN,
  CONNECTION_KILLED,
  READ_ONLY_OPTION,
  READ_ONLY_TRANSACTION,
  READ_ONLY_MODE
])
const READ_ONLY = new Set([READ_ONLY_OPTION, READ_ONLY_TRANSACTION, READ_ONLY_MODE])
/** No waiting helps. */
const REFUSED = new Set([ACCESS_DENIED, DATABASE_ACCESS_DENIED, NO_SUCH_DATABASE])

export type MysqlErrorKind = 'transient' | 'unfit-node' | 'refused' | 'statement'

/** The kind of an error that the server sent. */
export function kindOf(errno: number): MysqlErrorKind {
  if (TRANSIENT.has(errno)) return 'transient'
  if (UNFIT_NODE.has(errno)) return 'unfit-node'
  return REFUSED.has(errno) ? 'refused' : 'statement'
}

export function isReadOnlyErrno(errno: number | undefined): boolean {
  return errno !== undefined && READ_ONLY.has(errno)
}

/** The server's number of an error; undefined when it is the connection's or our own. */
export function errnoOf(error: unknown): number | undefined {
  const { errno, sqlState } = error as { errno?: unknown; sqlState?: unknown }
  // Errors of the socket have a number as well, a negative one, but never a SQL state.
  return typeof errno === 'number' && errno >= 1000 && typeof sqlState === 'string' ? errno : undefined
}

/** The connection is gone and with it the answer: the statement may or may not have been carried out. */
export class ConnectionLostError extends Error {
  override readonly name = 'ConnectionLostError'
}

/** A server that answers but may not be used: read-only, or not in step with its cluster. */
export class UnfitNodeError extends Error {
  override readonly name = 'UnfitNodeError'
  readonly isReadOnly: boolean

  constructor(message: string, isReadOnly: boolean) {
    super(message)
    this.isReadOnly = isReadOnly
  }
}
