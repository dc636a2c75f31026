/** The index is saved while uploads go on, lost, and put back: on both engines, and from one to the other. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Client } from '@tributary/client'
import { contentOf, Random, someSize } from '../faults/random.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { noMariadb, startMariadb, type Mariadb } from '../testkit/mariadb.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'
import { RunningUp } from '../testkit/up.ts'

const USER = 'backup'
const FILES = 20
const UPLOADERS = 4
const skip = noMariadb() ?? false

interface Ended {
  exitCode: number | null
  out: string
  err: string
}

async function tributary(folder: string, ...args: string[]): Promise<Ended> {
  const running = new TributaryProcess(args, { folder })
  const { exitCode } = await running.ended
  return { exitCode, out: running.out, err: running.err }
}

/** What was acknowledged, and nothing else. */
class Films {
  readonly stored = new Map<string, Buffer>()
  readonly deleted = new Set<string>()
  readonly #random = new Random()

  async upload(client: Client, file: string, version = 0): Promise<void> {
    const content = contentOf(`${file} ${version}`, someSize(this.#random))
    await client.upload(content, { key: { application: 'media', user: USER, file } })
    this.stored.set(file, content)
    this.deleted.delete(file)
  }

  async delete(client: Client, file: string): Promise<void> {
    await client.delete({ application: 'media', user: USER, file })
    this.stored.delete(file)
    this.deleted.add(file)
  }

  async check(client: Client): Promise<void> {
    for (const [file, content] of this.stored) {
      const key = { application: 'media', user: USER, file }
      const { stream } = await client.download(key)
      const parts: Buffer[] = []
      for await (const part of stream) parts.push(part as Buffer)
      ok(Buffer.concat(parts).equals(content), file)
    }
    for (const file of this.deleted) {
      await rejects(client.stat({ application: 'media', user: USER, file }), { code: 'FILE_NOT_FOUND' }, file)
    }
  }
}

/** Ids of all files in a store, as its names say them. */
async function idsIn(root: string): Promise<Set<number>> {
  const ids = new Set<number>()
  for (const name of await readdir(root, { recursive: true })) {
    const match = /^([0-9A-F]{3})\/([0-9A-F]{3})\/([0-9A-F]{3})\/[0-9A-F]+_([0-9A-F]{3})$/.exec(name)
    if (match) ids.add(match.slice(1).reduce((id, digit) => id * 512 + Number.parseInt(digit, 16), 0))
  }
  return ids
}

describe('a backup of a running cluster', { skip, timeout: 300_000 }, () => {
  let mariadb: Mariadb
  let folder: string
  const undos: (() => unknown)[] = []
  const later = cleanUps({ after: undo => void undos.push(undo) })

  before(async () => {
    mariadb = await startMariadb()
    later(() => mariadb.stop())
    folder = await mkdtemp(join(tmpdir(), 'tributary-backup-'))
    later(() => rm(folder, { recursive: true, force: true }))
  })
  after(async () => {
    for (const undo of undos) await undo()
  })

  /** That of MariaDB is not used any more. */
  const lose = async (up: RunningUp): Promise<void> => {
    for (const name of ['index.db', 'index.db-wal', 'index.db-shm'])
      await rm(join(up.folder, 'data', name), { force: true })
  }

  const roundTrip = async (name: string, from: string | undefined, to: string | undefined): Promise<void> => {
    const home = join(folder, name)
    await mkdir(home)
    const films = new Films()
    let up = await RunningUp.start({ folder: home, ...(from ? { databaseUrl: from } : {}) })
    later(() => up.close())
    let client = up.client()
    const { storeRoot } = up
    const files = Array.from({ length: FILES }, (_, index) => `before-${index}`)
    await Promise.all(files.map(file => films.upload(client, file)))
    const titled = { application: 'media', user: USER, file: `before-${FILES - 1}` }
    const trashed = { application: 'media', user: USER, file: `before-${FILES - 2}` }
    const { generation } = await client.stat(titled)
    await client.index('library.setTitle', { ...titled, generation, title: 'The Title That Was Given' })
    const { generation: inTrash } = await client.stat(trashed)
    await client.trash(trashed, inTrash, Date.now() + 3_600_000)

    // Uploads and deletes go on while the index is saved.
    const stop = new AbortController()
    const workers = Array.from({ length: UPLOADERS }, async (_, worker) => {
      for (let round = 0; !stop.signal.aborted; round++) {
        await films.upload(client, `during-${worker}-${round}`)
        if (round % 3 === 2) await films.delete(client, `during-${worker}-${round - 1}`)
      }
    })
    const out = join(home, 'saved')
    const saved = await tributary(home, 'backup', storeRoot, '--database', up.databaseUrl, '--out', out)
    stop.abort()
    await Promise.all(workers)
    equal(saved.exitCode, 0, saved.err)
    match(saved.out, /saved: the index, with \d+ files .* journals of 1 store,/)
    ok(!existsSync(`${out}.part`))

    // What the backup does not know.
    for (let index = 0; index < 10; index++) await films.upload(client, `after-${index}`)
    for (let index = 0; index < 10; index++) await films.delete(client, `before-${index}`)
    for (let index = 5; index < 10; index++) await films.upload(client, `before-${index}`, 1)
    await films.upload(client, 'last')
    const ids = await idsIn(storeRoot)
    await films.delete(client, 'last') // the highest id is on no disk any more
    await up.stop()
    await lose(up)

    const database = to ?? `sqlite:${join(home, 'data', 'index.db')}`
    const restored = await tributary(home, 'restore', storeRoot, '--from', out, '--database', database)
    equal(restored.exitCode, 0, restored.err)
    match(restored.out, /newer than it: \d+ files entered, \d+ that were deleted taken out, 0 in conflict/)
    const checked = await tributary(
      home,
      'fsck',
      storeRoot,
      '--database',
      database,
      '--checksums',
      '--settle',
      '0'
    )
    equal(checked.exitCode, 0, checked.out + checked.err)
    match(checked.out, /index and disk agree/)

    up = await RunningUp.start({ folder: home, ...(to ? { databaseUrl: to } : {}) })
    client = up.client()
    const { film } = await client.index('library.film', titled)
    equal(film.title, 'The Title That Was Given')
    await rejects(client.stat(trashed), { code: 'FILE_NOT_FOUND' })
    await client.trash(trashed, inTrash, 0)
    await films.check(client)
    for (let index = 0; index < 10; index++) await films.upload(client, `new-${index}`)
    const highest = Math.max(...ids)
    const fresh = [...(await idsIn(storeRoot))].filter(id => !ids.has(id))
    equal(fresh.length, 10)
    deepEqual(
      fresh.filter(id => id <= highest),
      []
    )
    await films.check(client)
    await up.close()
  }

  it('brings everything back, from SQLite to MariaDB', async () => {
    await roundTrip('moving', undefined, await mariadb.createDatabase('moved'))
  })

  it('brings everything back, from MariaDB to SQLite', async () => {
    await roundTrip('sqlite', await mariadb.createDatabase('saved'), undefined)
  })

  it('that was killed is no backup, is replaced by the next try, and is never in the way of another’s folder', async () => {
    const home = join(folder, 'sqlite')
    const database = `sqlite:${join(home, 'data', 'index.db')}`
    const out = join(home, 'killed')
    const store = join(home, 'data', 'stores', 'group001')
    // As a kill leaves it: whose process is gone.
    const gone = new TributaryProcess(['--version'], { folder: home })
    await gone.ended
    await cp(join(home, 'saved'), `${out}.part`, { recursive: true })
    await rm(join(`${out}.part`, 'backup.json'))
    await writeFile(join(`${out}.part`, 'UNFINISHED'), `${gone.pid}\n`)
    const restore = await tributary(
      home,
      'restore',
      store,
      '--from',
      `${out}.part`,
      '--database',
      'sqlite:none.db'
    )
    equal(restore.exitCode, 1)
    match(restore.err, /is no finished backup.*broke off/)
    ok(!existsSync(join(home, 'none.db')))
    equal((await tributary(home, 'backup', store, '--database', database, '--out', out)).exitCode, 0)
    deepEqual(
      (await readdir(home)).filter(name => name.endsWith('.part')),
      []
    )
    const again = await tributary(home, 'backup', store, '--database', database, '--out', out)
    match(again.err, /is there already/)
    await writeFile(`${join(home, 'other')}.part`, 'mine')
    const foreign = await tributary(
      home,
      'backup',
      store,
      '--database',
      database,
      '--out',
      join(home, 'other')
    )
    match(foreign.err, /is in the way/)
    equal(await readFile(`${join(home, 'other')}.part`, 'utf8'), 'mine')
  })

  it('with a byte changed is refused before the database is touched', async () => {
    const home = join(folder, 'sqlite')
    const bad = join(home, 'bad')
    await cp(join(home, 'saved'), bad, { recursive: true })
    const text = await readFile(join(bad, 'index.jsonl'), 'utf8')
    await writeFile(join(bad, 'index.jsonl'), text.replace('"before-0"', '"before-O"'))
    const { exitCode, err } = await tributary(home, 'restore', '--from', bad, '--database', 'sqlite:none.db')
    equal(exitCode, 1)
    match(err, /index\.jsonl of the backup is not what was written/)
    ok(!existsSync(join(home, 'none.db')))
  })

  it('restored and killed in the middle opens to nobody, and is begun again by the same command', async () => {
    const home = join(folder, 'sqlite')
    const store = join(home, 'data', 'stores', 'group001')
    const big = join(home, 'big')
    const database = `sqlite:${join(home, 'killed.db')}`
    await cp(join(home, 'saved'), big, { recursive: true })
    const args = ['restore', store, '--from', big, '--database', database]
    const running = new TributaryProcess(args, { folder: home })
    await until('the database is there', 20_000, () => existsSync(join(home, 'killed.db')))
    running.send('SIGKILL')
    await running.ended
    const opened = await tributary(home, 'fsck', store, '--database', database, '--settle', '0')
    ok(opened.exitCode !== 0)
    // The one that was killed is let go of after 20 s; until then nobody can tell.
    await until('it is begun again', 60_000, async () => {
      const { exitCode, err } = await tributary(home, ...args)
      if (exitCode !== 0) match(err, /another restore works on this database/)
      return exitCode === 0
    })
    const twice = await tributary(home, ...args)
    equal(twice.exitCode, 1)
    match(twice.err, /^tributary: the database has rows already; --replace .*\n$/)
    const replaced = await tributary(home, ...args, '--replace')
    equal(replaced.exitCode, 0, replaced.err)
    const checked = await tributary(home, 'fsck', store, '--database', database, '--settle', '0')
    equal(checked.exitCode, 0, checked.out + checked.err)
  })
})
