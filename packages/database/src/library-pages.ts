/**
 * Pages of the library, each by an index that has its order: what a page costs depends on its length, not on how many films
 * there are. Where a filter leaves few films those are read by the filter and sorted; where it leaves many, the order is walked
 * and what does not fit is passed over, which is few then.
 */
import { sql, type RawBuilder } from 'kysely'
import { DERIVED_PREFIX } from '@tributary/protocol'
import { hexOf, textOf } from './file-record.ts'
import { FILE_STATES, safeIntegerOf, STATE_STORED, STATE_TRASHED } from './file-row.ts'
import { FACTS_STATES, FILM_KINDS, type FactsState, type FilmKind } from './library-row.ts'
import { searchedWordsOf } from './title-words.ts'
import type { Control } from './control.ts'
import type { FileKey } from './file-index.ts'

export interface LibraryFilm extends FileKey {
  generation: string
  title: string
  name: string
  kind: FilmKind
  mediaType: string
  sizeBytes: number
  crc32: number
  group: string
  storedAtMs: number
  durationMs: number
  width: number
  height: number
  factsState: FactsState
  trashedUntilMs: number
  /** Generation of its poster. */
  poster?: string
}

export interface LibraryQuestion {
  application?: string | undefined
  /** Only with `application`. */
  user?: string | undefined
  kind?: FilmKind | undefined
  search?: string | undefined
  trashed?: boolean | undefined
  sort: 'newest' | 'title' | 'size' | 'duration'
  reverse?: boolean | undefined
  after?: string | undefined
  limit: number
}

export interface LibraryPage {
  films: LibraryFilm[]
  next?: string
}

/** Films that a filter may leave to be read and sorted as a whole. */
const SORTED_MAX = 2_000

const COLUMN_OF = {
  newest: 'stored_at_ms',
  title: 'sort_title',
  size: 'size_bytes',
  duration: 'duration_ms'
} as const
type OrderColumn = (typeof COLUMN_OF)[keyof typeof COLUMN_OF]

/** As both engines answer a row. */
type Row = Record<string, unknown>

export class LibraryPages {
  readonly #control: Control

  readonly #joins: RawBuilder<unknown>

  constructor(control: Control) {
    this.#control = control
    this.#joins = JOINS_OF[control.engine]
  }

  /** @returns also the keys of rows that no longer say what is stored; they are not on the page. */
  async page(question: LibraryQuestion): Promise<LibraryPage & { stale: FileKey[] }> {
    const { application, user, kind, limit } = question
    const column = COLUMN_OF[question.sort]
    const descending = (question.sort === 'title') === (question.reverse === true)
    const words = searchedWordsOf(question.search ?? '')
    if (question.search?.trim() && words.length === 0) return { films: [], stale: [] }
    const state = question.trashed ? STATE_TRASHED : STATE_STORED
    const conditions = [sql`l.state = ${sql.lit(state)}`]
    if (application !== undefined) conditions.push(sql`l.application = ${Buffer.from(application)}`)
    if (application !== undefined && user !== undefined) conditions.push(sql`l.user = ${Buffer.from(user)}`)
    if (kind !== undefined) conditions.push(sql`l.kind = ${sql.lit(FILM_KINDS.indexOf(kind))}`)
    for (const word of words) conditions.push(this.#hasWord(word))
    const source = await this.#sourceFor(question, words, state, column)
    const cursor = question.after === undefined ? undefined : cursorOf(question.after)
    const isOneUser = application !== undefined && user !== undefined
    const fixed = source.isWalk ? conditions.slice(0, isOneUser ? 3 : 1) : []
    const behind = cursor ? this.#behind(column, descending, cursor, fixed, isOneUser) : undefined
    const direction = sql.raw(descending ? 'DESC' : 'ASC')
    const order = sql.raw(column)
    const { rows } = await sql<Row>`SELECT ${COLUMNS} FROM ${source.from} ${this.#joins}
      WHERE ${sql.join([...(behind ? [behind] : []), ...conditions], sql` AND `)}
      ORDER BY l.${order} ${direction}, l.application ${direction}, l.user ${direction}, l.file ${direction}
      LIMIT ${sql.lit(limit + 1)}`.execute(this.#control.queries)
    const page = rows.slice(0, limit)
    const films: LibraryFilm[] = []
    const stale: FileKey[] = []
    for (const row of page) {
      if (isTrue(row)) films.push(filmOf(row))
      else stale.push(keyOf(row))
    }
    const last = page.at(-1)
    return { films, stale, ...(rows.length > limit && last ? { next: cursorText(last, column) } : {}) }
  }

  async film(key: FileKey): Promise<LibraryFilm | undefined> {
    const { rows } = await sql<Row>`SELECT ${COLUMNS} FROM library l ${this.#joins}
      WHERE l.application = ${Buffer.from(key.application)} AND l.user = ${Buffer.from(key.user)}
        AND l.file = ${Buffer.from(key.file)}`.execute(this.#control.queries)
    const [row] = rows
    return row && isTrue(row) ? filmOf(row) : undefined
  }

  async pending(limit: number): Promise<LibraryFilm[]> {
    const { rows } = await sql<Row>`SELECT ${COLUMNS} FROM ${this.#by('library_facts')} ${this.#joins}
      WHERE l.facts_state = 0 AND f.state = ${sql.lit(STATE_STORED)} AND l.state = ${sql.lit(STATE_STORED)}
      ORDER BY l.stored_at_ms LIMIT ${sql.lit(limit)}`.execute(this.#control.queries)
    return rows.filter(isTrue).map(filmOf)
  }

  /** Where the rows come from, and whether they come in the page's order. */
  async #sourceFor(
    { application, user, kind }: LibraryQuestion,
    words: readonly string[],
    state: number,
    column: OrderColumn
  ): Promise<{ from: RawBuilder<unknown>; isWalk: boolean }> {
    for (const word of words) {
      const range = wordRange(word)
      const few = await this.#isFew(sql`library_words w WHERE ${range}`)
      if (!few) continue
      const from = sql`(SELECT DISTINCT w.application, w.user, w.file FROM library_words w WHERE ${range}) found
        ${THEN_JOIN[this.#control.engine]} library l ON l.application = found.application AND l.user = found.user AND l.file = found.file`
      return { from, isWalk: false }
    }
    if (application !== undefined && user !== undefined) {
      return { from: this.#by(`library_user_${column}`), isWalk: true }
    }
    if (application !== undefined) {
      const few = await this.#isFew(
        sql`${this.#by('PRIMARY')} WHERE l.application = ${Buffer.from(application)}`
      )
      if (few) return { from: this.#by('PRIMARY'), isWalk: false }
    }
    if (kind !== undefined) {
      const condition = sql`l.state = ${sql.lit(state)} AND l.kind = ${sql.lit(FILM_KINDS.indexOf(kind))}`
      const few = await this.#isFew(sql`${this.#by('library_kind')} WHERE ${condition}`)
      if (few) return { from: this.#by('library_kind'), isWalk: false }
    }
    return { from: this.#by(`library_${column}`), isWalk: true }
  }

  async #isFew(rows: RawBuilder<unknown>): Promise<boolean> {
    const { rows: counted } = await sql<{ count: number }>`SELECT count(*) AS count
      FROM (SELECT 1 AS one FROM ${rows} LIMIT ${sql.lit(SORTED_MAX + 1)}) few`.execute(this.#control.queries)
    return safeIntegerOf(counted[0]!.count) <= SORTED_MAX
  }

  /** The library by this index and no other: without statistics planners guess, and guess wrong where it matters. */
  #by(index: string): RawBuilder<unknown> {
    if (this.#control.engine === 'mysql') return sql`library l FORCE INDEX (${sql.raw(index)})`
    return index === 'PRIMARY' ? sql`library l` : sql`library l INDEXED BY ${sql.raw(index)}`
  }

  #hasWord(word: string): RawBuilder<unknown> {
    const pattern = `% ${word}%`
    return this.#control.engine === 'mysql'
      ? sql`l.search_text LIKE ${Buffer.from(pattern)}`
      : sql`l.search_text LIKE ${pattern}`
  }

  /**
   * Behind the cursor in the page's order, as each engine finds it by the index.
   *
   * @param fixed What the index begins with: the same for all rows of the page.
   * @param isOneUser Application and user are among that.
   */
  #behind(
    column: OrderColumn,
    descending: boolean,
    cursor: Cursor,
    fixed: readonly RawBuilder<unknown>[],
    isOneUser: boolean
  ): RawBuilder<unknown> {
    const columns = [column, ...(isOneUser ? [] : ['application', 'user']), 'file'].map(name =>
      sql.raw(`l.${name}`)
    )
    const { value, application, user, file } = cursor
    const values = [value, ...(isOneUser ? [] : [application, user]), file].map(part =>
      typeof part === 'string' ? Buffer.from(part) : part
    )
    const than = sql.raw(descending ? '<' : '>')
    if (this.#control.engine === 'sqlite') {
      return sql`(${sql.join(columns)}) ${than} (${sql.join(values)})`
    }
    // MariaDB finds a range for each of these by the index, and none for a comparison of rows.
    const ranges = columns.map((last, at) => {
      const equal = columns.slice(0, at).map((name, index) => sql`${name} = ${values[index]}`)
      return sql`(${sql.join([...fixed, ...equal, sql`${last} ${than} ${values[at]}`], sql` AND `)})`
    })
    return sql`(${sql.join(ranges.toReversed(), sql` OR `)})`
  }
}

/** In this order: the found ones first, however the planner would have it. */
const THEN_JOIN = { sqlite: sql.raw('CROSS JOIN'), mysql: sql.raw('STRAIGHT_JOIN') }
const POSTER_FILE = '/poster.jpg'
const COLUMNS =
  sql.raw(`l.application, l.user, l.file, l.generation, l.state, l.trashed_until_ms, l.kind, l.title, l.sort_title,
  l.size_bytes, l.stored_at_ms, l.duration_ms, l.width, l.height, l.facts_state,
  f.generation AS file_generation, f.state AS file_state, f.crc32, f.group_name, f.name, f.media_type,
  p.generation AS poster_generation`)
const JOINS_OF = {
  sqlite: joins(`CAST('${DERIVED_PREFIX}' || lower(hex(l.generation)) || '${POSTER_FILE}' AS BLOB)`),
  mysql: joins(`CAST(CONCAT('${DERIVED_PREFIX}', LOWER(HEX(l.generation)), '${POSTER_FILE}') AS BINARY)`)
}

function joins(posterFile: string): RawBuilder<unknown> {
  return sql.raw(`LEFT JOIN files f ON f.application = l.application AND f.user = l.user AND f.file = l.file
    LEFT JOIN files p ON p.application = l.application AND p.user = l.user AND p.file = ${posterFile}
      AND p.state = ${STATE_STORED}`)
}

function wordRange(word: string): RawBuilder<unknown> {
  return sql`w.word >= ${Buffer.from(word)} AND w.word < ${Buffer.concat([Buffer.from(word), Buffer.of(0xff)])}`
}

/** Whether the file is what the library says of it. */
function isTrue(row: Row): boolean {
  return (
    row.file_generation !== null &&
    hexOf(row.file_generation as Uint8Array) === hexOf(row.generation as Uint8Array) &&
    FILE_STATES[row.file_state as number] === FILE_STATES[row.state as number]
  )
}

function keyOf(row: Row): FileKey {
  return {
    application: textOf(row.application as Uint8Array),
    user: textOf(row.user as Uint8Array),
    file: textOf(row.file as Uint8Array)
  }
}

function filmOf(row: Row): LibraryFilm {
  const text = (name: string): string => textOf(row[name] as Uint8Array)
  const whole = (name: string): number => safeIntegerOf(row[name] as number)
  return {
    ...keyOf(row),
    generation: hexOf(row.generation as Uint8Array),
    title: text('title'),
    name: text('name'),
    kind: FILM_KINDS[row.kind as number] ?? 'other',
    mediaType: text('media_type'),
    sizeBytes: whole('size_bytes'),
    crc32: whole('crc32'),
    group: text('group_name'),
    storedAtMs: whole('stored_at_ms'),
    durationMs: whole('duration_ms'),
    width: whole('width'),
    height: whole('height'),
    factsState: FACTS_STATES[row.facts_state as number] ?? 'none',
    trashedUntilMs: whole('trashed_until_ms'),
    ...(row.poster_generation === null ? {} : { poster: hexOf(row.poster_generation as Uint8Array) })
  }
}

interface Cursor extends FileKey {
  value: number | Buffer
}

function cursorText(row: Row, column: OrderColumn): string {
  const value =
    column === 'sort_title' ? hexOf(row.sort_title as Uint8Array) : safeIntegerOf(row[column] as number)
  const { application, user, file } = keyOf(row)
  return Buffer.from(JSON.stringify([value, application, user, file])).toString('base64url')
}

/** @throws {SyntaxError} it is not what a page gave. */
function cursorOf(text: string): Cursor {
  const parts: unknown = JSON.parse(Buffer.from(text, 'base64url').toString())
  if (!Array.isArray(parts) || parts.length !== 4) throw new SyntaxError('a cursor has four parts')
  const [value, application, user, file] = parts as unknown[]
  const isKey = [application, user, file].every(part => typeof part === 'string')
  if (!isKey || (typeof value !== 'string' && !Number.isSafeInteger(value)))
    throw new SyntaxError('a cursor is made of texts')
  return {
    value: typeof value === 'string' ? Buffer.from(value, 'hex') : (value as number),
    application: application as string,
    user: user as string,
    file: file as string
  }
}
