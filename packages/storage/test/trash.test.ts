/** What is taken out of the trash is not deleted, however late or stale the one is who would. */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { openDatabase, type FileIndex } from '@tributary/database'
import { UnavailableError } from '@tributary/protocol'
import { silentLog } from '@tributary/runtime'
import { runFsck, TRASH_KEPT_MS_MIN } from '../src/fsck.ts'
import { recover } from '../src/recovery.ts'
import { Trash } from '../src/trash.ts'
import { keyOf, labels, openParts, type Parts } from './parts.ts'

const CONTENT = Buffer.from('the whole film')
const DAY_MS = 86_400_000

describe('the trash of a store', () => {
  it('is emptied of what has been in it long enough, and of nothing else', async t => {
    const { small, database, files, deletion, store } = await openParts(t)
    const trash = new Trash(database.files, new Map([[store.uuid, store]]), files, () => undefined)
    const nowMs = Date.now()
    const names = ['stored', 'young', 'old']
    const rows = await Promise.all(names.map(name => small.store(keyOf(name), CONTENT, labels())))
    await trash.set(keyOf('young'), rows[1]!.generation, nowMs + DAY_MS)
    await trash.set(keyOf('old'), rows[2]!.generation, nowMs - 1)
    equal(await trash.deleteExpired(store, deletion, nowMs), 1)
    const states = await Promise.all(names.map(async name => (await database.files.find(keyOf(name)))?.state))
    deepEqual(states, ['stored', 'trashed', undefined])
  })

  it('lets go what was taken out of it after it was looked through', async t => {
    const { small, database, files, deletion, store, root } = await openParts(t)
    const stores = new Map([[store.uuid, store]])
    const trash = new Trash(database.files, stores, files, () => undefined)
    const row = await small.store(keyOf('film'), CONTENT, labels())
    await trash.set(keyOf('film'), row.generation, 1)
    const page = await database.files.listStore({ store: store.uuid, limit: 10, state: 'trashed' })
    equal(page.length, 1)
    await trash.set(keyOf('film'), row.generation, 0)
    const late = new Proxy(database.files, {
      get: (index, name) => {
        if (name === 'listStore') return async () => page
        const value: unknown = Reflect.get(index, name)
        return typeof value === 'function' ? value.bind(index) : value
      }
    }) as FileIndex
    equal(await new Trash(late, stores, files, () => undefined).deleteExpired(store, deletion, Date.now()), 0)
    await rejects(deletion.delete(keyOf('film'), row.generation, true), { code: 'FILE_NOT_FOUND' })
    equal((await database.files.find(keyOf('film')))?.state, 'stored')
    equal(await readFile(join(root, row.path), 'utf8'), String(CONTENT))
  })

  it('takes nothing in for whoever asked before the server stood still: it may have been taken out elsewhere since', async t => {
    const { small, database, files, store } = await openParts(t)
    const trash = new Trash(database.files, new Map([[store.uuid, store]]), files, () => undefined)
    const row = await small.store(keyOf('film'), CONTENT, labels())
    const stoodStill = new UnavailableError('OVERLOADED', 'the server stood still')
    Object.defineProperty(store, 'staleness', { value: () => stoodStill })
    await rejects(trash.set(keyOf('film'), row.generation, Date.now() + DAY_MS), { code: 'OVERLOADED' })
    equal((await database.files.find(keyOf('film')))?.state, 'stored')
  })
})

describe('an index that is made again from the journals', () => {
  const FAR_MS = Date.now() + 30 * DAY_MS
  const trashOf = ({ database, store, files }: Parts): Trash =>
    new Trash(database.files, new Map([[store.uuid, store]]), files, () => undefined)
  /** Of each file its state and until when. */
  const statesIn = async (
    url: string,
    names: readonly string[]
  ): Promise<Record<string, [string, number]>> => {
    const database = await openDatabase(url)
    try {
      const states: Record<string, [string, number]> = {}
      for (const name of names) {
        const { state, trashedUntilMs } = (await database.files.find(keyOf(name)))!
        states[name] = [state, trashedUntilMs]
      }
      return states
    } finally {
      await database.close()
    }
  }

  it('has in the trash what was in it, until then, and nothing else', async t => {
    const parts = await openParts(t)
    const names = ['stored', 'trashed', 'again', 'back', 'gone']
    const rows = await Promise.all(names.map(name => parts.small.store(keyOf(name), CONTENT, labels())))
    const generations = Object.fromEntries(rows.map(({ file, generation }) => [file, generation]))
    const set = (name: string, untilMs: number): Promise<void> =>
      trashOf(parts).set(keyOf(name), generations[name]!, untilMs)
    await set('trashed', FAR_MS)
    for (const untilMs of [FAR_MS, 0, FAR_MS + 1]) await set('again', untilMs)
    for (const untilMs of [FAR_MS, 0]) await set('back', untilMs)
    await set('gone', FAR_MS)
    await parts.deletion.delete(keyOf('gone'), generations['gone'], true)
    const url = `sqlite:${join(parts.folder, 'other.db')}`
    const report = await runFsck({ stores: [parts.root], database: url, rebuildIndex: true, checksums: true })
    deepEqual(report.findings, [])
    equal(report.stores[0]!.journals.damaged, 0)
    deepEqual([report.rebuilt!.inserted, report.rebuilt!.trash], [4, 2])
    deepEqual(await statesIn(url, names.slice(0, 4)), {
      stored: ['stored', 0],
      trashed: ['trashed', FAR_MS],
      again: ['trashed', FAR_MS + 1],
      back: ['stored', 0]
    })
    const second = await runFsck({ stores: [parts.root], database: url, rebuildIndex: true })
    deepEqual([second.rebuilt!.inserted, second.rebuilt!.trash], [0, 0])
  })

  it('keeps in the trash for a week what would be deleted at once, so that there is time to look', async t => {
    const parts = await openParts(t)
    const row = await parts.small.store(keyOf('film'), CONTENT, labels())
    await trashOf(parts).set(keyOf('film'), row.generation, 1)
    const url = `sqlite:${join(parts.folder, 'other.db')}`
    const nowMs = Date.now()
    await runFsck({ stores: [parts.root], database: url, rebuildIndex: true })
    const { film } = await statesIn(url, ['film'])
    equal(film![0], 'trashed')
    ok(film![1] >= nowMs + TRASH_KEPT_MS_MIN)
  })

  it('puts right an older database, which has a film out of the trash, or in it', async t => {
    const parts = await openParts(t)
    const [into, out] = await Promise.all(
      ['into', 'out'].map(name => parts.small.store(keyOf(name), CONTENT, labels()))
    )
    const { files } = parts.database
    await trashOf(parts).set(keyOf('into'), into!.generation, FAR_MS)
    await files.setTrashed(into!, into!.generation, into!.store, 0)
    for (const untilMs of [FAR_MS, 0]) await trashOf(parts).set(keyOf('out'), out!.generation, untilMs)
    await files.setTrashed(out!, out!.generation, out!.store, FAR_MS)
    const url = `sqlite:${join(parts.folder, 'index.db')}`
    const { rebuilt } = await runFsck({ stores: [parts.root], database: url, rebuildIndex: true })
    deepEqual([rebuilt!.already, rebuilt!.trash], [2, 2])
    deepEqual(await statesIn(url, ['into', 'out']), { into: ['trashed', FAR_MS], out: ['stored', 0] })
  })

  it('has it so after the redo log was gone through, and says it is not known where the journal took nothing', async t => {
    const parts = await openParts(t)
    const row = await parts.small.store(keyOf('film'), CONTENT, labels())
    const { append } = parts.journal
    parts.journal.append = () => {
      throw Object.assign(new Error('full'), { code: 'ENOSPC' })
    }
    await rejects(trashOf(parts).set(keyOf('film'), row.generation, FAR_MS), { code: 'OUTCOME_UNKNOWN' })
    parts.journal.append = append
    await trashOf(parts).set(keyOf('film'), row.generation, FAR_MS)
    const { volume, store, journal, database } = parts
    const { files, moves } = database
    await recover({
      volume,
      store: store.uuid,
      writers: ['member1.0'],
      files,
      moves,
      journal,
      log: silentLog()
    })
    const url = `sqlite:${join(parts.folder, 'other.db')}`
    await runFsck({ stores: [parts.root], database: url, rebuildIndex: true })
    deepEqual(await statesIn(url, ['film']), { film: ['trashed', FAR_MS] })
  })
})
