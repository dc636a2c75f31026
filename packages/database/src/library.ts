/** The library: films as people look for them. A row of `files` is the truth; a row here follows it. */
import { sql, type Kysely } from 'kysely'
import { DERIVED_END, DERIVED_PREFIX, isDerivedFileId, parseDerivedFileId } from '@tributary/protocol'
import { insertNew, keyIs, statement, type Control, type ControlStatement } from './control.ts'
import { fileRowOfRecord, hexOf, textOf } from './file-record.ts'
import { safeIntegerOf, STATE_STORED, STATE_TRASHED } from './file-row.ts'
import { LibraryPages, type LibraryFilm, type LibraryPage, type LibraryQuestion } from './library-pages.ts'
import { FACTS_STATES, FILM_KINDS, type FilmKind } from './library-row.ts'
import { searchTextOf, sortTitleOf, wordsOf } from './title-words.ts'
import type { FileIndex, FileKey, FileRow } from './file-index.ts'
import type { UserKey } from './routes.ts'
import type { SchemaGate } from './schema-gate.ts'
import type { Schema } from './schema.ts'

const FACTS_PENDING = 0

const TITLE_LENGTH_MAX = 250
const OWNERS_MAX = 1_000
/** Owners looked at, and orphans found, in one call. */
const ORPHAN_OWNERS = 500
const ORPHANS_MAX = 200
const ORPHAN_PAGE = 200

export interface FilmFindings {
  facts: string | undefined
  kind: FilmKind | undefined
  durationMs: number
  width: number
  height: number
  /** Taken where nobody gave one. */
  title: string | undefined
}

/** A film that the library had, and whose file is gone. */
export type GoneFilm = FileKey & { generation: string }

export class Library {
  /**
   * Told of films that go from the library with their files, out of no trash: before their rows go, and again where that failed.
   * While it fails, they stay.
   */
  onGone: ((films: readonly GoneFilm[]) => Promise<void>) | undefined
  readonly #control: Control
  readonly #queries: Kysely<Schema>
  readonly #gate: SchemaGate
  readonly #pages: LibraryPages
  readonly #files: Pick<FileIndex, 'listDerived'>

  constructor(control: Control, gate: SchemaGate, files: Pick<FileIndex, 'listDerived'>) {
    this.#files = files
    this.#control = control
    this.#queries = control.queries
    this.#gate = gate
    this.#pages = new LibraryPages(control)
  }

  async page(question: LibraryQuestion): Promise<LibraryPage> {
    await this.#gate.pass()
    const { stale, ...page } = await this.#pages.page(question)
    // What the page met and left out is put right behind it.
    for (const key of stale) void this.note(key).catch(() => {})
    return page
  }

  /** One film, stored or in the trash, with what was made from it. */
  async film(
    key: FileKey
  ): Promise<{ film: LibraryFilm; facts: string | undefined; derived: FileRow[] } | undefined> {
    await this.#gate.pass()
    let film = await this.#pages.film(key)
    if (!film) {
      await this.note(key)
      film = await this.#pages.film(key)
    }
    if (!film) return undefined
    const facts = await this.#queries
      .selectFrom('film_facts')
      .select('facts')
      .where(keyIs(key))
      .where('generation', '=', bytesOf(film.generation))
      .executeTakeFirst()
    return { film, facts: facts && textOf(facts.facts), derived: await this.#files.listDerived(film) }
  }

  /** Brings the film's row in line with the file's. Safe to repeat. */
  async note(key: FileKey): Promise<void> {
    await this.noteAll([key])
  }

  /** The same for many. */
  async noteAll(keys: readonly FileKey[]): Promise<void> {
    await this.#gate.pass()
    const films = keys.filter(({ file }) => !isDerivedFileId(file))
    const rows: FileRow[] = []
    for (const film of films) {
      const record = await this.#queries.selectFrom('files').selectAll().where(keyIs(film)).executeTakeFirst()
      if (record) rows.push(fileRowOfRecord(record))
    }
    await this.noteRows(films, rows)
  }

  /** Those stored files of which the library has no row yet, of this generation. */
  async unknown(rows: readonly FileRow[]): Promise<FileRow[]> {
    await this.#gate.pass()
    const unknown: FileRow[] = []
    for (const row of rows) {
      if (row.state !== 'stored') continue
      const known = await this.#queries
        .selectFrom('library')
        .select('generation')
        .where(keyIs(row))
        .executeTakeFirst()
      if (!known || hexOf(known.generation) !== row.generation) unknown.push(row)
    }
    return unknown
  }

  /** Those of films that the library has, of this generation. */
  async known<F extends FileKey & { generation: string }>(films: readonly F[]): Promise<F[]> {
    await this.#gate.pass()
    const known: F[] = []
    for (const film of films) {
      const row = await this.#queries
        .selectFrom('library')
        .select('generation')
        .where(keyIs(film))
        .executeTakeFirst()
      if (row && hexOf(row.generation) === film.generation) known.push(film)
    }
    return known
  }

  /** The same where the files' rows are known: `rows` are those of `keys` that are there. */
  async noteRows(keys: readonly FileKey[], rows: readonly FileRow[]): Promise<void> {
    const changes: ControlStatement[] = []
    const gone: GoneFilm[] = []
    const byKey = new Map(rows.map(row => [textKeyOf(row), row]))
    for (const key of keys) {
      const known = await this.#queries
        .selectFrom('library')
        .select(['generation', 'state', 'trashed_until_ms', 'title'])
        .where(keyIs(key))
        .executeTakeFirst()
      const row = byKey.get(textKeyOf(key))
      const isShown = row !== undefined && row.state !== 'deleting'
      const isSame = isShown && known !== undefined && hexOf(known.generation) === row.generation
      if (isSame) {
        const state = row.state === 'trashed' ? STATE_TRASHED : STATE_STORED
        if (known.state === state && safeIntegerOf(known.trashed_until_ms) === row.trashedUntilMs) continue
        const values = { state, trashed_until_ms: row.trashedUntilMs }
        changes.push(statement(this.#queries.updateTable('library').set(values).where(keyIs(key))))
        continue
      }
      if (known) {
        const { application, user, file } = key
        if (known.state === STATE_STORED)
          gone.push({ application, user, file, generation: hexOf(known.generation) })
        changes.push(...this.#removal(key, textOf(known.title)))
      }
      if (isShown) changes.push(...this.#insertion(row))
    }
    if (gone.length > 0) await this.onGone?.(gone)
    if (changes.length > 0) await this.#control.jot(...changes)
  }

  /** @returns false: it is another film by now, or none. */
  async setTitle(key: FileKey, generation: string, title: string): Promise<boolean> {
    await this.#gate.pass()
    const known = await this.#known(key, generation)
    if (!known) return false
    await this.#control.change(...this.#retitling(key, textOf(known.title), title, true))
    return true
  }

  /** @returns false: it is another film by now, or none. */
  async setFacts(key: FileKey, generation: string, findings: FilmFindings): Promise<boolean> {
    await this.#gate.pass()
    const known = await this.#known(key, generation)
    if (!known) return false
    const { facts, kind, durationMs, width, height, title } = findings
    const values = {
      facts_state: FACTS_STATES.indexOf(facts === undefined ? 'none' : 'ready'),
      duration_ms: durationMs,
      width,
      height,
      ...(kind !== undefined && { kind: FILM_KINDS.indexOf(kind) })
    }
    const changes = [
      statement(
        this.#queries
          .updateTable('library')
          .set(values)
          .where(keyIs(key))
          .where('generation', '=', bytesOf(generation))
      ),
      statement(this.#queries.deleteFrom('film_facts').where(keyIs(key)))
    ]
    if (facts !== undefined) {
      const row = { ...keyBytesOf(key), generation: bytesOf(generation), facts }
      changes.push(statement(insertNew(this.#control, 'film_facts', row)))
    }
    if (title && known.titled === 0 && title !== textOf(known.title)) {
      changes.push(...this.#retitling(key, textOf(known.title), title, false))
    }
    await this.#control.change(...changes)
    return true
  }

  /** Films that nobody has looked into, oldest first. */
  async pending(limit: number): Promise<LibraryFilm[]> {
    await this.#gate.pass()
    return this.#pages.pending(limit)
  }

  /** What is stored and in the trash, with what was made from it. */
  async usage(
    application: string,
    user?: string
  ): Promise<{ files: number; bytes: number; trashedFiles: number; trashedBytes: number }> {
    await this.#gate.pass()
    let query = this.#queries
      .selectFrom('files')
      .select(['state', sql<number>`count(*)`.as('files'), sql<string>`sum(size_bytes)`.as('bytes')])
      .where('application', '=', Buffer.from(application))
    if (user !== undefined) query = query.where('user', '=', Buffer.from(user))
    const usage = { files: 0, bytes: 0, trashedFiles: 0, trashedBytes: 0 }
    for (const { state, files, bytes } of await query.groupBy('state').execute()) {
      usage.files += safeIntegerOf(files)
      usage.bytes += safeIntegerOf(bytes)
      if (state !== STATE_TRASHED) continue
      usage.trashedFiles = safeIntegerOf(files)
      usage.trashedBytes = safeIntegerOf(bytes)
    }
    return usage
  }

  /** Applications and users that have films, in byte order, the first OWNERS_MAX. */
  async owners(): Promise<UserKey[]> {
    await this.#gate.pass()
    const owners: UserKey[] = []
    while (owners.length < OWNERS_MAX) {
      const next = await this.#ownerAfter('library', owners.at(-1))
      if (!next) break
      owners.push(next)
    }
    return owners
  }

  /**
   * Derived files whose film is gone: made while it was deleted, or left in another group. A round goes through the owners;
   * `next` is where the following call goes on.
   *
   * @param olderMs Only those stored before: what is younger may be of a film whose row is not to be seen yet.
   */
  async orphans(olderMs: number, after?: UserKey): Promise<{ files: FileRow[]; next: UserKey | undefined }> {
    await this.#gate.pass()
    const files: FileRow[] = []
    let owner = after
    for (let owners = 0; owners < ORPHAN_OWNERS && files.length < ORPHANS_MAX; owners++) {
      owner = await this.#ownerAfter('files', owner)
      if (!owner) return { files, next: undefined }
      files.push(...(await this.#orphansOf(owner, olderMs)))
    }
    return { files, next: owner }
  }

  async #orphansOf({ application, user }: UserKey, olderMs: number): Promise<FileRow[]> {
    const orphans: FileRow[] = []
    for (let after = DERIVED_PREFIX; ;) {
      const records = await this.#queries
        .selectFrom('files')
        .selectAll()
        .where('application', '=', Buffer.from(application))
        .where('user', '=', Buffer.from(user))
        .where('file', '>', Buffer.from(after))
        .where('file', '<', Buffer.from(DERIVED_END))
        .orderBy('file')
        .limit(sql.lit(ORPHAN_PAGE))
        .execute()
      for (const row of records.map(fileRowOfRecord)) {
        after = row.file
        if (row.state !== 'stored' || row.storedAtMs >= olderMs) continue
        const film = await this.#queries
          .selectFrom('files')
          .select('generation')
          .where(keyIs({ application, user, file: row.name }))
          .executeTakeFirst()
        const generation = parseDerivedFileId(row.file)?.generation
        // What is not well-formed nobody made from a film.
        if (generation === undefined || (film && hexOf(film.generation) === generation)) continue
        if (!(await this.#isThere(application, user, generation))) orphans.push(row)
        if (orphans.length >= ORPHANS_MAX) return orphans
      }
      if (records.length < ORPHAN_PAGE) return orphans
    }
  }

  /** Looks through all that a user has: for what is about to be deleted. */
  async #isThere(application: string, user: string, generation: string): Promise<boolean> {
    const film = await this.#queries
      .selectFrom('files')
      .select('file')
      .where('application', '=', Buffer.from(application))
      .where('user', '=', Buffer.from(user))
      .where('generation', '=', bytesOf(generation))
      .limit(sql.lit(1))
      .executeTakeFirst()
    return film !== undefined
  }

  /** From one to the next in the table's index: a look for each, however many rows it has. */
  async #ownerAfter(table: 'files' | 'library', after: UserKey | undefined): Promise<UserKey | undefined> {
    let query = this.#queries.selectFrom(table).select(['application', 'user'])
    if (after) {
      const [application, user] = [Buffer.from(after.application), Buffer.from(after.user)]
      query = query.where(({ and, eb, or }) =>
        or([
          eb('application', '>', application),
          and([eb('application', '=', application), eb('user', '>', user)])
        ])
      )
    }
    const next = await query.orderBy('application').orderBy('user').limit(sql.lit(1)).executeTakeFirst()
    return next && { application: textOf(next.application), user: textOf(next.user) }
  }

  /**
   * Films of the library whose file is gone, or is another one: of the next `limit` films behind `after`, in the order of their
   * keys.
   *
   * @returns next  where to go on; undefined: these were the last.
   */
  async strays(
    after: FileKey | undefined,
    limit: number
  ): Promise<{ films: FileKey[]; next: FileKey | undefined }> {
    await this.#gate.pass()
    let query = this.#queries
      .selectFrom('library as noted')
      .leftJoin('files as stored', join =>
        join
          .onRef('stored.application', '=', 'noted.application')
          .onRef('stored.user', '=', 'noted.user')
          .onRef('stored.file', '=', 'noted.file')
          .on('stored.state', 'in', [STATE_STORED, STATE_TRASHED])
      )
      .select(['noted.application', 'noted.user', 'noted.file'])
      .select(['noted.generation as known', 'stored.generation as now'])
    if (after) query = query.where(isNotedBehind(after, this.#control.engine))
    const records = await query
      .orderBy('noted.application')
      .orderBy('noted.user')
      .orderBy('noted.file')
      .limit(sql.lit(limit))
      .execute()
    const films: FileKey[] = []
    let last: FileKey | undefined
    for (const { application, user, file, known, now } of records) {
      last = { application: textOf(application), user: textOf(user), file: textOf(file) }
      if (now === null || hexOf(now) !== hexOf(known)) films.push(last)
    }
    return { films, next: records.length < limit ? undefined : last }
  }

  /** Rows of `files` in the order in which they were stored: what was stored since, and has to be noted. */
  async storedSince(
    since: { storedAtMs: number; key: FileKey | undefined },
    limit: number
  ): Promise<FileRow[]> {
    await this.#gate.pass()
    let query = this.#queries
      .selectFrom('files')
      .selectAll()
      .where('stored_at_ms', '>=', since.storedAtMs)
      .where(({ or, eb }) =>
        or([eb('file', '<', Buffer.from(DERIVED_PREFIX)), eb('file', '>=', Buffer.from(DERIVED_END))])
      )
    if (since.key) {
      const key = since.key
      query = query.where(({ or, and, eb }) =>
        or([
          eb('stored_at_ms', '>', since.storedAtMs),
          and([eb('stored_at_ms', '=', since.storedAtMs), isBehind(key)])
        ])
      )
    }
    const rows = await query
      .orderBy('stored_at_ms')
      .orderBy('application')
      .orderBy('user')
      .orderBy('file')
      .limit(sql.lit(limit))
      .execute()
    return rows.map(fileRowOfRecord)
  }

  async #known(key: FileKey, generation: string) {
    const look = () =>
      this.#queries
        .selectFrom('library')
        .select(['title', 'titled'])
        .where(keyIs(key))
        .where('generation', '=', bytesOf(generation))
        .executeTakeFirst()
    const known = await look()
    if (known) return known
    await this.note(key)
    return look()
  }

  #removal(key: FileKey, title: string): ControlStatement[] {
    return [
      ...this.#wordsOff(key, title),
      statement(this.#queries.deleteFrom('film_facts').where(keyIs(key))),
      statement(this.#queries.deleteFrom('library').where(keyIs(key)))
    ]
  }

  #insertion(row: FileRow): ControlStatement[] {
    const title = titleOf(row)
    const words = wordsOf(title)
    const values = {
      ...keyBytesOf(row),
      generation: bytesOf(row.generation),
      state: row.state === 'trashed' ? STATE_TRASHED : STATE_STORED,
      trashed_until_ms: row.trashedUntilMs,
      kind: FILM_KINDS.indexOf(kindOf(row.mediaType)),
      title,
      titled: 0,
      sort_title: sortTitleOf(title),
      search_text: searchTextOf(words),
      size_bytes: row.sizeBytes,
      stored_at_ms: row.storedAtMs,
      duration_ms: 0,
      width: 0,
      height: 0,
      facts_state: FACTS_PENDING
    }
    return [statement(insertNew(this.#control, 'library', values)), ...this.#wordsOn(row, words)]
  }

  #retitling(key: FileKey, before: string, title: string, byPerson: boolean): ControlStatement[] {
    const words = wordsOf(title)
    const values = {
      title,
      titled: Number(byPerson),
      sort_title: sortTitleOf(title),
      search_text: searchTextOf(words)
    }
    return [
      ...this.#wordsOff(key, before),
      statement(this.#queries.updateTable('library').set(values).where(keyIs(key))),
      ...this.#wordsOn(key, words)
    ]
  }

  #wordsOn(key: FileKey, words: readonly string[]): ControlStatement[] {
    return words.map(word =>
      statement(insertNew(this.#control, 'library_words', { word: Buffer.from(word), ...keyBytesOf(key) }))
    )
  }

  #wordsOff(key: FileKey, title: string): ControlStatement[] {
    const words = wordsOf(title).map(word => Buffer.from(word))
    if (words.length === 0) return []
    return [statement(this.#queries.deleteFrom('library_words').where('word', 'in', words).where(keyIs(key)))]
  }
}

/** Of a media type, as far as it says. */
export function kindOf(mediaType: string): FilmKind {
  const [type] = mediaType.split('/', 1)
  return FILM_KINDS.find(kind => kind === type) ?? 'other'
}

/** What a film is called until somebody says better: its file name without what machines need of it. */
function titleOf({ name, file }: FileRow): string {
  const bare = (name || file)
    .replace(/\.[A-Za-z0-9]{1,5}$/, '')
    .replaceAll('_', ' ')
    .trim()
  return (bare || name || file).slice(0, TITLE_LENGTH_MAX).toWellFormed()
}

function textKeyOf({ application, user, file }: FileKey): string {
  return `${application}\0${user}\0${file}`
}

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex, 'hex')
}

function keyBytesOf({ application, user, file }: FileKey) {
  return { application: Buffer.from(application), user: Buffer.from(user), file: Buffer.from(file) }
}

function isBehind({ application, user, file }: FileKey) {
  const [a, u, f] = [Buffer.from(application), Buffer.from(user), Buffer.from(file)]
  return sql<boolean>`(application > ${a} OR (application = ${a} AND (user > ${u} OR (user = ${u} AND file > ${f}))))`
}

/** Of `noted`. Each engine seeks by its own spelling alone, and reads everything in front by the other's. */
function isNotedBehind({ application, user, file }: FileKey, engine: Control['engine']) {
  const [a, u, f] = [Buffer.from(application), Buffer.from(user), Buffer.from(file)]
  return engine === 'sqlite'
    ? sql<boolean>`(noted.application, noted.user, noted.file) > (${a}, ${u}, ${f})`
    : sql<boolean>`(noted.application > ${a} OR (noted.application = ${a} AND (noted.user > ${u} OR (noted.user = ${u} AND noted.file > ${f}))))`
}
