/** Places, markers and directories of a store. */
import { deepEqual, equal, match, rejects, throws } from 'node:assert/strict'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { highestIdOnDisk, walkStore } from '../src/disk-walk.ts'
import { makeStoreDirectory, makeStoreDirectorySync } from '../src/store-directory.ts'
import { initStore, MARKER_NAME, readMarker } from '../src/store-marker.ts'
import { idOfStorePath, storePathOf, STORE_IDS_MAX } from '../src/store-path.ts'
import { lockWriter } from '../src/writer-lock.ts'
import { temporaryFolder } from './parts.ts'

const T = 0x5f9e3fa7
const OWNER = { cluster: 'c1', group: 'group001' }

describe('the place of a file', () => {
  it('is its id in base 512, in four hexadecimal digits of three, and its time', () => {
    equal(storePathOf(0, T).path, '000/000/000/5F9E3FA7_000')
    equal(storePathOf(511, T).path, '000/000/000/5F9E3FA7_1FF')
    equal(storePathOf(512, T).path, '000/000/001/5F9E3FA7_000')
    equal(storePathOf(512 ** 4 - 1, T).path, '1FF/1FF/1FF/5F9E3FA7_1FF')
    equal(storePathOf(512 ** 3, T).directory, '001/000/000')
  })

  it('ends at 512 to the fourth', () => {
    throws(() => storePathOf(STORE_IDS_MAX, T), { code: 'IDS_EXHAUSTED' })
  })

  it('gives its id back, and no other name does', () => {
    for (const id of [0, 1, 511, 512, 262_143, 262_144, 2 ** 31, 512 ** 4 - 1]) {
      equal(idOfStorePath(storePathOf(id, T).path), id)
    }
    for (const name of [
      '000/000/000/x_000',
      '200/000/000/1_000',
      '000/000/000/1_000.tmp',
      '.tmp/a',
      '000/000/1_0'
    ]) {
      equal(idOfStorePath(name), undefined)
    }
  })

  it('is found by a walk in byte order; other names are told, not taken', async t => {
    const root = await temporaryFolder(t)
    await initStore(root, OWNER)
    const ids = [0, 3, 511, 512, 600_000]
    for (const id of ids) {
      const { directory, path } = storePathOf(id, T + id)
      await makeStoreDirectory(root, directory)
      await writeFile(join(root, path), 'x')
    }
    await writeFile(join(root, '000/000/000/readme'), 'x')
    const strangers: string[] = []
    const walked: string[] = []
    for await (const { path } of walkStore(root, name => strangers.push(name))) walked.push(path)
    deepEqual(walked.map(idOfStorePath), ids)
    deepEqual(strangers, ['000/000/000/readme'])
    equal(await highestIdOnDisk(root), 600_000)
  })
})

describe('the marker of a store', () => {
  it('is made once and stays', async t => {
    const root = join(await temporaryFolder(t), 'store')
    const made = await initStore(root, OWNER)
    deepEqual(await initStore(root, OWNER), made)
    deepEqual(await readdir(root), [MARKER_NAME])
  })

  it('is missed, and refused where it is another cluster’s, group’s or layout’s, each in one sentence', async t => {
    const root = join(await temporaryFolder(t), 'store')
    await mkdir(root)
    await rejects(readMarker(root, OWNER), /is not a store: it has no \.tributary-store/)
    const marker = await initStore(root, OWNER)
    await rejects(readMarker(root, { ...OWNER, cluster: 'c2' }), /is a store of cluster c1/)
    await rejects(readMarker(root, { ...OWNER, group: 'group002' }), /is a store of group group001/)
    await rejects(initStore(root, { ...OWNER, group: 'group002' }), /is a store of group group001/)
    await writeFile(join(root, MARKER_NAME), JSON.stringify({ ...marker, layout: 2 }))
    await rejects(readMarker(root, OWNER), /has store layout 2; this program knows 1/)
    await writeFile(join(root, MARKER_NAME), '{"layout":1}')
    await rejects(readMarker(root, OWNER), /is damaged/)
    match(await readFile(join(root, MARKER_NAME), 'utf8'), /layout/)
  })

  it('is what directories are made beside, and without it none is', async t => {
    const root = join(await temporaryFolder(t), 'store')
    await mkdir(root)
    throws(() => makeStoreDirectorySync(root, '000/000/001'), { code: 'ENOENT' })
    await rejects(makeStoreDirectory(root, '.journal/member'), { code: 'ENOENT' })
    deepEqual(await readdir(root), [])
    await initStore(root, OWNER)
    makeStoreDirectorySync(root, '000/000/001')
    makeStoreDirectorySync(root, '000/000/001')
    await makeStoreDirectory(root, '000/001/000')
    deepEqual((await readdir(join(root, '000'))).sort(), ['000', '001'])
    await rm(root, { recursive: true })
    throws(() => makeStoreDirectorySync(root, '000/000/002'), { code: 'ENOENT' })
  })
})

describe('the name of a writer', () => {
  it('is one process’s at a time, and free again when that lets go', async () => {
    const held = await lockWriter('store-1', 'member1.0')
    await rejects(lockWriter('store-1', 'member1.0', 50), { code: 'STORE_UNAVAILABLE' })
    const other = await lockWriter('store-1', 'member1.1', 50)
    const waiting = lockWriter('store-1', 'member1.0')
    held.release()
    const next = await waiting
    next.release()
    other.release()
  })
})
