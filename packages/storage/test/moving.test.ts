/** Files that change their group: what a crash leaves of it, and what is left at the old place. */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { link, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { DatabaseUnavailableError, openDatabase, type FileIndex, type FileRow } from '@tributary/database'
import { silentLog } from '@tributary/runtime'
import { Deletion } from '../src/deletion.ts'
import { Departures, parkedPath } from '../src/departures.ts'
import { runFsck } from '../src/fsck.ts'
import { encodeRecord } from '../src/journal-record.ts'
import { readJournals } from '../src/journal.ts'
import { LargeUpload } from '../src/large-upload.ts'
import { OpenFiles } from '../src/open-files.ts'
import { recover } from '../src/recovery.ts'
import { moveOf } from '../src/row-switch.ts'
import { Trash } from '../src/trash.ts'
import { factsOf } from '../src/upload-record.ts'
import { keyOf, labels, openParts, temporaryFolder, type Parts } from './parts.ts'

const CONTENT = Buffer.from('the whole film')
const LARGE = Buffer.alloc(200_000, 'film')

async function twoGroups(t: TestContext): Promise<{ old: Parts; next: Parts }> {
  const folder = await temporaryFolder(t)
  const old = await openParts(t, { folder, group: 'old' })
  const next = await openParts(t, { folder, group: 'next', member: 'member2.0' })
  return { old, next }
}

/** As a data worker adopts a file, once the content has come. */
async function adopt({ store, database }: Parts, row: FileRow, content: Buffer): Promise<FileRow> {
  const { files, moves } = database
  const upload = await LargeUpload.begin(store, files, keyOf(row.file), row.sizeBytes, labels(), {
    row,
    moves
  })
  try {
    await upload.write(Buffer.from(content))
    return await upload.finish()
  } finally {
    await upload.abort()
  }
}

function trashOf({ database, store, files }: Parts, index: FileIndex = database.files): Trash {
  return new Trash(index, new Map([[store.uuid, store]]), files, () => undefined)
}

function departuresOf({ database, store, files }: Parts, over: { has?: boolean; keepMs?: number } = {}) {
  return new Departures({
    index: database.files,
    moves: database.moves,
    stores: new Map([[store.uuid, store]]),
    open: files,
    neighbours: { hasFile: async () => over.has ?? true },
    keepMs: over.keepMs ?? 0,
    log: silentLog()
  })
}

/** A method of the real one, unless another is given; methods keep their own `this`. */
function bound<T extends object>(
  whole: T,
  name: string | symbol,
  given: Partial<Record<keyof T, unknown>>
): unknown {
  const value = given[name as keyof T] ?? whole[name as keyof T]
  return typeof value === 'function' ? value.bind(whole) : value
}

async function placesOf(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(root.length + 1))
    .filter(path => /^(?:[0-9A-F]{3}|\.moved)\//.test(path))
}

async function journaled(root: string, wanted: string): Promise<string[]> {
  const generations: string[] = []
  await readJournals(root, 0, ({ kind, facts }) => {
    if (kind === wanted) generations.push(facts.generation)
  })
  return generations
}

describe('a file that is adopted', () => {
  it('keeps its generation, its name and its time, and has its row at the new place', async t => {
    const { old, next } = await twoGroups(t)
    const said = { ...labels(), name: 'film.mp4', mediaType: 'video/mp4' }
    const row = await old.small.store(keyOf('a'), CONTENT, said)
    const moved = await adopt(next, row, CONTENT)
    deepEqual(moved, { ...row, group: 'next', store: next.marker.store, path: moved.path })
    deepEqual(await next.database.files.find(keyOf('a')), moved)
    equal(await readFile(join(next.root, moved.path), 'utf8'), CONTENT.toString())
    deepEqual(await journaled(next.root, 'stored'), [row.generation])
  })

  it('stays in the trash when it lies there, and is looked for at its new place by who asked at the old one', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    const untilMs = Date.now() + 60_000
    await trashOf(old).set(keyOf('a'), row.generation, untilMs)
    const moved = await adopt(next, (await old.database.files.find(keyOf('a')))!, CONTENT)
    deepEqual([moved.state, moved.trashedUntilMs, moved.group], ['trashed', untilMs, 'next'])
    await rejects(trashOf(old).set(keyOf('a'), row.generation, 0), { code: 'WRONG_GROUP' })
    await rejects(old.deletion.delete(keyOf('a'), row.generation, true), { code: 'WRONG_GROUP' })
    await departuresOf(old).round()
    deepEqual(await placesOf(old.root), [])
    const url = `sqlite:${join(old.folder, 'other.db')}`
    const report = await runFsck({ stores: [old.root, next.root], database: url, rebuildIndex: true })
    deepEqual([report.findings, report.rebuilt!.inserted, report.rebuilt!.trash], [[], 1, 1])
    await trashOf(next).set(keyOf('a'), row.generation, 0)
    equal((await next.files.content(await next.files.open(keyOf('a')))).toString(), CONTENT.toString())
  })

  it('is found at its new place by who trashes it in the moment in which it moves', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    const { files } = old.database
    const setTrashed = async (...args: Parameters<typeof files.setTrashed>): Promise<boolean> => {
      await adopt(next, row, CONTENT)
      return files.setTrashed(...args)
    }
    const index = new Proxy(files, { get: (whole, name) => bound(whole, name, { setTrashed }) })
    await rejects(trashOf(old, index).set(keyOf('a'), row.generation, Date.now() + 60_000), {
      code: 'WRONG_GROUP'
    })
    const markExpired = async (...args: Parameters<typeof files.markExpired>): Promise<boolean> => {
      await adopt(old, (await files.find(keyOf('a')))!, CONTENT)
      return files.markExpired(...args)
    }
    await trashOf(next).set(keyOf('a'), row.generation, Date.now() + 60_000)
    const racing = new Proxy(files, { get: (whole, name) => bound(whole, name, { markExpired }) })
    const deletion = new Deletion(racing, new Map([[next.store.uuid, next.store]]), next.files)
    await rejects(deletion.delete(keyOf('a'), row.generation, true), { code: 'WRONG_GROUP' })
  })

  it('is opened from the trash for who moves it, and for nobody else', async t => {
    const { old } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    await trashOf(old).set(keyOf('a'), row.generation, Date.now() + 60_000)
    const entry = await old.files.openTrashed(keyOf('a'))
    const release = old.files.use(entry)
    equal((await old.files.content(entry)).toString(), CONTENT.toString())
    await rejects(async () => old.files.open(keyOf('a')), { code: 'FILE_NOT_FOUND' })
    release()
    equal(entry.closed, true)
  })

  it('is refused, and leaves nothing behind, when other bytes came than were stored', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    const damaged = Buffer.from(CONTENT)
    damaged[3] = damaged[3]! ^ 1
    await rejects(adopt(next, row, damaged), { code: 'CHECKSUM_MISMATCH' })
    await rejects(adopt(next, row, CONTENT.subarray(1)), { code: 'CHECKSUM_MISMATCH' })
    deepEqual(await placesOf(next.root), [])
    deepEqual(await next.database.files.find(keyOf('a')), row)
  })

  it('stays where it is while the database does not answer, and leaves nothing behind', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    const away = async (): Promise<never> => {
      throw new DatabaseUnavailableError('away')
    }
    const { files, moves } = next.database
    for (const broken of [
      { files, moves: new Proxy(moves, { get: (whole, name) => bound(whole, name, { note: away }) }) },
      { files: new Proxy(files, { get: (whole, name) => bound(whole, name, { move: away }) }), moves }
    ]) {
      const upload = await LargeUpload.begin(next.store, broken.files, keyOf('a'), row.sizeBytes, labels(), {
        row,
        moves: broken.moves
      })
      await upload.write(Buffer.from(CONTENT))
      await rejects(upload.finish(), { code: 'DATABASE_UNAVAILABLE' })
      deepEqual(await placesOf(next.root), [])
      deepEqual(await files.find(keyOf('a')), row)
    }
  })

  it('is not there again when it was deleted, or deleted and uploaded anew, meanwhile', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    await old.deletion.delete(keyOf('a'))
    await rejects(adopt(next, row, CONTENT), { code: 'FILE_NOT_FOUND' })
    const other = await old.small.store(keyOf('a'), LARGE.subarray(0, 99), labels())
    await rejects(adopt(next, row, CONTENT), { code: 'GENERATION_MISMATCH' })
    deepEqual(await next.database.files.find(keyOf('a')), other)
    deepEqual(await placesOf(next.root), [])
    equal(await next.database.moves.find(row.store, row.path), undefined, 'nothing is noted of it')
  })

  it('goes where the first of two brings it', async t => {
    const { old, next } = await twoGroups(t)
    const third = await openParts(t, { folder: old.folder, group: 'third', member: 'member3.0' })
    const row = await old.small.store(keyOf('a'), LARGE.subarray(0, 50_000), labels())
    const outcomes = await Promise.allSettled(
      [next, third].map(parts => adopt(parts, row, LARGE.subarray(0, 50_000)))
    )
    equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
    const now = await old.database.files.find(keyOf('a'))
    const places = await Promise.all([next, third].map(({ root }) => placesOf(root)))
    deepEqual(places.flat(), [now!.path])
  })
})

describe('what is left at the old place', () => {
  it('is put aside at once, also for whoever has it open, and removed after a while', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    const entry = await old.files.open(keyOf('a'))
    const release = old.files.use(entry)
    const otherWorker = new OpenFiles(old.database.files, new Map([[old.store.uuid, old.store]]))
    t.after(() => otherWorker.close())
    await otherWorker.open(keyOf('a'))
    const moved = await adopt(next, row, CONTENT)
    const patient = departuresOf(old, { keepMs: 60_000 })
    await patient.round()
    deepEqual(await placesOf(old.root), [parkedPath(moveOf(row, moved))])
    deepEqual(await journaled(old.root, 'moved'), [row.generation])
    await rejects(async () => old.files.open(keyOf('a')), { code: 'WRONG_GROUP', message: /group next/ })
    await rejects(async () => otherWorker.open(keyOf('a')), { code: 'WRONG_GROUP' })
    equal((await old.files.content(entry)).toString(), CONTENT.toString(), 'who reads it reads on')
    release()
    await patient.round()
    equal((await placesOf(old.root)).length, 1)
    await departuresOf(old).round()
    deepEqual(await placesOf(old.root), [])
    equal(await old.database.moves.count('old'), 0)
  })

  it('stays as long as no member of the new group was seen to have the file', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    await adopt(next, row, CONTENT)
    for (let rounds = 0; rounds < 3; rounds++) await departuresOf(old, { has: false }).round()
    equal((await placesOf(old.root)).length, 1)
    equal(await old.database.moves.count('old'), 1)
    await next.deletion.delete(keyOf('a'))
    await departuresOf(old, { has: false }).round()
    deepEqual(await placesOf(old.root), [], 'of a file that is deleted nothing needs to stay')
  })

  it('goes though two members look after it, and though it was gone before', async t => {
    const { old, next } = await twoGroups(t)
    const rows = await Promise.all(
      ['a', 'b', 'c'].map(file => old.small.store(keyOf(file), CONTENT, labels()))
    )
    for (const row of rows) await adopt(next, row, CONTENT)
    await old.store.removeFile(rows[1]!.path)
    for (let rounds = 0; rounds < 2; rounds++) {
      await Promise.all([departuresOf(old).round(), departuresOf(old).round()])
    }
    deepEqual(await placesOf(old.root), [])
    equal(await old.database.moves.count('old'), 0)
  })

  it('is not the file that came back', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    const away = await adopt(next, row, CONTENT)
    const back = await adopt(old, away, CONTENT)
    for (let rounds = 0; rounds < 2; rounds++) {
      await departuresOf(old).round()
      await departuresOf(next).round()
    }
    deepEqual(await placesOf(old.root), [back.path])
    deepEqual(await placesOf(next.root), [])
    equal((await old.files.content(await old.files.open(keyOf('a')))).toString(), CONTENT.toString())
  })

  it('is the file, where the index of a backup says so', async t => {
    for (const isParked of [false, true]) {
      const { old, next } = await twoGroups(t)
      const row = await old.small.store(keyOf('a'), CONTENT, labels())
      const moved = await adopt(next, row, CONTENT)
      if (isParked) await departuresOf(old, { keepMs: 60_000 }).round()
      // As the database was before the move, but for what was noted.
      await old.database.files.remove(moved, moved.generation)
      await old.database.files.insert([row])
      await departuresOf(old).round()
      deepEqual(await placesOf(old.root), [row.path])
      equal((await old.files.content(await old.files.open(keyOf('a')))).toString(), CONTENT.toString())
      equal(await old.database.moves.find(row.store, row.path), undefined)
    }
  })

  it('is not deleted in the place of the file', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    const moved = await adopt(next, row, CONTENT)
    await rejects(old.deletion.delete(keyOf('a')), { code: 'WRONG_GROUP' })
    deepEqual(await next.database.files.find(keyOf('a')), moved)
    await next.deletion.delete(keyOf('a'))
    await rejects(old.deletion.delete(keyOf('a')), { code: 'FILE_NOT_FOUND' })
  })
})

describe('after a crash', () => {
  const recoverOf = ({ volume, store, journal, database }: Parts, writer: string) =>
    recover({
      volume,
      store: store.uuid,
      writers: [writer],
      files: database.files,
      moves: database.moves,
      journal,
      log: silentLog()
    })

  it('a copy whose row was not switched goes, and a switch that comes late has no effect', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    // What a member leaves that is killed between the name and the switch.
    const place = next.store.placeOf(1_000, row.storedAtMs)
    const to = { ...row, group: 'next', store: next.marker.store, path: place.path }
    await mkdir(dirname(join(next.root, to.path)), { recursive: true })
    await writeFile(join(next.store.temporary, 'x'), CONTENT)
    await next.journal.append([encodeRecord('intent', factsOf(to, Date.now()))])
    await link(join(next.store.temporary, 'x'), join(next.root, to.path))
    await next.database.moves.note(moveOf(row, to))
    await recoverOf(next, 'member2.0')
    deepEqual(await placesOf(next.root), [])
    equal(await next.database.files.move(moveOf(row, to)), false)
    deepEqual(await next.database.files.find(keyOf('a')), row)
  })

  it('a copy whose row was switched stays, and is in the journal', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    const place = next.store.placeOf(1_000, row.storedAtMs)
    const to = { ...row, group: 'next', store: next.marker.store, path: place.path }
    await mkdir(dirname(join(next.root, to.path)), { recursive: true })
    await next.journal.append([encodeRecord('intent', factsOf(to, Date.now()))])
    await writeFile(join(next.root, to.path), CONTENT)
    await next.database.moves.note(moveOf(row, to))
    equal(await next.database.files.move(moveOf(row, to)), true)
    await recoverOf(next, 'member2.0')
    deepEqual(await placesOf(next.root), [to.path])
    deepEqual(await journaled(next.root, 'stored'), [row.generation])
  })

  it('the redo log of the old group does not bring back what was moved and then deleted', async t => {
    for (const isParked of [false, true]) {
      const { old, next } = await twoGroups(t)
      const row = await old.small.store(keyOf('a'), CONTENT, labels())
      await adopt(next, row, CONTENT)
      if (isParked) await departuresOf(old).round()
      await next.deletion.delete(keyOf('a'))
      await recoverOf(old, 'member1.0')
      equal(await old.database.files.find(keyOf('a')), undefined)
      await departuresOf(old).round()
      deepEqual(await placesOf(old.root), [])
      equal(await old.database.moves.count('old'), 0)
    }
  })

  it('the redo log of the old group does not make a second copy of what was moved', async t => {
    const { old, next } = await twoGroups(t)
    const row = await old.small.store(keyOf('a'), CONTENT, labels())
    const moved = await adopt(next, row, CONTENT)
    await departuresOf(old).round()
    await recoverOf(old, 'member1.0')
    deepEqual(await placesOf(old.root), [])
    deepEqual(await old.database.files.find(keyOf('a')), moved)
  })

  it('of the database, an index made again has each file once, where it is, and none that was deleted', async t => {
    const { old, next } = await twoGroups(t)
    const store = (file: string): Promise<FileRow> => old.small.store(keyOf(file), CONTENT, labels())
    const stays = await store('stays')
    const moved = await adopt(next, await store('moved'), CONTENT)
    const back = await adopt(old, await adopt(next, await store('back'), CONTENT), CONTENT)
    await departuresOf(old).round()
    await departuresOf(next).round()
    await adopt(next, await store('deleted'), CONTENT)
    await next.deletion.delete(keyOf('deleted')) // while its old copy is still there
    for (const { journal } of [old, next]) await journal.sync()
    const url = `sqlite:${join(old.folder, 'again.db')}`
    const report = await runFsck({ stores: [old.root, next.root], database: url, rebuildIndex: true })
    const database = await openDatabase(url)
    t.after(() => database.close())
    for (const row of [stays, moved, back]) deepEqual(await database.files.find(row), row)
    equal(await database.files.find(keyOf('deleted')), undefined)
    ok(
      report.findings.every(({ kind }) => kind === 'orphaned'),
      JSON.stringify(report.findings)
    )
  })

  it('fsck does not take for lost what is still to be put aside', async t => {
    const { old, next } = await twoGroups(t)
    await adopt(next, await old.small.store(keyOf('a'), CONTENT, labels()), CONTENT)
    const url = `sqlite:${join(old.folder, 'index.db')}`
    const report = await runFsck({ stores: [old.root, next.root], database: url })
    deepEqual(report.findings, [])
  })
})
