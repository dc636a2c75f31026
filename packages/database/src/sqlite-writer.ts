// The thread that writes: the only place that waits for SQLite's lock and for the disk.
import { statSync } from 'node:fs'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { untilFreeSync } from './busy-wait.ts'
import { CommitOutcomeUnknownError } from './errors.ts'
import { STATE_DELETING } from './file-row.ts'
import { isBusy, isStatementFault, LOG_BYTES_MAX, openWriter, sqliteErrorOf } from './sqlite-connection.ts'
import {
  FIND,
  FIND_GENERATION_AT,
  INSERT,
  INSERT_GENERATION_AT,
  INSERT_VALUES,
  KEY_IS
} from './sqlite-file-row.ts'
import { performChange } from './sqlite-control-writes.ts'
import { performMove } from './sqlite-move-writes.ts'
import { threadFaultOf, type ThreadFault } from './thread-fault.ts'
import type { SQLInputValue, SQLOutputValue } from './sqlite-connection.ts'
import type { InsertAnswer, SqliteBatch, SqliteWrite } from './sqlite-write.ts'

export interface SqliteWriterData {
  path: string
  /** How long a transaction may wait for other processes'. */
  busyTimeoutMs: number
}

/** Messages taken into one transaction when the caller is faster than the disk. */
const GROUP_MESSAGES_MAX = 8
/** Transactions between two looks at the log's size. */
const LOG_LOOK_EVERY = 256

const { path, busyTimeoutMs } = workerData as SqliteWriterData
const port = parentPort!
const database = untilFreeSync(() => openWriter(path), busyTimeoutMs)

const begin = database.prepare('BEGIN IMMEDIATE')
const commit = database.prepare('COMMIT')
const rollback = database.prepare('ROLLBACK')
const insert = database.prepare(INSERT)
const find = database.prepare(FIND)
find.setReturnArrays(true)
const markDeleting = database.prepare(
  `UPDATE files SET state=${STATE_DELETING}, trashed_until_ms=0
   WHERE ${KEY_IS} AND generation=unhex(?) AND store=ifnull(unhex(?), store)`
)
const remove = database.prepare(`DELETE FROM files WHERE ${KEY_IS} AND generation=unhex(?)`)
const setMediaType = database.prepare(
  `UPDATE files SET media_type=? WHERE ${KEY_IS} AND generation=unhex(?) AND media_type=''`
)
// A transaction that changes nothing syncs nothing.
const touch = database.prepare(`UPDATE meta SET value=value WHERE name='cluster_id'`)
const addApplication = database.prepare('INSERT INTO applications (name) VALUES (?) ON CONFLICT DO NOTHING')
const addGroup = database.prepare('INSERT INTO storage_groups (name) VALUES (?) ON CONFLICT DO NOTHING')
const tie = database.prepare(
  `INSERT INTO user_routes (application, user, group_name) VALUES (CAST(? AS BLOB), CAST(? AS BLOB), ?)
   ON CONFLICT DO NOTHING`
)
const retie = database.prepare(
  `UPDATE user_routes SET group_name=?
   WHERE application=CAST(? AS BLOB) AND user=CAST(? AS BLOB) AND group_name=?`
)
const setRegion = database.prepare('UPDATE storage_groups SET region=? WHERE name=?')
const setDraining = database.prepare('UPDATE storage_groups SET draining=? WHERE name=?')
const removeGroup = database.prepare(
  'DELETE FROM storage_groups WHERE name=? AND NOT EXISTS (SELECT 1 FROM user_routes WHERE group_name=?)'
)
const groupOf = database.prepare(
  'SELECT group_name FROM user_routes WHERE application=CAST(? AS BLOB) AND user=CAST(? AS BLOB)'
)
groupOf.setReturnArrays(true)
// A number is bound as a float, and so is its sum: what is added up is bound as big integers.
const reserve = database.prepare(
  `INSERT INTO counters (name, next) VALUES (CAST(?1 AS BLOB), ?2)
   ON CONFLICT (name) DO UPDATE SET next = next + ?2 RETURNING next - ?2`
)
reserve.setReturnArrays(true)
reserve.setReadBigInts(true)
const raise = database.prepare(
  `INSERT INTO counters (name, next) VALUES (CAST(?1 AS BLOB), ?2)
   ON CONFLICT (name) DO UPDATE SET next = max(next, ?2)`
)
const take = database.prepare(
  `INSERT INTO leases (name, holder, token, until_ms) VALUES (CAST(?1 AS BLOB), CAST(?2 AS BLOB), 1, ?3 + ?4)
   ON CONFLICT (name) DO UPDATE SET
     token = CASE WHEN holder = excluded.holder AND until_ms > ?3 THEN token ELSE token + 1 END,
     holder = excluded.holder, until_ms = excluded.until_ms
   WHERE holder = excluded.holder OR until_ms <= ?3
   RETURNING token`
)
take.setReturnArrays(true)
take.setReadBigInts(true)
const release = database.prepare(
  'UPDATE leases SET until_ms = 0 WHERE name = CAST(? AS BLOB) AND holder = CAST(? AS BLOB)'
)

function insertRows(values: SQLInputValue[]): InsertAnswer {
  const answers: (SQLOutputValue[] | null)[] = []
  let allInserted = true
  for (let at = 0; at < values.length; at += INSERT_VALUES) {
    const row = values.slice(at, at + INSERT_VALUES)
    if (insert.run(...row).changes === 1) {
      answers.push(null)
      continue
    }
    const found = find.get(row[0]!, row[1]!, row[2]!) as unknown as SQLOutputValue[] | undefined
    const isSame = found?.[FIND_GENERATION_AT] === row[INSERT_GENERATION_AT]
    answers.push(isSame ? null : (found ?? []))
    if (!isSame) allInserted = false
  }
  return allInserted || answers
}

function perform(write: SqliteWrite): unknown {
  switch (write[0]) {
    case 'insert':
      return insertRows(write[1])
    case 'mark-deleting':
      return markDeleting.run(write[1], write[2], write[3], write[4], write[5]).changes === 1
    case 'move':
    case 'note-move':
    case 'withdraw-move':
    case 'park-move':
    case 'remove-move':
    case 'forget-moves':
      return performMove(database, write)
    case 'change':
      return performChange(database, write[1])
    case 'remove':
      return remove.run(write[1], write[2], write[3], write[4]).changes === 1
    case 'sync':
      return void touch.run()
    case 'set-media-type':
      return setMediaType.run(write[5], write[1], write[2], write[3], write[4]).changes === 1
    case 'add-application':
      return void addApplication.run(write[1])
    case 'add-group':
      return void addGroup.run(write[1])
    case 'set-region':
      return setRegion.run(write[2], write[1]).changes === 1
    case 'set-draining':
      return setDraining.run(Number(write[2]), write[1]).changes === 1
    case 'remove-group':
      return removeGroup.run(write[1], write[1]).changes === 1
    case 'retie':
      retie.run(write[4], write[1], write[2], write[3])
      return (groupOf.get(write[1], write[2]) as unknown as [string] | undefined)?.[0] ?? write[4]
    case 'tie':
      tie.run(write[1], write[2], write[3])
      return (groupOf.get(write[1], write[2]) as unknown as [string])[0]
    case 'reserve':
      // A bigint, because a number is bound as a float, and the sum with one is a float too: inexact past 2^53.
      return (reserve.get(write[1], BigInt(write[2])) as unknown as [bigint])[0]
    case 'raise':
      return void raise.run(write[1], write[2])
    case 'take':
      return (take.get(write[1], write[2], Date.now(), write[3]) as unknown as [bigint] | undefined)?.[0]
    case 'release':
      return void release.run(write[1], write[2])
  }
}

let isSynced = true

/**
 * NORMAL leaves the log unsynced at a commit. The next commit under FULL, of whichever process, syncs the
 * whole log, and a checkpoint syncs it before it touches the file: rows can be lost, order cannot.
 */
function setDurable(durable: boolean): void {
  if (durable === isSynced) return
  database.exec(durable ? 'PRAGMA synchronous=FULL' : 'PRAGMA synchronous=NORMAL')
  isSynced = durable
}

/** @throws sqlite's error, with nothing written; CommitOutcomeUnknownError when the disk failed under COMMIT. */
function transact<T>(work: () => T): T {
  untilFreeSync(() => begin.run(), busyTimeoutMs)
  let result: T
  try {
    result = work()
  } catch (error) {
    if (database.isTransaction) rollback.run()
    throw error
  }
  try {
    commit.run()
  } catch (cause) {
    if (database.isTransaction) rollback.run()
    if (isBusy(cause)) throw cause
    throw new CommitOutcomeUnknownError(`SQLite: commit failed: ${sqliteErrorOf(cause).message}`, { cause })
  }
  return result
}

/** Answers of the writes, in order; a fault takes an answer's place. */
function performAll(writes: SqliteWrite[]): unknown[] {
  try {
    return transact(() => writes.map(perform))
  } catch (error) {
    if (!isStatementFault(error) || error instanceof CommitOutcomeUnknownError || writes.length === 1) {
      const fault = threadFaultOf(sqliteErrorOf(error))
      return writes.map(() => fault)
    }
    // One of them is wrong: each gets a transaction of its own, so that it fails alone.
    return writes.map(write => performAll([write])[0])
  }
}

let transactions = 0

/** Readers of other processes can keep the log from being emptied in passing; then it is emptied on purpose. */
function mindLog(): void {
  if (++transactions % LOG_LOOK_EVERY !== 0) return
  const bytes = statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  if (bytes > 2 * LOG_BYTES_MAX) database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
}

type Message = [id: number, batch: SqliteBatch] | 'close'

function answer(messages: [id: number, batch: SqliteBatch][]): void {
  const writes = messages.flatMap(([, batch]) => batch.writes)
  let answers: unknown[]
  try {
    setDurable(messages.some(([, batch]) => batch.durable))
    answers = performAll(writes)
    mindLog()
  } catch (error) {
    const fault: ThreadFault = threadFaultOf(sqliteErrorOf(error))
    answers = writes.map(() => fault)
  }
  let at = 0
  for (const [id, batch] of messages) port.postMessage([id, answers.slice(at, (at += batch.writes.length))])
}

port.on('message', (first: Message) => {
  const messages: [number, SqliteBatch][] = []
  let next: Message | undefined = first
  while (next && next !== 'close') {
    messages.push(next)
    if (messages.length >= GROUP_MESSAGES_MAX) break
    next = receiveMessageOnPort(port)?.message
  }
  if (messages.length > 0) answer(messages)
  if (next === 'close') {
    database.close()
    port.close()
  }
})
