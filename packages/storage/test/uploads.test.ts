/** Small uploads, what a crash leaves of them, and deletes. */
import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict'
import { link, mkdir, readdir, readFile, rename, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { CommitOutcomeUnknownError, type FileIndex } from '@tributary/database'
import { silentLog } from '@tributary/runtime'
import { encodeRecord } from '../src/journal-record.ts'
import { Journal, readJournals } from '../src/journal.ts'
import { LargeUpload } from '../src/large-upload.ts'
import { recover, type Recovered } from '../src/recovery.ts'
import { runFsck } from '../src/fsck.ts'
import { Store } from '../src/store.ts'
import { MARKER_NAME } from '../src/store-marker.ts'
import { APART_MS } from '../src/unsettled-uploads.ts'
import { factsOf, rowOf } from '../src/upload-record.ts'
import { keyOf, labels, openParts, type Parts } from './parts.ts'

const CONTENT = Buffer.from('the whole film')

describe('small uploads', () => {
  it('of one moment are stored together, and one of those for a name wins', async t => {
    const { small, database, marker, root } = await openParts(t)
    const outcomes = await Promise.allSettled(
      Array.from({ length: 60 }, (_, index) =>
        small.store(keyOf(`file-${index % 50}`), Buffer.from(`content ${index}`), labels())
      )
    )
    equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 50)
    await small.idle()
    const rows = await database.files.listStore({ store: marker.store, limit: 1_000 })
    equal(rows.length, 50)
    for (const { path, file } of rows) {
      equal(await readFile(join(root, path), 'utf8'), `content ${file.slice(5)}`)
    }
    equal((await filesOf(root)).length, 50)
  })

  it('are as many at once as the smallest redo log takes', async t => {
    const { small } = await openParts(t)
    const content = Buffer.alloc(64 * 1024, 7)
    await Promise.all(
      Array.from({ length: 300 }, (_, index) => small.store(keyOf(`file-${index}`), content, labels()))
    )
  })

  it('under a nonce that was used are the upload of before', async t => {
    const { small, root } = await openParts(t)
    const said = labels()
    const first = await small.store(keyOf('a'), CONTENT, said)
    equal((await small.store(keyOf('a'), CONTENT, said)).generation, first.generation)
    equal((await filesOf(root)).length, 1)
  })

  it('get ids that nobody else takes while the log makes room', async t => {
    const { small, store } = await openParts(t)
    const taking = (async () => {
      for (let index = 0; index < 400; index++) await store.ids.next()
    })()
    await Promise.all(
      Array.from({ length: 400 }, (_, index) => small.store(keyOf(`file-${index}`), CONTENT, labels()))
    )
    await taking
  })

  it('take another name where theirs is taken on disk', async t => {
    const { small, store, root } = await openParts(t)
    // The id server's next ids are on disk already, under every second that may be now.
    const seconds = Array.from({ length: 60 }, (_, index) => Date.now() + index * 1_000)
    const next = await store.ids.next()
    store.makeDirectorySync('000/000/000')
    for (let id = next + 1; id < next + 4; id++) {
      for (const atMs of seconds) await writeFile(join(root, store.placeOf(id, atMs).path), 'somebody else’s')
    }
    const row = await small.store(keyOf('a'), CONTENT, labels())
    equal(await readFile(join(root, row.path), 'utf8'), CONTENT.toString())
  })
})

describe('after a crash', () => {
  it('a file is whole again, a row is back, and the journal knows it', async t => {
    const first = await openParts(t)
    const rows = await Promise.all(
      ['a', 'b', 'c', 'd'].map(file => first.small.store(keyOf(file), CONTENT, labels()))
    )
    await first.small.idle()
    const path = (at: number): string => join(first.root, rows[at]!.path)
    await truncate(path(0), 0)
    await unlink(path(1))
    await first.database.files.remove(keyOf('b'), rows[1]!.generation)
    await first.database.files.remove(keyOf('c'), rows[2]!.generation)
    await writeFile(path(3), 'THE WHOLE FILM')
    await rm(join(first.root, '.journal'), { recursive: true })

    const second = await openParts(t, { folder: first.folder })
    equal(second.recovered.restored, 4)
    for (const [at, { file, generation }] of rows.entries()) {
      equal(await readFile(path(at), 'utf8'), CONTENT.toString())
      equal((await second.database.files.find(keyOf(file)))?.generation, generation)
    }
    const stored = await journaled(second.root, 'stored')
    deepEqual([...stored].sort(), rows.map(({ generation }) => generation).sort())
  })

  it('of the recovery itself, the next one does the same', async t => {
    const first = await openParts(t)
    const row = await first.small.store(keyOf('a'), CONTENT, labels())
    await first.small.idle()
    await unlink(join(first.root, row.path))
    for (let crash = 0; crash < 3; crash++) {
      await recoverAgain(first)
      equal(await readFile(join(first.root, row.path), 'utf8'), CONTENT.toString())
    }
    equal((await filesOf(first.root)).length, 1)
  })

  it('nothing comes back that another member has deleted since', async t => {
    const first = await openParts(t)
    const row = await first.small.store(keyOf('a'), CONTENT, labels())
    await first.small.idle()
    const other = await openParts(t, { folder: first.folder, member: 'member2.0' })
    await other.deletion.delete(keyOf('a'))
    await recoverAgain(first)
    equal(await first.database.files.find(keyOf('a')), undefined)
    deepEqual(await filesOf(first.root), [])
    ok((await journaled(first.root, 'deleted')).has(row.generation))
  })

  for (const moment of ['before its row is looked up', 'after its row was looked up']) {
    it(`nor what another member deletes meanwhile, ${moment}`, async t => {
      const first = await openParts(t)
      const row = await first.small.store(keyOf('a'), CONTENT, labels())
      await first.small.idle()
      const other = await openParts(t, { folder: first.folder, member: 'member2.0' })
      let deleting: Promise<void> | undefined
      const { files } = first.database
      await recoverAgain(first, {
        ...bound(files),
        find: async key => {
          if (moment.startsWith('before')) await (deleting ??= other.deletion.delete(keyOf('a')))
          const found = await files.find(key)
          await (deleting ??= other.deletion.delete(keyOf('a')))
          return found
        }
      })
      equal(await files.find(keyOf('a')), undefined)
      deepEqual(await filesOf(first.root), [])
      ok(row)
    })
  }

  it('an upload that was refused stays away, even when the name is free by now', async t => {
    const first = await openParts(t)
    await first.small.store(keyOf('a'), CONTENT, labels())
    await rejects(first.small.store(keyOf('a'), Buffer.from('another'), labels()), { code: 'FILE_EXISTS' })
    await first.deletion.delete(keyOf('a'))
    await rm(join(first.root, '.journal'), { recursive: true }) // only the redo log knows
    await first.journal.close()
    const again = new Journal(first.volume, 'member1.0')
    await again.append([])
    await recoverAgain(first)
    equal((await first.database.files.find(keyOf('a')))?.sizeBytes, CONTENT.byteLength)
    await again.close()
  })

  it('a file whose delete is under way elsewhere does not come back', async t => {
    const first = await openParts(t)
    const row = await first.small.store(keyOf('a'), CONTENT, labels())
    const { files } = first.database
    let asked = 0
    const recovered = await recoverAgain(first, {
      ...bound(files),
      // Right after recovery has seen the row, another member marks it and removes the file; its row goes last.
      find: async (key, options) => {
        const found = await files.find(key, options)
        if (++asked === 1) {
          await files.markDeleting(key, row.generation)
          await unlink(join(first.root, row.path))
        }
        return found
      }
    })
    await files.remove(keyOf('a'), row.generation)
    equal(recovered.restored, 0)
    deepEqual(await filesOf(first.root), [])
  })

  it('a name without a row goes, one with a row stays', async t => {
    const first = await openParts(t)
    const named = async (file: string, entered: boolean): Promise<string> => {
      const temporary = join(first.store.temporary, file)
      await writeFile(temporary, CONTENT)
      const row = rowOf({
        key: keyOf(file),
        ...labels(),
        sizeBytes: 14,
        crc32: 0,
        group: 'group001',
        store: first.store.uuid,
        path: '',
        storedAtMs: Date.now()
      })
      await first.store.name(temporary, row.storedAtMs, path => {
        row.path = path
        return first.journal.append([encodeRecord('intent', factsOf(row, Date.now()))])
      })
      if (entered) await first.database.files.insert([row])
      return row.path
    }
    await named('a', false)
    const kept = await named('b', true)
    const recovered = await recoverAgain(first)
    equal(recovered.removed, 1)
    deepEqual(await filesOf(first.root), [kept])
    deepEqual((await readdir(join(first.root, '.tmp/member1.0'))).length, 0)
    equal((await journaled(first.root, 'withdrawn')).size, 1)
  })

  it('and with the index lost, the redo log and the journal make it again', async t => {
    const first = await openParts(t)
    const rows = await Promise.all(
      ['a', 'b', 'c'].map(file => first.small.store(keyOf(file), CONTENT, labels()))
    )
    await first.deletion.delete(keyOf('b'))
    await rm(join(first.root, '.journal/member1.0'), { recursive: true })
    const report = await runFsck({
      stores: [first.root],
      database: `sqlite:${join(first.folder, 'other.db')}`,
      rebuildIndex: true,
      checksums: true
    })
    deepEqual(report.findings, [])
    equal(report.rebuilt!.inserted, 2)
    ok(rows)
  })

  it('and with an index from before a delete, the row of the deleted file goes, and only that', async t => {
    const first = await openParts(t)
    const database = `sqlite:${join(first.folder, 'index.db')}`
    const [a, b] = await Promise.all(
      ['a', 'b'].map(file => first.small.store(keyOf(file), CONTENT, labels()))
    )
    await first.deletion.delete(keyOf('a'))
    await unlink(join(first.root, b!.path)) // lost, not deleted: its row must stay
    await first.database.files.insert([a!])
    const report = await runFsck({ stores: [first.root], database, rebuildIndex: true })
    equal(report.rebuilt!.removed, 1)
    deepEqual(
      report.findings.map(({ kind, path }) => ({ kind, path })),
      [{ kind: 'missing', path: b!.path }]
    )
  })
})

describe('a large upload', () => {
  it('that is refused at the end leaves neither a name nor a temporary file, nor does one given up', async t => {
    const { store, database, root } = await openParts(t)
    const begin = (): Promise<LargeUpload> =>
      LargeUpload.begin(store, database.files, keyOf('a'), CONTENT.byteLength, labels())
    const [first, second, third] = [await begin(), await begin(), await begin()]
    for (const upload of [first, second, third]) await upload.write(CONTENT)
    await first.finish()
    await rejects(second.finish(), { code: 'FILE_EXISTS' })
    await third.abort()
    await third.abort()
    equal((await filesOf(root)).length, 1)
    deepEqual(await readdir(store.temporary), [])
    equal((await journaled(root, 'withdrawn')).size, 1)
  })

  it('that cannot get its name leaves nothing', async t => {
    const { store, database, root } = await openParts(t)
    const upload = await LargeUpload.begin(store, database.files, keyOf('a'), 1, labels())
    await upload.write(CONTENT)
    await unlink(join(root, MARKER_NAME)) // its directory cannot be made
    await rejects(upload.finish(), { code: 'STORE_UNAVAILABLE' })
    deepEqual(await readdir(store.temporary), [])
    deepEqual(await filesOf(root), [])
  })
})

describe('a delete', () => {
  it('that was left half done is finished by anybody, at any time, twice', async t => {
    const first = await openParts(t)
    const row = await first.small.store(keyOf('a'), CONTENT, labels())
    await first.database.files.markDeleting(keyOf('a'), row.generation)
    const other = await openParts(t, { folder: first.folder, member: 'member2.0' })
    const finished = await Promise.all([
      first.deletion.finishAll(first.store),
      other.deletion.finishAll(other.store)
    ])
    ok(finished.some(count => count === 1))
    equal(await first.database.files.find(keyOf('a')), undefined)
    deepEqual(await filesOf(first.root), [])
  })

  it('in a store that is not there any more keeps its row, and says that it does not know', async t => {
    const { deletion, database, small, root, store } = await openParts(t)
    const row = await small.store(keyOf('a'), CONTENT, labels())
    await unlink(join(root, MARKER_NAME))
    await unlink(join(root, row.path)) // what an unmounted volume looks like
    await rejects(deletion.delete(keyOf('a')), { code: 'OUTCOME_UNKNOWN' })
    equal((await database.files.find(keyOf('a')))?.state, 'deleting')
    store.trouble = 'not mounted'
    equal(await deletion.finishHalfDone(store, new Set([row.generation])), 0)
  })
})

function bound(files: FileIndex): FileIndex {
  return {
    find: (key, options) => files.find(key, options),
    insert: (rows, options) => files.insert(rows, options),
    markDeleting: (key, generation, store) => files.markDeleting(key, generation, store),
    move: move => files.move(move),
    groupStores: () => files.groupStores(),
    setTrashed: (key, generation, store, untilMs) => files.setTrashed(key, generation, store, untilMs),
    markExpired: (key, generation, store, untilMs) => files.markExpired(key, generation, store, untilMs),
    remove: (key, generation) => files.remove(key, generation),
    sync: () => files.sync(),
    setMediaType: (key, generation, mediaType) => files.setMediaType(key, generation, mediaType),
    list: where => files.list(where),
    listDerived: where => files.listDerived(where),
    listStore: where => files.listStore(where),
    findPaths: (store, paths) => files.findPaths(store, paths),
    totals: store => files.totals(store),
    stores: () => files.stores()
  }
}

describe('a temporary file that the volume does not let go', () => {
  it('goes when the volume is back, and is not forgotten while its mount point is empty', async t => {
    const { root, store } = await openParts(t)
    const temporary = join(store.temporary, 'left')
    await writeFile(temporary, CONTENT)
    await rename(root, `${root}.unmounted`)
    await mkdir(root)
    await store.discard(temporary)
    await store.measure()
    await rm(root, { recursive: true })
    await rename(`${root}.unmounted`, root)
    deepEqual(await readdir(store.temporary), ['left'])
    await store.measure()
    const endMs = performance.now() + 2_000
    while ((await readdir(store.temporary)).length > 0) {
      ok(performance.now() < endMs, 'it is still there')
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  })
})

function recoverAgain({ volume, store, journal, database }: Parts, files?: FileIndex): Promise<Recovered> {
  return recover({
    volume,
    store: store.uuid,
    writers: ['member1.0'],
    files: files ?? database.files,
    moves: database.moves,
    journal,
    log: silentLog()
  })
}

async function journaled(root: string, wanted: string): Promise<Set<string>> {
  const generations = new Set<string>()
  await readJournals(root, 0, ({ kind, facts }) => {
    if (kind === wanted) generations.add(facts.generation)
  })
  return generations
}

async function filesOf(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(root.length + 1))
    .filter(path => !path.startsWith('.'))
}

describe('a volume that does not say how large it is', () => {
  it('is taken to be as it was, and before it ever said so to be out of use, not full', async t => {
    const { store, volume } = await openParts(t)
    const known = store.freeBytes
    ok(known > 0)
    volume.space = async () => ({ freeBytes: 0, totalBytes: 0 })
    await store.measure()
    equal(store.freeBytes, known)
    store.promise(1)()
    const { marker, member, journal, ids, temporary, durable } = store
    const parts = { marker, volume, member, journal, redo: undefined, ids, temporary, durable }
    const again = new Store({ ...parts, reserveBytes: 0 })
    await again.measure()
    throws(() => again.promise(1), { code: 'STORE_UNAVAILABLE' })
  })
})

describe('an upload that is given up while its name is being made', () => {
  it('leaves no name, although the volume says so only at the second try', async t => {
    const { store } = await openParts(t)
    const temporary = join(store.temporary, 'given up')
    const own = 'named by it'
    await writeFile(temporary, CONTENT)
    await link(temporary, store.absolute(own))
    // Its marker is not to be seen: what cannot be found may be there all the same.
    await rename(store.absolute(MARKER_NAME), store.absolute('hidden'))
    await rename(store.absolute(own), store.absolute('not yet'))
    await store.discard(temporary, own)
    await rename(store.absolute('not yet'), store.absolute(own))
    await rename(store.absolute('hidden'), store.absolute(MARKER_NAME))
    await store.measure()
    const endMs = performance.now() + 2_000
    while ((await readdir(store.root)).includes(own)) {
      ok(performance.now() < endMs, 'it is still there')
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    deepEqual(await readdir(store.temporary), [])
  })

  it('leaves the file of another that got the name', async t => {
    const { store } = await openParts(t)
    const temporary = join(store.temporary, 'given up')
    await writeFile(temporary, CONTENT)
    await writeFile(store.absolute('another'), CONTENT)
    await store.discard(temporary, 'another')
    ok((await readdir(store.root)).includes('another'))
    deepEqual(await readdir(store.temporary), [])
  })
})

describe('an upload of which the index did not say whether it took it', () => {
  const setup = async (t: TestContext, isTaken: boolean) => {
    const parts = await openParts(t)
    const { store, database } = parts
    const lost = new CommitOutcomeUnknownError('the answer to the commit was lost')
    let isAway = true
    const files: FileIndex = {
      ...bound(database.files),
      async insert(rows, options) {
        if (isTaken) await database.files.insert(rows, options)
        throw lost
      },
      find(key, options) {
        if (isAway) throw new Error('nobody answers')
        return database.files.find(key, options)
      }
    }
    const upload = await LargeUpload.begin(store, files, keyOf('a'), CONTENT.byteLength, labels())
    await upload.write(Buffer.from(CONTENT))
    await rejects(upload.finish(), { code: 'OUTCOME_UNKNOWN' })
    equal(store.unsettled.count, 1)
    const settle = (nowMs: number) => store.unsettled.settle(store, files, nowMs)
    return { ...parts, settle, answers: (does: boolean) => (isAway = !does) }
  }

  it('keeps its file where the index has it', async t => {
    const { root, store, settle, answers } = await setup(t, true)
    equal(await settle(0), 0)
    equal(store.unsettled.count, 1, 'nobody has answered')
    answers(true)
    equal(await settle(0), 0)
    equal(store.unsettled.count, 0)
    equal((await filesOf(root)).length, 1)
  })

  it('loses its file to .lost when the index has had no row of it for long enough, answering all the time', async t => {
    const { root, store, settle, answers } = await setup(t, false)
    answers(true)
    equal(await settle(0), 0)
    answers(false)
    equal(await settle(APART_MS), 0)
    answers(true)
    equal(await settle(APART_MS + 1), 0, 'it was away: the time begins anew')
    equal((await filesOf(root)).length, 1)
    equal(await settle(2 * APART_MS + 1), 1)
    deepEqual(await filesOf(root), [])
    equal((await readdir(join(root, '.lost'), { recursive: true })).length, 2, 'a day, and in it the file')
    equal(store.unsettled.count, 0)
  })
})
