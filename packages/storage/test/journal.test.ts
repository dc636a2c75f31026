/** Records of journals and redo segments: damaged, torn and stale ones. */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { appendFile, open as openFile, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { decodeRecord, encodeRecord, RECORD_KINDS, type RecordKind } from '../src/journal-record.ts'
import { Journal, readJournalFile, readJournals, readRecords } from '../src/journal.ts'
import { DiskSyncError, readRedoFolder, REDO_FOLDER, RedoLog } from '../src/redo-log.ts'
import { initStore } from '../src/store-marker.ts'
import { factsOf } from '../src/upload-record.ts'
import { Volume } from '../src/volume.ts'
import { rowAt, temporaryFolder } from './parts.ts'

const facts = (path: string) =>
  factsOf(rowAt(path, { name: 'Größe.mp4', mediaType: 'video/mp4' }), 1_700_000_000_001)
const CONTENT = Buffer.from('hello')
const DAY_MS = 86_400_000

describe('a journal record', () => {
  it('comes back as it was, of every kind', () => {
    for (const kind of Object.keys(RECORD_KINDS) as RecordKind[]) {
      const content = kind === 'upload' ? CONTENT : Buffer.alloc(0)
      const written = facts('a')
      const bytes = encodeRecord(kind, written, 7, content)
      const record = decodeRecord(bytes, 0, 7)
      ok(typeof record === 'object')
      equal(record.kind, kind)
      deepEqual(record.facts, written)
      for (const trashedUntilMs of [0, 1_700_000_600_000]) {
        const trashed = decodeRecord(encodeRecord(kind, { ...written, trashedUntilMs }), 0)
        deepEqual(typeof trashed === 'object' && trashed.facts, { ...written, trashedUntilMs })
      }
      ok(record.content.equals(content))
      equal(record.end, bytes.byteLength)
    }
  })

  it('is refused with any single byte changed, and cut at any length', () => {
    const bytes = encodeRecord('upload', facts('a'), 7, CONTENT)
    for (let at = 0; at < bytes.byteLength; at++) {
      const changed = Buffer.from(bytes)
      changed[at]! ^= 0x41
      equal(typeof decodeRecord(changed, 0, 7), 'string', `byte ${at}`)
      equal(typeof decodeRecord(bytes.subarray(0, at), 0, 7), 'string', `length ${at}`)
    }
  })

  it('of another cycle is the end', () => {
    equal(decodeRecord(encodeRecord('upload', facts('a'), 7), 0, 8), 'end')
  })
})

describe('a journal', () => {
  it('is read on behind what a power loss tore: damage, zeros, half a record', () => {
    const [first, second, third] = ['a', 'b', 'c'].map(path => encodeRecord('stored', facts(path)))
    const torn = Buffer.concat([
      first!.subarray(0, 50),
      second!,
      Buffer.alloc(4_096),
      third!,
      first!.subarray(0, 9)
    ])
    const paths: string[] = []
    const reading = { records: 0, damaged: 0 }
    readRecords(torn, 0, record => paths.push(record.facts.path), reading)
    deepEqual(paths, ['b', 'c'])
    ok(reading.damaged > 0)
  })

  it('goes on in a new file at midnight, and syncs what stands in the old one', async t => {
    const root = await temporaryFolder(t)
    await initStore(root, { cluster: 'c1', group: 'group001' })
    let nowMs = 20_000 * DAY_MS - 10
    const journal = new Journal(await Volume.open(root), 'member1.0', () => nowMs)
    await journal.append([encodeRecord('stored', facts('a'))])
    const syncing = journal.sync()
    nowMs += 20
    await journal.append([encodeRecord('stored', facts('b')), encodeRecord('deleted', facts('a'))])
    await Promise.all([syncing, journal.sync()])
    await journal.close()
    equal((await readdir(join(root, '.journal/member1.0'))).length, 2)
    const seen: string[] = []
    await readJournals(root, 0, ({ kind, facts: { path } }) => seen.push(`${kind} ${path}`))
    deepEqual(seen, ['stored a', 'stored b', 'deleted a'])
    seen.length = 0
    await readJournals(root, nowMs, ({ kind, facts: { path } }) => seen.push(`${kind} ${path}`))
    deepEqual(seen, ['stored b', 'deleted a'])
  })

  it('longer than what is read at a time gives the same records, whatever is damaged', async t => {
    const root = await temporaryFolder(t)
    const record = encodeRecord('stored', facts('a'))
    const long = encodeRecord('upload', facts('long'), 0, Buffer.alloc(1_000_000, 1))
    const whole = Buffer.concat(
      Array.from({ length: 40_000 }, (_, index) => (index % 10_000 === 77 ? long : record))
    )
    const path = join(root, 'journal')
    for (const damage of [0, 1, 20, 300]) {
      const bytes = Buffer.from(whole)
      for (let hole = 0; hole < damage; hole++) {
        const at = Math.floor((hole + 0.5) * (bytes.byteLength / damage))
        bytes.fill(0x54, at, at + (hole % 3 === 0 ? 3 : 700))
      }
      await writeFile(path, bytes.subarray(0, bytes.byteLength - damage))
      const [expected, reading] = [
        { records: 0, damaged: 0 },
        { records: 0, damaged: 0 }
      ]
      readRecords(bytes.subarray(0, bytes.byteLength - damage), 0, () => {}, expected)
      await readJournalFile(path, () => {}, reading)
      equal(reading.records, expected.records)
      equal(reading.damaged > 0, damage > 0)
    }
  })

  it('appends behind the torn record of an earlier run', async t => {
    const root = await temporaryFolder(t)
    await initStore(root, { cluster: 'c1', group: 'group001' })
    const first = new Journal(await Volume.open(root), 'member1.0')
    await first.append([encodeRecord('stored', facts('a'))])
    await first.close()
    const path = join(root, '.journal/member1.0', (await readdir(join(root, '.journal/member1.0')))[0]!)
    await appendFile(path, encodeRecord('stored', facts('torn')).subarray(0, 100))
    await appendFile(path, Buffer.alloc(500))
    const second = new Journal(await Volume.open(root), 'member1.0')
    await second.append([encodeRecord('stored', facts('b'))])
    await second.close()
    const seen: string[] = []
    await readJournals(root, 0, record => seen.push(record.facts.path))
    deepEqual(seen, ['a', 'b'])
  })
})

describe('a journal on a volume that lost its descriptor', () => {
  const lost = (): Error => Object.assign(new Error('file descriptor in bad state'), { code: 'EBADFD' })
  /** What all handles have. */
  const handlesOf = async (root: string) => {
    const handle = await openFile(root, 'r')
    await handle.close()
    return Object.getPrototypeOf(handle) as typeof handle
  }
  /** The next write through a handle is said to be done, and reaches nothing. */
  const losePage = (t: TestContext, handles: Awaited<ReturnType<typeof handlesOf>>): void => {
    const writev = async (buffers: readonly NodeJS.ArrayBufferView[]) => ({
      bytesWritten: buffers.reduce((sum, { byteLength }) => sum + byteLength, 0),
      buffers
    })
    t.mock.method(handles, 'writev', writev as typeof handles.writev, { times: 1 })
  }
  const read = async (root: string): Promise<string[]> => {
    const seen: string[] = []
    await readJournals(root, 0, record => seen.push(record.facts.path))
    return seen
  }

  it('writes again, with the next record, what no sync had covered', async t => {
    const root = await temporaryFolder(t)
    await initStore(root, { cluster: 'c1', group: 'group001' })
    const handles = await handlesOf(root)
    const journal = new Journal(Volume.probe(root), 'member1.0') // of a kind that is not local
    await journal.append([encodeRecord('stored', facts('synced'))])
    await journal.sync()
    losePage(t, handles)
    await journal.append([encodeRecord('stored', facts('a'))])
    deepEqual(await read(root), ['synced'])
    const writev = t.mock.method(handles, 'writev', () => Promise.reject(lost()), { times: 1 })
    await journal.append([encodeRecord('stored', facts('b'))])
    equal(writev.mock.callCount(), 1, 'it failed, and was tried anew')
    await journal.sync()
    await journal.close()
    deepEqual(await read(root), ['synced', 'a', 'b'])
  })

  it('promises nothing when the sync fails, and writes it again at the next', async t => {
    const root = await temporaryFolder(t)
    await initStore(root, { cluster: 'c1', group: 'group001' })
    const handles = await handlesOf(root)
    const journal = new Journal(Volume.probe(root), 'member1.0')
    losePage(t, handles)
    await journal.append([encodeRecord('stored', facts('a'))])
    t.mock.method(handles, 'datasync', () => Promise.reject(lost()), { times: 1 })
    await rejects(journal.sync(), { code: 'EBADFD' })
    deepEqual(await read(root), [])
    await journal.sync()
    deepEqual(await read(root), ['a'])
    await journal.append([encodeRecord('stored', facts('b'))])
    await journal.close()
    deepEqual(await read(root), ['a', 'b'])
  })
})

describe('a redo log', () => {
  const BOOT = join(REDO_FOLDER, 'member1.0', 'boot1')
  const SEGMENT_BYTES = 4_096

  async function open(t: Parameters<typeof temporaryFolder>[0], checkpoint: () => Promise<void>) {
    const root = await temporaryFolder(t)
    await initStore(root, { cluster: 'c1', group: 'group001' })
    const troubles: unknown[] = []
    const onTrouble = (error: unknown): void => void troubles.push(error)
    const redo = new RedoLog(root, BOOT, { segmentBytes: SEGMENT_BYTES, checkpoint, onTrouble })
    return { root, redo, troubles, folder: join(root, BOOT) }
  }
  const put = async (redo: RedoLog, path: string): Promise<void> => {
    await redo.room(1_000)
    redo.append([encodeRecord('upload', facts(path), redo.cycle, CONTENT)])
  }
  const read = async (folder: string): Promise<string[]> => {
    const seen: string[] = []
    await readRedoFolder(folder, record => seen.push(record.facts.path))
    return seen
  }

  it('gives back what was appended since the checkpoint before last, in order, and nothing older', async t => {
    let checkpoints = 0
    const { redo, folder } = await open(t, async () => void checkpoints++)
    for (let index = 0; index < 100; index++) await put(redo, `file-${index}`)
    await redo.sync()
    const seen = await read(folder)
    const first = Number(seen[0]!.slice(5))
    ok(checkpoints > 5 && first > 50)
    deepEqual(
      seen,
      Array.from({ length: 100 - first }, (_, index) => `file-${first + index}`)
    )
    redo.clear()
    deepEqual(await read(folder), [])
    redo.close()
  })

  it('reads up to a torn record and what is whole behind it', async t => {
    const { redo, folder } = await open(t, async () => {})
    for (const path of ['a', 'b', 'c']) await put(redo, path)
    redo.close()
    const path = join(folder, '0.log')
    const bytes = await readFile(path)
    const at = bytes.indexOf('anna', bytes.indexOf('anna') + 4)
    bytes[at]! ^= 1
    await writeFile(path, bytes)
    deepEqual(await read(folder), ['a', 'c'])
    await truncate(path, bytes.byteLength - 1)
    deepEqual(await read(folder), ['a'])
    await truncate(path, 10)
    deepEqual(await read(folder), [])
  })

  it('used again for another boot shows nothing of the one before', async t => {
    const { root, redo, folder } = await open(t, async () => {})
    for (let index = 0; index < 12; index++) await put(redo, `old-${index}`)
    redo.close()
    const recycled = (await readdir(folder)).map(name => join(folder, name))
    const boot = join(REDO_FOLDER, 'member1.0', 'boot2')
    const next = new RedoLog(
      root,
      boot,
      { segmentBytes: SEGMENT_BYTES, checkpoint: async () => {} },
      recycled
    )
    deepEqual(await read(join(root, boot)), [])
    await put(next, 'new')
    next.close()
    deepEqual(await read(join(root, boot)), ['new'])
    deepEqual(await readdir(folder), [])
  })

  it('waits for a checkpoint that fails until it succeeds, and overwrites nothing meanwhile', async t => {
    let fails = 2
    const { redo, folder, troubles } = await open(t, async () => {
      if (fails-- > 0) throw new Error('the index does not answer')
    })
    for (let index = 0; index < 40; index++) await put(redo, `file-${index}`)
    equal(troubles.length, 2)
    ok((await read(folder)).includes('file-39'))
    redo.close()
  })

  it('takes nothing more once the disk has refused a sync', async t => {
    const { redo, troubles } = await open(t, async () => {
      throw new DiskSyncError('sync failed')
    })
    await rejects(async () => {
      for (let index = 0; index < 100; index++) await put(redo, `file-${index}`)
    }, DiskSyncError)
    equal(troubles.length, 1)
    redo.close()
  })
})
