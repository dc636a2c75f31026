/** What is taken out of the trash is not deleted, however late or stale the one is who would. */
import { deepEqual, equal, rejects } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { FileIndex } from '@tributary/database'
import { UnavailableError } from '@tributary/protocol'
import { Trash } from '../src/trash.ts'
import { keyOf, labels, openParts } from './parts.ts'

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
