/** What uploads under way were promised: counted once, whatever they are made of. */
import { deepEqual, equal } from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Database, UploadRow } from '@tributary/database'
import { migrated, mysql, sqlite } from './engines.ts'

const NOW_MS = 1_000_000
let made = 0

const idOf = (number: number): string => number.toString(16).padStart(32, '0')

function uploadRow(fields: Partial<UploadRow>): UploadRow {
  const id = idOf(++made)
  return {
    id,
    application: 'media',
    user: 'anna',
    file: `film-${made}`,
    name: '',
    mediaType: 'video/mp4',
    metadata: '',
    kind: 'whole',
    state: 'open',
    sizeBytes: 1,
    offsetBytes: 0,
    crc32: 0,
    group: 'group001',
    store: '11111111-2222-3333-4444-555555555555',
    folder: id,
    baseBytes: 0,
    totalBytes: 0,
    layout: { pieces: [{ file: 'content', start: 0 }] },
    fence: 0,
    taker: '',
    holder: '',
    generation: '',
    createdMs: NOW_MS,
    expiresMs: NOW_MS + 1,
    ...fields
  }
}

for (const engine of [sqlite(), mysql()]) {
  describe(`uploads under way on ${engine.name}`, { skip: engine.skip ?? false, timeout: 60_000 }, () => {
    let database: Database
    before(async () => {
      await engine.start()
      ;({ database } = await migrated(engine))
    })
    after(async () => {
      await database?.close()
      await engine.stop()
    })
    const add = async (fields: Partial<UploadRow>): Promise<UploadRow> => {
      const row = uploadRow(fields)
      equal(await database.uploads.insert(row), true)
      return row
    }
    const promised = (question: object = {}) =>
      database.uploads.promised({ application: 'media', ...question }, NOW_MS)

    it('need what they announced, until they are stored, dropped or over', async () => {
      deepEqual(await promised(), { files: 0, bytes: 0 })
      await add({ sizeBytes: 40, offsetBytes: 39 })
      await add({ user: 'bob', sizeBytes: 2 ** 40 })
      await add({ application: 'other', sizeBytes: 7 })
      await add({ sizeBytes: 1_000, state: 'stored' })
      await add({ sizeBytes: 1_000, state: 'dropped' })
      await add({ sizeBytes: 1_000, expiresMs: NOW_MS })
      deepEqual(await promised(), { files: 2, bytes: 40 + 2 ** 40 })
      deepEqual(await promised({ user: 'anna' }), { files: 1, bytes: 40 })
      deepEqual(await promised({ user: 'bob' }), { files: 1, bytes: 2 ** 40 })
    })

    it('come in the order in which they were begun', async () => {
      const application = 'order'
      const [first, second, third] = [
        await add({ application, sizeBytes: 1, createdMs: 10 }),
        await add({ application, sizeBytes: 10, createdMs: 20 }),
        await add({ application, sizeBytes: 100, createdMs: 20 })
      ]
      const before = async ({ id }: UploadRow) => (await promised({ application, before: id })).bytes
      deepEqual(await Promise.all([first, second, third].map(before)), [0, 1, 11])
      equal((await promised({ application, before: idOf(0) })).bytes, 111, 'of one that is gone: all')
      equal((await promised({ application, except: [first.id, third.id] })).bytes, 10)
    })

    it('are one file, and their bytes once, where they are parts of one', async () => {
      const application = 'parts'
      const part = { application, kind: 'part', file: '', sizeBytes: 50, createdMs: 1 } as const
      const parts = [await add(part), await add(part)].map(({ id }) => id)
      deepEqual(await promised({ application }), { files: 0, bytes: 100 })
      const layout = { pieces: [], parts }
      const joined = await add({ application, kind: 'joined', sizeBytes: 100, layout })
      deepEqual(await promised({ application }), { files: 1, bytes: 100 })
      deepEqual(await promised({ application, before: joined.id }), { files: 0, bytes: 0 })
    })
  })
}
