/** How long a page of a large library takes, asked of the gateway: a million films on each database. */
import { join } from 'node:path'
import { mkdir } from 'node:fs/promises'
import { migrateDatabase, openDatabase, type Control } from '@tributary/database'
import { formatAddress } from '@tributary/protocol'
import { startMariadb } from '../test/testkit/mariadb.ts'
import { startRole, type Child } from './children.ts'
import { latencyOf, type LatencyRow } from './latency.ts'

const FILMS = 1_000_000
const LIMIT_MS = 20
/** Rows of one statement while the library is made. */
const STEP = 20_000
const LOAD_TIMEOUT_MS = 120_000
const USERS = 10
const NOUNS = 100

/** What a person does, in words, and its address; `{next}` goes on where the page before ended. */
const PAGES: readonly [title: string, query: string, deep: number][] = [
  ['newest first', 'sort=newest', 0],
  ['newest first, page 200', 'sort=newest', 200],
  ['by title', 'sort=title', 0],
  ['by title, page 200', 'sort=title', 200],
  ['by size, one user', 'sort=size&application=media&user=user3', 0],
  ['by length, one user, page 50', 'sort=duration&application=media&user=user3', 50],
  ['kind of one film in a hundred', 'kind=audio', 0],
  ['kind of fifty films in all', 'kind=text&sort=title', 0],
  ['search, one found', 'search=123456', 0],
  ['search, one in a hundred found', 'search=noun7', 0],
  ['search of two words', 'search=noun7%20film', 0]
]

export async function measureLibrary(folder: string, signal: AbortSignal): Promise<LatencyRow[]> {
  const rows: LatencyRow[] = []
  const place = join(folder, 'library')
  await mkdir(place)
  const sqlite = `sqlite:${join(place, 'index.db')}`
  rows.push(...(await measureOn('SQLite', sqlite, signal)))
  const mariadb = await startMariadb(['--innodb-buffer-pool-size=1G', '--innodb-flush-log-at-trx-commit=2'])
  try {
    rows.push(...(await measureOn('MariaDB', mariadb.url, signal)))
  } finally {
    await mariadb.stop()
  }
  return rows
}

async function measureOn(engine: string, url: string, signal: AbortSignal): Promise<LatencyRow[]> {
  await migrateDatabase(url)
  const database = await openDatabase(url, {
    writeTimeoutMs: LOAD_TIMEOUT_MS,
    queryTimeoutMs: LOAD_TIMEOUT_MS
  })
  try {
    await database.routes.addApplication('media')
    await database.routes.addGroup('group001')
    for (let first = 1; first <= FILMS; first += STEP) {
      signal.throwIfAborted()
      const last = Math.min(first + STEP - 1, FILMS)
      for (const sql of statementsOf(database.control, first, last))
        await database.control.jot({ sql, parameters: [] })
    }
  } finally {
    await database.close()
  }
  const children: Child[] = []
  try {
    const tracker = await startRole('tracker', { database: url })
    children.push(tracker)
    const gateway = await startRole('gateway', { trackers: formatAddress(tracker.target) })
    children.push(gateway)
    const base = `http://${gateway.target.host}:${gateway.target.port}/api/v1/films`
    const rows: LatencyRow[] = []
    for (const [title, query, deep] of PAGES) {
      signal.throwIfAborted()
      let next = ''
      for (let page = 0; page < deep; page++) {
        const reply = await pageOf(`${base}?${query}&limit=100${next}`)
        next = `&after=${encodeURIComponent(reply.next!)}`
      }
      const latency = await latencyOf(() => pageOf(`${base}?${query}&limit=60${next}`))
      rows.push({ title: `library of 1,000,000, ${title} (${engine})`, limitMs: LIMIT_MS, ...latency })
    }
    return rows
  } finally {
    for (const child of children.toReversed()) await child.stop()
  }
}

async function pageOf(url: string): Promise<{ next: string | null }> {
  const response = await fetch(url)
  const page = (await response.json()) as { films: unknown[]; next: string | null }
  if (response.status !== 200 || page.films.length === 0) throw new Error(`${url}: ${JSON.stringify(page)}`)
  return page
}

/** The same films on both engines, made where they are stored: sent one by one they would take minutes. */
function statementsOf({ engine }: Control, first: number, last: number): string[] {
  const isSqlite = engine === 'sqlite'
  const numbers = isSqlite
    ? `(WITH RECURSIVE n(i) AS (SELECT ${first} UNION ALL SELECT i + 1 FROM n WHERE i < ${last}) SELECT i FROM n) n`
    : `(SELECT seq AS i FROM seq_${first}_to_${last}) n`
  const text = (...parts: string[]): string => (isSqlite ? parts.join(' || ') : `CONCAT(${parts.join(', ')})`)
  const bytes = (value: string): string => (isSqlite ? `CAST(${value} AS BLOB)` : value)
  const padded = isSqlite ? `printf('%07d', i)` : `LPAD(i, 7, '0')`
  const generation = isSqlite ? `unhex(printf('%032x', i))` : `UNHEX(LPAD(HEX(i), 32, '0'))`
  const store = isSqlite ? 'zeroblob(16)' : `UNHEX(REPEAT('00', 16))`
  const key = [
    bytes(`'media'`),
    bytes(text(`'user'`, `(i % ${USERS})`)),
    bytes(text(`'film-'`, padded))
  ].join(', ')
  const noun = text(`'noun'`, `(i * 7 % ${NOUNS})`)
  const title = text(`'Film '`, noun, `' '`, 'i')
  const folded = text(`'film '`, noun, `' '`, 'i')
  const kind = `CASE WHEN i % 20000 = 0 THEN 3 WHEN i % 100 = 1 THEN 1 ELSE 0 END`
  const size = '(i * 7919 % 1000003) * 4096'
  const length = '(i * 104729 % 7200) * 1000'
  const storedAt = '1700000000000 + i * 1000'
  return [
    `INSERT INTO files SELECT ${key}, ${generation}, ${generation}, 0, 0, ${size}, 0, 'group001', ${store},
       ${text(`'p'`, padded)}, ${text(`'film-'`, padded, `'.mp4'`)}, 'video/mp4', ${storedAt} FROM ${numbers}`,
    `INSERT INTO library SELECT ${key}, ${generation}, 0, 0, ${kind}, ${title}, 0, ${bytes(folded)}, ${text(`' film '`, noun, `' '`, 'i')},
       ${size}, ${storedAt}, ${length}, 1920, 1080, 1 FROM ${numbers}`,
    `INSERT INTO library_words SELECT ${bytes(`'film'`)}, ${key} FROM ${numbers}`,
    `INSERT INTO library_words SELECT ${bytes(noun)}, ${key} FROM ${numbers}`,
    `INSERT INTO library_words SELECT ${bytes(text(`''`, 'i'))}, ${key} FROM ${numbers}`
  ]
}
