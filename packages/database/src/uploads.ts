/**
 * Resumable uploads that are under way. What a row says of the content is what was acknowledged: it is on disk. Whoever
 * writes has the row's newest token, and every change that he makes is made for that token only.
 */
import type { Kysely, Selectable } from 'kysely'
import { sql } from 'kysely'
import { insertNew, statement, type ChangeOutcome, type Control, type ControlStatement } from './control.ts'
import { CommitOutcomeUnknownError } from './errors.ts'
import { hexOf, textOf } from './file-record.ts'
import { assertLimit, safeIntegerOf, uuidOfHex } from './file-row.ts'
import type { FileKey } from './file-index.ts'
import type { SchemaGate } from './schema-gate.ts'
import type { Schema, UploadsTable } from './schema.ts'

/** Numbers on disk; append only. */
export const UPLOAD_KINDS = ['whole', 'part', 'joined'] as const
export type UploadKind = (typeof UPLOAD_KINDS)[number]
/** `dropped`: given up, while somebody who does not answer may still have its file open. */
export const UPLOAD_STATES = ['open', 'stored', 'dropped'] as const
export type UploadState = (typeof UPLOAD_STATES)[number]

/** The columns' width on MySQL, in bytes. */
export const UPLOAD_METADATA_BYTES_MAX = 12_288
/** Seen at a time of those that are due. */
export const UPLOADS_PAGE_MAX = 500

/** Which file of the folder has the bytes from `start` on, up to the next piece. */
export interface UploadPiece {
  file: string
  start: number
}

export interface UploadLayout {
  /** Oldest first; one but for uploads that were taken over from somebody who did not let go. */
  pieces: UploadPiece[]
  /** Of a `joined` upload: ids of its parts, in their order. */
  parts?: string[]
}

export interface UploadRow {
  /** 32 hex digits, and the nonce under which the file is stored. */
  id: string
  application: string
  user: string
  /** Id that the file gets; of a part ''. */
  file: string
  name: string
  mediaType: string
  /** As its uploader gave it. */
  metadata: string
  kind: UploadKind
  state: UploadState
  sizeBytes: number
  /** So much is on disk and was acknowledged. */
  offsetBytes: number
  /** Of the bytes below `offsetBytes`. */
  crc32: number
  group: string
  store: string
  /** Folder of its files, 32 hex digits: its own, or one that it shares with the parts beside it. */
  folder: string
  /** Where in the folder's file it begins. */
  baseBytes: number
  /** Size of the whole that the folder's file becomes; 0: not shared. */
  totalBytes: number
  layout: UploadLayout
  /** Token of who wrote last. */
  fence: number
  /** Who took it: unique for each token. */
  taker: string
  /** Who has the file open for writing, or ''. */
  holder: string
  /** Of the stored file, or ''. */
  generation: string
  createdMs: number
  expiresMs: number
}

export interface PromisedQuestion {
  application: string
  user?: string | undefined
  before?: string | undefined
  except?: readonly string[] | undefined
}

export interface OpenUploads {
  count: number
  first: UploadRow[]
}

const NO_GENERATION = '0'.repeat(32)

export class Uploads {
  readonly #control: Control
  readonly #queries: Kysely<Schema>
  readonly #gate: SchemaGate

  constructor(control: Control, gate: SchemaGate) {
    this.#control = control
    this.#queries = control.queries
    this.#gate = gate
  }

  /** @returns false: the id, or the place in the folder, is taken. */
  async insert(row: UploadRow): Promise<boolean> {
    await this.#gate.pass()
    const change = statement(insertNew(this.#control, 'uploads', recordOf(row)), 1)
    return this.#sure([change], async () => (await this.find(row.id)) !== undefined)
  }

  async find(id: string): Promise<UploadRow | undefined> {
    await this.#gate.pass()
    const record = await this.#queries
      .selectFrom('uploads')
      .selectAll()
      .where('id', '=', bytesOf(id))
      .executeTakeFirst()
    return record && rowOf(record)
  }

  /** Of those that are to become this file the one that has come furthest. */
  async ofFile({ application, user, file }: FileKey, nowMs: number): Promise<UploadRow | undefined> {
    await this.#gate.pass()
    const record = await this.#queries
      .selectFrom('uploads')
      .selectAll()
      .where('application', '=', Buffer.from(application))
      .where('user', '=', Buffer.from(user))
      .where('file', '=', Buffer.from(file))
      .where('state', '=', stateOf('open'))
      .where('kind', '=', UPLOAD_KINDS.indexOf('whole'))
      .where('expires_ms', '>', nowMs)
      .orderBy('offset_bytes', 'desc')
      .limit(sql.lit(1))
      .executeTakeFirst()
    return record && rowOf(record)
  }

  /**
   * What those under way will need, by the length that each of them announced. A part is no file; what is joined has its bytes
   * in its parts.
   *
   * @param before Only those begun before this one, and none of its parts.
   */
  async promised(
    { application, user, before, except = [] }: PromisedQuestion,
    nowMs: number
  ): Promise<{ files: number; bytes: number }> {
    await this.#gate.pass()
    let query = this.#queries
      .selectFrom('uploads')
      .select(['kind', sql<number>`count(*)`.as('files'), sql<string>`sum(size_bytes)`.as('bytes')])
      .where('application', '=', Buffer.from(application))
      .where('state', '=', stateOf('open'))
      .where('expires_ms', '>', nowMs)
    if (user !== undefined) query = query.where('user', '=', Buffer.from(user))
    const row = before === undefined ? undefined : await this.find(before)
    if (row) {
      const { createdMs, id } = row
      query = query.where(({ or, and, eb }) =>
        or([
          eb('created_ms', '<', createdMs),
          and([eb('created_ms', '=', createdMs), eb('id', '<', bytesOf(id))])
        ])
      )
    }
    const left = [...except, ...(row?.layout.parts ?? [])]
    if (left.length > 0) query = query.where('id', 'not in', left.map(bytesOf))
    const promised = { files: 0, bytes: 0 }
    for (const { kind, files, bytes } of await query.groupBy('kind').execute()) {
      if (UPLOAD_KINDS[kind] !== 'part') promised.files += safeIntegerOf(files)
      if (UPLOAD_KINDS[kind] !== 'joined') promised.bytes += safeIntegerOf(bytes)
    }
    return promised
  }

  /** All that share a folder. */
  async inFolder(folder: string): Promise<UploadRow[]> {
    await this.#gate.pass()
    const records = await this.#queries
      .selectFrom('uploads')
      .selectAll()
      .where('folder', '=', bytesOf(folder))
      .execute()
    return records.map(rowOf)
  }

  /**
   * Takes the next token: whoever had the last one changes nothing any more. Where nobody holds the file, the taker holds
   * it from now on.
   *
   * @param row As it was seen: whoever else took a token since, or got further, has been faster.
   * @returns undefined: somebody was.
   */
  async take(row: UploadRow, taker: string): Promise<UploadRow | undefined> {
    const holder = row.holder === '' ? taker : row.holder
    const fence = row.fence + 1
    const change = this.#update(row.id, row.fence, { fence, taker, holder }, query =>
      query
        .where('offset_bytes', '=', row.offsetBytes)
        .where('holder', '=', Buffer.from(row.holder))
        .where('state', '=', stateOf('open'))
    )
    const isMine = await this.#sure([change], async () => (await this.find(row.id))?.taker === taker)
    return isMine ? { ...row, fence, taker, holder } : undefined
  }

  /** Holds the file, which `from` let go or does not let go; in that case `layout` leaves it to him. */
  claim({ id, fence, layout }: UploadRow, from: string, holder: string): Promise<boolean> {
    const change = this.#update(id, fence, { holder, layout: JSON.stringify(layout) }, query =>
      query.where('holder', '=', Buffer.from(from))
    )
    return this.#sure([change], async () => (await this.find(id))?.holder === holder)
  }

  /**
   * Acknowledges what is on disk.
   *
   * @param releases The file is closed.
   * @returns false: another one has taken a later token, or the upload is gone.
   */
  advance(
    { id, fence }: UploadRow,
    reached: { offsetBytes: number; crc32: number; expiresMs: number },
    releases: boolean
  ): Promise<boolean> {
    const { offsetBytes, crc32, expiresMs } = reached
    const values = {
      offset_bytes: offsetBytes,
      crc32,
      expires_ms: expiresMs,
      ...(releases && { holder: '' })
    }
    const change = this.#update(id, fence, values, query => query.where('state', '=', stateOf('open')))
    return this.#sure([change], async () => {
      const now = await this.find(id)
      return now?.fence === fence && now.offsetBytes === offsetBytes && (!releases || now.holder === '')
    })
  }

  /** Says that the file is closed, whoever has the token now. */
  async release(id: string, holder: string): Promise<void> {
    await this.#control.change(
      statement(
        this.#queries
          .updateTable('uploads')
          .set({ holder: Buffer.from('') })
          .where('id', '=', bytesOf(id))
          .where('holder', '=', Buffer.from(holder))
      )
    )
  }

  /** The same for all that earlier boots of this writer held: they are dead. @param writer Its holders begin with it and '/'. */
  async releaseAll(writer: string): Promise<void> {
    await this.#gate.pass()
    await this.#control.change(
      statement(
        this.#queries
          .updateTable('uploads')
          .set({ holder: Buffer.from('') })
          .where('holder', '>', Buffer.from(`${writer}/`))
          .where('holder', '<', Buffer.from(`${writer}0`))
      )
    )
  }

  /** The file is stored: the row stays for a while, for who asks. @returns false: a later token was taken. */
  settle({ id, fence }: UploadRow, generation: string, expiresMs: number): Promise<boolean> {
    const values = {
      state: stateOf('stored'),
      generation: bytesOf(generation),
      expires_ms: expiresMs,
      holder: ''
    }
    const change = this.#update(id, fence, values)
    return this.#sure([change], async () => (await this.find(id))?.generation === generation)
  }

  /** @returns false: a later token was taken. */
  async drop({ id, fence }: UploadRow): Promise<boolean> {
    const change = this.#update(id, fence, { state: stateOf('dropped') })
    return this.#sure([change], async () => (await this.find(id))?.state === 'dropped')
  }

  /** @returns false: a later token was taken, or it was gone. */
  async remove({ id, fence }: UploadRow): Promise<boolean> {
    const query = this.#queries.deleteFrom('uploads').where('id', '=', bytesOf(id)).where('fence', '=', fence)
    return this.#sure([statement(query, 1)], async () => (await this.find(id)) === undefined)
  }

  /**
   * Those that somebody may still go on with in a group; the one that is kept longest comes first.
   *
   * @param limit 1..UPLOADS_PAGE_MAX
   */
  async openIn(group: string, nowMs: number, limit: number): Promise<OpenUploads> {
    assertLimit(limit, UPLOADS_PAGE_MAX)
    await this.#gate.pass()
    const open = this.#queries
      .selectFrom('uploads')
      .where('group_name', '=', Buffer.from(group))
      .where('state', '=', stateOf('open'))
      .where('expires_ms', '>', nowMs)
    const { count } = await open.select(sql<number>`count(*)`.as('count')).executeTakeFirstOrThrow()
    const records = await open.selectAll().orderBy('expires_ms', 'desc').limit(sql.lit(limit)).execute()
    return { count: safeIntegerOf(count), first: records.map(rowOf) }
  }

  /** Those of a store whose time is over. */
  async expired(store: string, nowMs: number): Promise<UploadRow[]> {
    await this.#gate.pass()
    const records = await this.#queries
      .selectFrom('uploads')
      .selectAll()
      .where('store', '=', bytesOf(store.replaceAll('-', '')))
      .where('expires_ms', '<', nowMs)
      .limit(sql.lit(UPLOADS_PAGE_MAX))
      .execute()
    return records.map(rowOf)
  }

  /** Forgets those that nobody swept: their stores are gone. */
  async forget(expiredBeforeMs: number): Promise<void> {
    await this.#gate.pass()
    const query = this.#queries.deleteFrom('uploads').where('expires_ms', '<', expiredBeforeMs)
    await this.#control.change(statement(query))
  }

  /** Which of these folders some row has. */
  async knownFolders(folders: readonly string[]): Promise<Set<string>> {
    await this.#gate.pass()
    if (folders.length === 0) return new Set()
    const records = await this.#queries
      .selectFrom('uploads')
      .select('folder')
      .where('folder', 'in', folders.map(bytesOf))
      .execute()
    return new Set(records.map(({ folder }) => hexOf(folder)))
  }

  #update(
    id: string,
    fence: number,
    values: UploadChange,
    also: (query: UpdateQuery) => UpdateQuery = query => query
  ): ControlStatement {
    const { holder, taker, layout, ...plain } = values
    const query = this.#queries
      .updateTable('uploads')
      .set({
        ...plain,
        ...(holder !== undefined && { holder: Buffer.from(holder) }),
        ...(taker !== undefined && { taker: Buffer.from(taker) }),
        ...(layout !== undefined && { layout: Buffer.from(layout) })
      })
      .where('id', '=', bytesOf(id))
      .where('fence', '=', fence)
    return statement(also(query as unknown as UpdateQuery) as unknown as typeof query, 1)
  }

  /** Where the answer to a commit was lost, a look tells. */
  async #sure(changes: ControlStatement[], look: () => Promise<boolean>): Promise<boolean> {
    await this.#gate.pass()
    let outcome: ChangeOutcome
    try {
      outcome = await this.#control.change(...changes)
    } catch (error) {
      if (error instanceof CommitOutcomeUnknownError && (await look())) return true
      throw error
    }
    return outcome.done
  }
}

/** As much of Kysely's builder as the conditions need. */
interface UpdateQuery {
  where(column: keyof UploadsTable, operator: '=', value: unknown): UpdateQuery
}

interface UploadChange {
  fence?: number
  taker?: string
  holder?: string
  layout?: string
  state?: number
  offset_bytes?: number
  crc32?: number
  expires_ms?: number
  generation?: Uint8Array
}

function stateOf(state: UploadState): number {
  return UPLOAD_STATES.indexOf(state)
}

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex, 'hex')
}

function recordOf(row: UploadRow) {
  return {
    id: bytesOf(row.id),
    application: Buffer.from(row.application),
    user: Buffer.from(row.user),
    file: Buffer.from(row.file),
    name: Buffer.from(row.name),
    media_type: Buffer.from(row.mediaType),
    metadata: Buffer.from(row.metadata),
    kind: UPLOAD_KINDS.indexOf(row.kind),
    state: stateOf(row.state),
    size_bytes: row.sizeBytes,
    offset_bytes: row.offsetBytes,
    crc32: row.crc32,
    group_name: Buffer.from(row.group),
    store: bytesOf(row.store.replaceAll('-', '')),
    folder: bytesOf(row.folder),
    base_bytes: row.baseBytes,
    total_bytes: row.totalBytes,
    layout: Buffer.from(JSON.stringify(row.layout)),
    fence: row.fence,
    taker: Buffer.from(row.taker),
    holder: Buffer.from(row.holder),
    generation: bytesOf(row.generation || NO_GENERATION),
    created_ms: row.createdMs,
    expires_ms: row.expiresMs
  }
}

function rowOf(record: Selectable<UploadsTable>): UploadRow {
  const generation = hexOf(record.generation)
  return {
    id: hexOf(record.id),
    application: textOf(record.application),
    user: textOf(record.user),
    file: textOf(record.file),
    name: textOf(record.name),
    mediaType: textOf(record.media_type),
    metadata: textOf(record.metadata),
    kind: UPLOAD_KINDS[record.kind]!,
    state: UPLOAD_STATES[record.state]!,
    sizeBytes: safeIntegerOf(record.size_bytes),
    offsetBytes: safeIntegerOf(record.offset_bytes),
    crc32: safeIntegerOf(record.crc32),
    group: textOf(record.group_name),
    store: uuidOfHex(hexOf(record.store)),
    folder: hexOf(record.folder),
    baseBytes: safeIntegerOf(record.base_bytes),
    totalBytes: safeIntegerOf(record.total_bytes),
    layout: JSON.parse(textOf(record.layout)) as UploadLayout,
    fence: safeIntegerOf(record.fence),
    taker: textOf(record.taker),
    holder: textOf(record.holder),
    generation: generation === NO_GENERATION ? '' : generation,
    createdMs: safeIntegerOf(record.created_ms),
    expiresMs: safeIntegerOf(record.expires_ms)
  }
}
