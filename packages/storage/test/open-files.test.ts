/** Descriptors and contents that are kept: never another file's, never an old one's. */
import { equal, ok, rejects } from 'node:assert/strict'
import { existsSync, readSync } from 'node:fs'
import { link, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { UnavailableError } from '@tributary/protocol'
import { FileReply, PieceBuffers } from '../src/file-reply.ts'
import { MediaTypeFinder, UNTYPED_FILES_MAX } from '../src/media-type-finder.ts'
import { foundMediaType, saidMediaType } from '../src/media-type.ts'
import type { OpenFile } from '../src/open-files.ts'
import { keyOf, labels, openParts, rowAt } from './parts.ts'

const CONTENT = Buffer.from('the whole film')
const GIF = Buffer.from('474946383961010001000000003b', 'hex')

describe('an open file', () => {
  it('stays open while a transfer uses it, and no longer', async t => {
    const { small, files } = await openParts(t)
    await small.store(keyOf('a'), CONTENT, labels())
    const entry = await files.open(keyOf('a'))
    const release = files.use(entry)
    files.forget(keyOf('a'))
    await turn()
    const bytes = Buffer.alloc(CONTENT.byteLength)
    readSync(entry.fd, bytes, 0, bytes.byteLength, 0)
    ok(bytes.equals(CONTENT))
    release()
    release()
    await turn()
    ok(entry.closed)
    const next = await files.open(keyOf('a'))
    ok(next !== entry && !next.closed)
  })

  it('is not closed under the hands of who was just given it', async t => {
    const { small, files } = await openParts(t)
    await small.store(keyOf('a'), CONTENT, labels())
    const entry = await files.open(keyOf('a'))
    files.forget(keyOf('a'))
    await Promise.resolve()
    const release = files.use(entry)
    await turn()
    await turn()
    ok(!entry.closed && existsSync(`/proc/self/fd/${entry.fd}`))
    release()
  })

  it('is not served after its deletion, even while a backup holds a second link to it', async t => {
    const first = await openParts(t)
    const row = await first.small.store(keyOf('a'), CONTENT, labels())
    const other = await openParts(t, { folder: first.folder, member: 'member2.0' })
    await other.files.open(keyOf('a'))
    await link(join(first.root, row.path), join(first.folder, 'backup'))
    await first.deletion.delete(keyOf('a'))
    await rejects(async () => other.files.open(keyOf('a')), { code: 'FILE_NOT_FOUND' })
  })

  it('is let go when another member deletes it, so that its space is free', async t => {
    const first = await openParts(t)
    for (const name of ['a', 'b', 'c']) await first.small.store(keyOf(name), CONTENT, labels())
    const other = await openParts(t, { folder: first.folder, member: 'member2.0' })
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map(async name => other.files.open(keyOf(name))))
    const release = other.files.use(b!)
    for (const name of ['a', 'b']) await first.deletion.delete(keyOf(name))
    await other.files.releaseGone()
    await turn()
    ok(a!.closed && !c!.closed)
    ok(!b!.closed, 'a transfer that is under way is finished')
    release()
    ok(b!.closed)
    await other.files.releaseGone()
    ok(other.files.open(keyOf('c')) === c)
  })

  it('whose content is damaged is not served', async t => {
    const { small, files, database, root, store } = await openParts(t)
    const row = await small.store(keyOf('a'), CONTENT, labels())
    await database.files.remove(keyOf('a'), row.generation)
    await database.files.insert([{ ...row, crc32: (row.crc32 + 1) >>> 0 }])
    const entry = await files.open(keyOf('a'))
    await rejects(async () => files.content(entry), { code: 'CHECKSUM_MISMATCH' })
    await unlink(join(root, row.path))
    await rejects(async () => files.open(keyOf('a')), { code: 'STORE_UNAVAILABLE' }, 'never "not found"')
    store.trouble = 'not mounted'
    await rejects(async () => files.open(keyOf('a')), { code: 'STORE_UNAVAILABLE' })
  })
})

describe('a descriptor that its volume has lost', () => {
  it('costs one reply at most: the next reader gets a new one', async t => {
    const { small, files, volume } = await openParts(t)
    await small.store(keyOf('a'), CONTENT, labels())
    Object.defineProperty(volume, 'local', { value: false }) // as GlusterFS is
    const first = await files.open(keyOf('a'))
    const lost = Object.assign(new Error('file descriptor in bad state'), { code: 'EBADFD' })
    t.mock.method(volume, 'run', () => Promise.reject(lost), { times: 1 })
    const pump = async (entry: OpenFile): Promise<string> => {
      const sent: Buffer[] = []
      const reply = new FileReply(files, new PieceBuffers(), entry, Buffer.alloc(0), 0, CONTENT.byteLength)
      await reply.pump({
        write: (bytes, done) => {
          sent.push(Buffer.from(bytes))
          done()
        }
      })
      return Buffer.concat(sent).toString()
    }
    await rejects(pump(first), { code: 'STORE_UNAVAILABLE' })
    const next = await files.open(keyOf('a'))
    ok(next !== first)
    equal(await pump(next), CONTENT.toString())
    ok(first.closed)
  })
})

describe('a reply whose read hangs', () => {
  it('gives up its buffer for good: the read may still write into it', async () => {
    const buffers = new PieceBuffers()
    const known = Buffer.alloc(256 * 1024)
    buffers.give(known)
    const hung = (): Promise<never> => Promise.reject(new UnavailableError('STORE_UNAVAILABLE', 'hangs'))
    const entry = {
      row: rowAt('a', { sizeBytes: 1_000_000 }),
      fd: -1,
      store: { volume: { local: false, run: hung } }
    } as unknown as OpenFile
    const files = { use: () => () => {} } as unknown as ConstructorParameters<typeof FileReply>[0]
    const reply = new FileReply(files, buffers, entry, Buffer.alloc(10), 0, 1_000_000)
    await rejects(reply.pump({ write: () => {} }), { code: 'STORE_UNAVAILABLE' })
    ok(buffers.take() !== known)
  })
})

describe('a media type', () => {
  it('is what the uploader said, else what the name says, and generic ones say nothing', () => {
    equal(saidMediaType('video/mp4', 'a.png'), 'video/mp4')
    equal(saidMediaType('application/octet-stream', 'a.png'), 'image/png')
    equal(saidMediaType('text/html\r\nSet-Cookie: x', 'a'), '')
    equal(saidMediaType(undefined, 'film.mkv'), 'video/x-matroska')
    equal(saidMediaType(undefined, 'noname'), '')
  })

  it('is found in the first bytes, or not at all', async () => {
    equal(await foundMediaType(GIF), 'image/gif')
    equal(await foundMediaType(Buffer.from('plain')), '')
    equal(await foundMediaType(Buffer.alloc(0)), '')
  })

  it('is written into the row in time, one file after the other, and too many are left to whoever asks', async t => {
    const { small, files, database } = await openParts(t)
    const finder = new MediaTypeFinder(files, database.files, 5)
    const row = await small.store(keyOf('a'), GIF, labels())
    const gone = await small.store(keyOf('b'), GIF, labels())
    await database.files.remove(keyOf('b'), gone.generation)
    finder.note(gone)
    finder.note(row)
    const endMs = performance.now() + 5_000
    while ((await database.files.find(keyOf('a')))?.mediaType !== 'image/gif') {
      ok(performance.now() < endMs)
      await turn()
    }
    let opened = 0
    const counting = { open: () => Promise.reject(new Error(String(opened++))) } as unknown as typeof files
    const busy = new MediaTypeFinder(counting, database.files, 0)
    for (let index = 0; index < UNTYPED_FILES_MAX + 500; index++) busy.note(row)
    await new Promise(resolve => setTimeout(resolve, 20))
    ok(opened < 100, 'slowly')
    busy.close()
    finder.close()
  })
})
