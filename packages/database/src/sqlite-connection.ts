import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from 'node:sqlite'
import { existsSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { DatabaseUnavailableError, ReadOnlyDatabaseError } from './errors.ts'

// The only importer of node:sqlite.
export type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync }

/** Bytes of the file mapped into memory: reads of hot pages need no system call. */
const MMAP_BYTES = 1 << 30
/** Page cache of a connection, in KiB (the minus says KiB to SQLite). */
const WRITER_CACHE_KIB = 32 * 1024
const READER_CACHE_KIB = 8 * 1024
/** Pages in the log before a commit moves them into the file: measured 40 % more inserts than with 1,000. */
const CHECKPOINT_PAGES = 4000
/** The log is cut to this once it was emptied. */
export const LOG_BYTES_MAX = 64 << 20

const INSPECTION_WAIT_MS = 1_000

const SQLITE_BUSY = 5
const SQLITE_LOCKED = 6
const SQLITE_READONLY = 8
const SQLITE_CONSTRAINT = 19
const SQLITE_PROTOCOL = 15

export function openReader(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { readOnly: true, timeout: 0 })
  return prepared(database, `PRAGMA mmap_size=${MMAP_BYTES}; PRAGMA cache_size=-${READER_CACHE_KIB}`)
}

/** Waiting for another process's transaction is the caller's (see busy-wait.ts): SQLite's own waits up to 100 ms a step. */
export function openWriter(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 0 })
  return prepared(
    database,
    `PRAGMA synchronous=FULL; PRAGMA cache_size=-${WRITER_CACHE_KIB};
     PRAGMA wal_autocheckpoint=${CHECKPOINT_PAGES}; PRAGMA journal_size_limit=${LOG_BYTES_MAX}`
  )
}

/** Makes the file where there is none. WAL is a property of the file: later connections find it. */
export function openForMigration(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 0 })
  return prepared(database, 'PRAGMA encoding="UTF-8"; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL')
}

/**
 * For whoever looks at a file and must leave no trace: a reader of a log that nobody uses would make the files beside it,
 * under its own user's name. Then the main file is read as it stands.
 */
export function openForInspection(path: string): DatabaseSync {
  const isInUse = existsSync(`${path}-wal`) && existsSync(`${path}-shm`)
  if (isInUse) return new DatabaseSync(path, { readOnly: true, timeout: INSPECTION_WAIT_MS })
  const url = pathToFileURL(path)
  url.searchParams.set('immutable', '1')
  return new DatabaseSync(url, { readOnly: true })
}

function prepared(database: DatabaseSync, pragmas: string): DatabaseSync {
  try {
    database.exec(pragmas)
  } catch (error) {
    database.close()
    throw error
  }
  return database
}

/** SQLite's primary result code, undefined where the error is not SQLite's. */
export function resultCodeOf(error: unknown): number | undefined {
  const { code, errcode } = error as { code?: unknown; errcode?: unknown }
  return code === 'ERR_SQLITE_ERROR' && typeof errcode === 'number' ? errcode & 0xff : undefined
}

/** Another process holds the lock; trying again is what helps. */
export function isBusy(error: unknown): boolean {
  const code = resultCodeOf(error)
  return code === SQLITE_BUSY || code === SQLITE_LOCKED || code === SQLITE_PROTOCOL
}

/** A fault of one statement, which leaves the transaction as it was. */
export function isStatementFault(error: unknown): boolean {
  const code = resultCodeOf(error)
  return code === undefined || code === SQLITE_CONSTRAINT
}

/** SQLite's error as ours; what is not SQLite's stays as it is. */
export function sqliteErrorOf(cause: unknown): Error {
  const code = resultCodeOf(cause)
  const text = cause instanceof Error ? cause.message : String(cause)
  if (code === SQLITE_READONLY) return new ReadOnlyDatabaseError(`SQLite: ${text}`, { cause })
  if (code !== undefined && code !== SQLITE_CONSTRAINT && code !== 1) {
    return new DatabaseUnavailableError(`SQLite: ${text} (${code})`, { cause })
  }
  return cause instanceof Error ? cause : new Error(text)
}
