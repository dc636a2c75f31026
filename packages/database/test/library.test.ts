import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { derivedFileId } from '@tributary/protocol'
import type { Database, FileKey, FileRow, GoneFilm, LibraryQuestion } from '@tributary/database'
import { migrated, mysql, sqlite } from './engines.ts'
import { fileRow, keyOf } from './file-rows.ts'

for (const engine of [sqlite(), mysql()]) {
  describe(`the library on ${engine.name}`, { skip: engine.skip ?? false, timeout: 60_000 }, () => {
    let database: Database
    before(async () => {
      await engine.start()
      ;({ database } = await migrated(engine))
    })
    after(async () => {
      await database?.close()
      await engine.stop()
    })

    let stamp = 1_000
    const store = async (fields: Partial<FileRow>): Promise<FileRow> => {
      const row = { ...fileRow(), storedAtMs: stamp++, ...fields }
      await database.files.insert([row])
      await database.library.note(keyOf(row))
      return row
    }
    const titles = async (
      question: Partial<LibraryQuestion> & { application: string }
    ): Promise<string[]> => {
      const found: string[] = []
      let next: string | undefined
      do {
        const page = await database.library.page({ sort: 'newest', limit: 2, ...question, after: next })
        found.push(...page.films.map(film => film.title))
        next = page.next
      } while (next !== undefined)
      return found
    }

    it('lists by every order, a page at a time, both ways, with equal places apart', async () => {
      const application = 'orders'
      const sizes = [30, 10, 10, 10, 20]
      for (const [index, name] of ['Zebra.mkv', 'ähre.mp4', 'Berg.mp4', 'aal.mp4', 'Berg 2.mp4'].entries()) {
        await store({
          application,
          user: `u${index % 2}`,
          file: `f${index}`,
          name,
          sizeBytes: sizes[index]!,
          storedAtMs: 5_000 + index
        })
      }
      const newest = ['Berg 2', 'aal', 'Berg', 'ähre', 'Zebra']
      deepEqual(await titles({ application }), newest)
      deepEqual(await titles({ application, reverse: true }), newest.toReversed())
      deepEqual(await titles({ application, sort: 'title' }), ['aal', 'ähre', 'Berg', 'Berg 2', 'Zebra'])
      deepEqual(await titles({ application, sort: 'title', reverse: true }), [
        'Zebra',
        'Berg 2',
        'Berg',
        'ähre',
        'aal'
      ])
      const bySize = await titles({ application, sort: 'size' })
      deepEqual([bySize[0], bySize[1], bySize.slice(2).sort()], ['Zebra', 'Berg 2', ['Berg', 'aal', 'ähre']])
      deepEqual((await titles({ application, sort: 'duration' })).sort(), newest.toSorted())
      deepEqual(await titles({ application, user: 'u1' }), ['aal', 'ähre'])
      deepEqual(await titles({ application, user: 'u1', sort: 'duration' }).then(found => found.sort()), [
        'aal',
        'ähre'
      ])
    })

    it('finds by beginnings of words, folded, and by characters where words have no spaces', async () => {
      const application = 'words'
      await store({ application, name: 'The_Third.Man.1949.mkv' })
      await store({ application, name: 'Amélie.mp4' })
      await store({ application, name: '三体 第一部.mp4' })
      const search = (text: string): Promise<string[]> => titles({ application, search: text })
      deepEqual(await search('thi'), ['The Third.Man.1949'])
      deepEqual(await search('third MAN 19'), ['The Third.Man.1949'])
      deepEqual(await search('ird'), [])
      deepEqual(await search('amelie'), ['Amélie'])
      deepEqual(await search('三体'), ['三体 第一部'])
      deepEqual(await search('部'), ['三体 第一部'])
      deepEqual(await search('%'), [])
      deepEqual(await search("' OR 1=1 --"), [])
    })

    it('filters by kind, of the whole and of one application', async () => {
      const application = 'kinds'
      await store({ application, mediaType: 'video/mp4', name: 'v.mp4' })
      await store({ application, mediaType: 'audio/mpeg', name: 'a.mp3' })
      await store({ application, mediaType: '', name: 'x.bin' })
      deepEqual(await titles({ application, kind: 'video' }), ['v'])
      deepEqual(await titles({ application, kind: 'audio' }), ['a'])
      deepEqual(await titles({ application, kind: 'other' }), ['x'])
      const everywhere = await database.library.page({ sort: 'newest', kind: 'audio', limit: 10 })
      deepEqual(
        everywhere.films.map(film => film.title),
        ['a']
      )
    })

    it('keeps a title that a person gave, and searches by it', async () => {
      const row = await store({ application: 'titles', name: 'x264-rip.mp4' })
      const key = keyOf(row)
      equal(await database.library.setTitle(key, row.generation, 'Metropolis'), true)
      const findings = {
        facts: '{"durationS":12}',
        kind: 'video' as const,
        durationMs: 12_000,
        width: 640,
        height: 480,
        title: 'From the tags'
      }
      equal(await database.library.setFacts(key, row.generation, findings), true)
      const { film, facts } = (await database.library.film(key))!
      equal(film.title, 'Metropolis')
      deepEqual(
        [film.durationMs, film.width, film.height, film.factsState, film.kind],
        [12_000, 640, 480, 'ready', 'video']
      )
      equal(facts, '{"durationS":12}')
      deepEqual(await titles({ application: 'titles', search: 'metro' }), ['Metropolis'])
      deepEqual(await titles({ application: 'titles', search: 'x264' }), [])
      equal(await database.library.setTitle(key, 'ab'.repeat(16), 'Another'), false)
      equal(await database.library.setFacts(key, 'ab'.repeat(16), findings), false)
    })

    it('shows what is stored and nothing else: files that went, or were replaced, before anybody noted it', async () => {
      const application = 'truth'
      const gone = await store({ application, name: 'gone.mp4', file: 'gone' })
      await database.files.markDeleting(keyOf(gone), gone.generation)
      await database.files.remove(keyOf(gone), gone.generation)
      const before = await store({ application, name: 'before.mp4', file: 'same' })
      await database.library.setTitle(keyOf(before), before.generation, 'Before')
      await database.files.markDeleting(keyOf(before), before.generation)
      await database.files.remove(keyOf(before), before.generation)
      const now = {
        ...fileRow(),
        application,
        user: before.user,
        file: 'same',
        name: 'now.mp4',
        storedAtMs: stamp++
      }
      await database.files.insert([now])
      await titles({ application }) // what it meets is put right behind it
      for (let wait = 0; wait < 100 && (await titles({ application })).length === 0; wait++) await sleep(20)
      deepEqual(await titles({ application }), ['now'])
      deepEqual(await titles({ application, search: 'before' }), [])
    })

    it('tells a film with what was made from it, and its poster on the page', async () => {
      const row = await store({ application: 'derived', name: 'film.mp4' })
      const key = keyOf(row)
      const poster = {
        ...fileRow(),
        ...key,
        file: derivedFileId(row.generation, 'poster.jpg'),
        storedAtMs: stamp++
      }
      const other = {
        ...fileRow(),
        ...key,
        file: derivedFileId('cd'.repeat(16), 'poster.jpg'),
        storedAtMs: stamp++
      }
      await database.files.insert([poster, other])
      await database.library.note(keyOf(poster))
      const { film, derived } = (await database.library.film(key))!
      deepEqual(
        derived.map(({ file }) => file),
        [poster.file]
      )
      equal(film.poster, poster.generation)
      deepEqual(await titles({ application: 'derived' }), ['film'])
      const since = await database.library.storedSince({ storedAtMs: row.storedAtMs, key: undefined }, 10)
      deepEqual(
        since.filter(({ application }) => application === 'derived').map(({ file }) => file),
        [row.file],
        'derived files are no films'
      )
    })

    it('lets the trash be emptied of what is in it only, and of what is in it long enough', async () => {
      const row = await store({ application: 'trash', file: 'kept' })
      const { files } = database
      equal(await files.setTrashed(keyOf(row), row.generation, row.store, 5_000), true)
      equal(await files.markExpired(keyOf(row), row.generation, row.store, 4_999), false)
      equal(await files.setTrashed(keyOf(row), row.generation, row.store, 0), true)
      equal(await files.markExpired(keyOf(row), row.generation, row.store, Number.MAX_SAFE_INTEGER), false)
      equal((await files.find(keyOf(row), { causal: true }))?.state, 'stored')
      equal(await files.setTrashed(keyOf(row), row.generation, row.store, 5_000), true)
      equal(await files.markExpired(keyOf(row), row.generation, row.store, 5_000), true)
      equal((await files.find(keyOf(row), { causal: true }))?.state, 'deleting')
    })

    it('leaves alone what nobody made from a film, whatever it is called', async () => {
      const odd = { ...fileRow(), application: 'odd', file: '.derived/notes', name: 'notes', storedAtMs: 5 }
      const film = await store({ application: 'odd', user: odd.user, file: 'film' })
      const misnamed = {
        ...fileRow(),
        ...keyOf(film),
        file: derivedFileId(film.generation, 'index'),
        name: 'x',
        storedAtMs: 5
      }
      await database.files.insert([odd, misnamed])
      const { files } = await database.library.orphans(6, undefined)
      deepEqual(
        files.filter(({ application }) => application === 'odd'),
        []
      )
    })

    it('finds derived files whose film is gone, or another one', async () => {
      const film = await store({ application: 'orphans', name: 'film.mp4', file: 'film' })
      const derive = async (generation: string, of: string): Promise<FileRow> => {
        const file = derivedFileId(generation, 'index')
        const row = { ...fileRow(), ...keyOf(film), file, name: of, storedAtMs: 5 }
        await database.files.insert([row])
        return row
      }
      await derive(film.generation, 'film')
      const ofBefore = await derive('1d'.repeat(16), 'film')
      const ofNone = await derive('2d'.repeat(16), 'gone')
      const found: FileRow[] = []
      let after: { application: string; user: string } | undefined
      do {
        const { files, next } = await database.library.orphans(6, after)
        found.push(...files)
        after = next
      } while (after)
      deepEqual(
        found.filter(({ application }) => application === 'orphans').map(({ file }) => file),
        [ofBefore.file, ofNone.file]
      )
      deepEqual((await database.library.orphans(5)).files, [], 'what is young is left alone')
    })

    it('counts what is used, and says whose films there are', async () => {
      await store({ application: 'usage', user: 'a', sizeBytes: 5 })
      await store({ application: 'usage', user: 'b', sizeBytes: 7 })
      deepEqual(await database.library.usage('usage'), {
        files: 2,
        bytes: 12,
        trashedFiles: 0,
        trashedBytes: 0
      })
      deepEqual(await database.library.usage('usage', 'b'), {
        files: 1,
        bytes: 7,
        trashedFiles: 0,
        trashedBytes: 0
      })
      const owners = await database.library.owners()
      deepEqual(
        owners.filter(({ application }) => application === 'usage'),
        [
          { application: 'usage', user: 'a' },
          { application: 'usage', user: 'b' }
        ]
      )
    })

    it('knows which films there are', async () => {
      const row = await store({ application: 'known' })
      const other = { ...row, generation: 'e'.repeat(32) }
      const films = [row, other, { ...row, file: 'none' }]
      deepEqual(await database.library.known(films), [row])
    })

    it('finds what was deleted behind its back, and says so before it forgets it', async () => {
      const strays = async (): Promise<string[]> => {
        const found: string[] = []
        let after: FileKey | undefined
        do {
          const { films, next } = await database.library.strays(after, 2)
          found.push(...films.filter(({ application }) => application === 'strays').map(({ file }) => file))
          after = next
        } while (after)
        return found
      }
      const rows: FileRow[] = []
      for (const file of ['a', 'b', 'c', 'd', 'e', 'f'])
        rows.push(await store({ application: 'strays', user: `u${rows.length % 2}`, file }))
      const [gone, replaced, marked, trashed, thrown] = rows as [FileRow, FileRow, FileRow, FileRow, FileRow]
      deepEqual(await strays(), [])
      const untilMs = Date.now() + 60_000
      for (const row of [trashed, thrown]) {
        ok(await database.files.setTrashed(keyOf(row), row.generation, row.store, untilMs))
      }
      for (const row of [gone, replaced, marked, thrown]) {
        if (row === thrown)
          ok(await database.files.markExpired(keyOf(row), row.generation, row.store, untilMs))
        else ok(await database.files.markDeleting(keyOf(row), row.generation, row.store))
        if (row !== marked) ok(await database.files.remove(keyOf(row), row.generation))
      }
      await database.files.insert([{ ...fileRow(), ...keyOf(replaced), storedAtMs: stamp++ }])
      deepEqual((await strays()).toSorted(), ['a', 'b', 'c', 'e'])

      const told: GoneFilm[] = []
      database.library.onGone = () => Promise.reject(new Error('nobody can be told'))
      await rejects(database.library.note(keyOf(gone)), /nobody/)
      deepEqual((await strays()).toSorted(), ['a', 'b', 'c', 'e'], 'it stays until somebody was told')
      database.library.onGone = async films => void told.push(...films)
      for (const row of rows) await database.library.note(keyOf(row))
      for (const row of rows) await database.library.note(keyOf(row))
      database.library.onGone = undefined
      deepEqual(
        told.toSorted((a, b) => a.file.localeCompare(b.file)),
        [gone, replaced, marked].map(row => ({ ...keyOf(row), generation: row.generation })),
        'what went out of the trash was told when it went there'
      )
      deepEqual(await strays(), [])
    })

    it('finds what was stored behind its back, in the order of the times', async () => {
      const first = { ...fileRow(), application: 'since', file: 'b', storedAtMs: 9_000_000 }
      const second = {
        ...fileRow(),
        application: 'since',
        file: 'a',
        user: first.user,
        storedAtMs: 9_000_001
      }
      await database.files.insert([second, first])
      const found = await database.library.storedSince({ storedAtMs: 9_000_000, key: undefined }, 1)
      deepEqual(found.map(keyOf), [keyOf(first)])
      const next = await database.library.storedSince({ storedAtMs: 9_000_000, key: keyOf(first) }, 9)
      deepEqual(next.map(keyOf), [keyOf(second)])
      await database.library.noteRows([keyOf(first), keyOf(second)], [first, second])
      ok((await database.library.film(keyOf(second))) !== undefined)
      const pending = await database.library.pending(200)
      ok(pending.some(({ application }) => application === 'since'))
    })
  })
}
