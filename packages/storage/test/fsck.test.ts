/** Comparing index and disk: every kind of difference, what may be repaired, and no false alarm while servers work. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { appendFile, mkdir, readdir, readFile, truncate, unlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { openDatabase } from '@tributary/database'
import { runFsck, SETTLE_MS, type FsckOptions, type FsckReport } from '../src/fsck.ts'
import { encodeRecord } from '../src/journal-record.ts'
import { listJournals, readJournals } from '../src/journal.ts'
import { LargeUpload } from '../src/large-upload.ts'
import { initStore } from '../src/store-marker.ts'
import type { Repair } from '../src/store-repair.ts'
import { storePathOf } from '../src/store-path.ts'
import { factsOf } from '../src/upload-record.ts'
import { keyOf, labels, openParts, type Parts } from './parts.ts'

const CONTENT = Buffer.from('the whole film')
const REPAIR = { dryRun: false, orphanAgeMs: 0, dropMissingMax: 0 }

async function check(
  { folder, root }: Parts,
  options: Partial<FsckOptions> = {}
): Promise<FsckReport & { done: Repair[] }> {
  const done: Repair[] = []
  const report = await runFsck({
    stores: [root],
    database: `sqlite:${join(folder, 'index.db')}`,
    settleMs: 0,
    onRepair: repair => void done.push(repair),
    ...options
  })
  return { ...report, done }
}

const kindsOf = ({ findings }: FsckReport): string[] =>
  findings.map(({ kind, file }) => `${kind} ${file}`.trim())
const actionsOf = ({ done }: { done: Repair[] }): string[] =>
  done.map(({ action, path }) => `${action} ${path}`)

async function stored(
  { small }: Parts,
  ...files: string[]
): Promise<Awaited<ReturnType<typeof small.store>>[]> {
  return Promise.all(files.map(file => small.store(keyOf(file), CONTENT, labels())))
}

async function strand(root: string, id: number): Promise<string> {
  const { path } = storePathOf(id, 1_700_000_000)
  await mkdir(dirname(join(root, path)), { recursive: true })
  await writeFile(join(root, path), 'stranded')
  return path
}

describe('fsck', { timeout: 60_000 }, () => {
  it('reads what lies in the trash as well, and says that it lies there', async t => {
    const parts = await openParts(t)
    const { root, database } = parts
    const rows = await stored(parts, 'flipped', 'good', 'missing', 'short')
    const [flipped, , missing, short] = rows.map(row => row!)
    for (const row of rows)
      await database.files.setTrashed(row, row.generation, row.store, Date.now() + 60_000)
    equal((await check(parts, { checksums: true })).differences, 0)
    await writeFile(join(root, flipped!.path), Buffer.from('the whole fiIm'))
    await unlink(join(root, missing!.path))
    await truncate(join(root, short!.path), 3)
    const { findings } = await check(parts, { checksums: true })
    const told = findings.map(({ kind, file, detail }) => `${kind} ${file}: ${detail}`).sort()
    match(told[0]!, /^missing media\/anna\/missing: 14 bytes, in the trash$/)
    match(told[1]!, /^wrong-checksum media\/anna\/flipped: .* in the index, in the trash$/)
    match(told[2]!, /^wrong-size media\/anna\/short: .*, in the trash$/)
    equal(told.length, 3)
  })

  it('tells every kind of difference by its name, and changes nothing', async t => {
    const parts = await openParts(t)
    const { root, database } = parts
    const rows = await stored(parts, 'missing', 'short', 'flipped', 'deleting', 'good', 'folder', 'strange')
    const [missing, short, flipped, deleting, , folder, strange] = rows.map(row => row!)
    await unlink(join(root, missing!.path))
    await truncate(join(root, short!.path), 3)
    await writeFile(join(root, flipped!.path), Buffer.from('the whole fiIm'))
    await database.files.markDeleting(deleting!, deleting!.generation)
    await unlink(join(root, folder!.path))
    await mkdir(join(root, folder!.path))
    await database.files.remove(strange!, strange!.generation)
    await database.files.insert([{ ...strange!, group: 'group002' }])
    const orphan = await strand(root, 700_000)
    await writeFile(join(root, 'notes.txt'), 'x')
    await appendFile(join(root, (await listJournals(root))[0]!.path), 'torn')

    const report = await check(parts, { checksums: true })
    deepEqual(kindsOf(report).sort(), [
      'half-deleted media/anna/deleting',
      'missing media/anna/folder',
      'missing media/anna/missing',
      'orphaned',
      'stranger',
      'stranger',
      'wrong-checksum media/anna/flipped',
      'wrong-group media/anna/strange',
      'wrong-size media/anna/short'
    ])
    equal(report.differences, 9)
    equal(report.findings.find(({ kind }) => kind === 'orphaned')!.path, orphan)
    const [summary] = report.stores
    deepEqual([summary!.group, summary!.rows, summary!.files], ['group001', 7, 6])
    equal(summary!.differences['stranger'], 2)
    equal(summary!.journals.damaged, 1)
    ok(existsSync(join(root, orphan)))
    deepEqual(kindsOf(await check(parts, { checksums: true })).sort(), kindsOf(report).sort(), 'and again')
  })

  it('names the stores that have rows and were not looked at, and refuses one store given twice', async t => {
    const parts = await openParts(t)
    const [row] = await stored(parts, 'a')
    const other = '00000000-0000-4000-8000-000000000000'
    await parts.database.files.insert([
      { ...row!, file: 'b', generation: 'ab'.repeat(16), store: other, group: 'group007' }
    ])
    const report = await check(parts)
    deepEqual(report.others, [{ store: other, group: 'group007' }])
    deepEqual(report.findings, [])
    await rejects(check(parts, { stores: [parts.root, parts.root] }), /same store/)
  })

  it('gives no false alarm for uploads and deletes that go on meanwhile', async t => {
    const parts = await openParts(t)
    const { small, deletion, store, database } = parts
    const stop = new AbortController()
    const kinds: string[] = []
    const work = async (name: string): Promise<void> => {
      for (let round = 0; !stop.signal.aborted; round++) {
        const key = keyOf(`${name}-${round}`)
        if (round % 5 === 0) {
          const upload = await LargeUpload.begin(store, database.files, key, CONTENT.byteLength, labels())
          await upload.write(CONTENT)
          await upload.finish()
        } else await small.store(key, CONTENT, labels())
        if (round % 3 !== 0) await deletion.delete(key)
      }
    }
    const workers = ['a', 'b', 'c', 'd'].map(work)
    for (let round = 0; round < 5; round++)
      kinds.push(...kindsOf(await check(parts, { settleMs: SETTLE_MS / 10, checksums: true })))
    stop.abort()
    await Promise.all(workers)
    deepEqual(kinds, [])
    deepEqual(kindsOf(await check(parts, { checksums: true })), [])
  })

  it('waits for what is young, and reports what stays', async t => {
    const parts = await openParts(t)
    const [row] = await stored(parts, 'late')
    const { files } = parts.database
    await files.remove(row!, row!.generation)
    const orphan = await strand(parts.root, 700_000)
    setTimeout(() => void files.insert([row!]), 200)
    const report = await check(parts, { settleMs: 600 })
    deepEqual(
      report.findings.map(({ kind, path }) => `${kind} ${path}`),
      [`orphaned ${orphan}`]
    )
  })

  it('keeps the first thousand findings of very many, and counts and tells all', async t => {
    const parts = await openParts(t)
    for (let id = 700_000; id < 701_200; id++) await strand(parts.root, id)
    let told = 0
    const report = await check(parts, { onFinding: () => void told++ })
    deepEqual([report.findings.length, report.differences, told], [1_000, 1_200, 1_200])
  })
})

describe('fsck --repair', { timeout: 60_000 }, () => {
  it('finishes half-done deletes and moves old orphans to .lost, but only says so in a dry run', async t => {
    const parts = await openParts(t)
    const { root, database } = parts
    const names = Array.from({ length: 10 }, (_, index) => `file-${index}`)
    const [deleting] = await stored(parts, ...names)
    await database.files.markDeleting(deleting!, deleting!.generation)
    const orphan = await strand(root, 700_000)
    const expected = [`delete-finished ${deleting!.path}`, `moved-to-lost ${orphan}`]

    const dry = await check(parts, { repair: { ...REPAIR, dryRun: true } })
    deepEqual(actionsOf(dry), expected)
    ok(existsSync(join(root, orphan)) && existsSync(join(root, deleting!.path)))

    const young = await check(parts, { repair: { ...REPAIR, orphanAgeMs: 3_600_000 } })
    deepEqual(actionsOf(young), expected.slice(0, 1))
    equal(await database.files.find(deleting!), undefined)
    ok(!existsSync(join(root, deleting!.path)))

    const old = await check(parts, { repair: REPAIR })
    deepEqual(actionsOf(old), expected.slice(1))
    deepEqual([old.repairs, old.refused], [1, 0])
    const [day] = (await readdir(join(root, '.lost'))).filter(name => /^\d/.test(name))
    equal(await readFile(join(root, '.lost', day!, orphan.replaceAll('/', '-')), 'utf8'), 'stranded')

    deepEqual(kindsOf(await check(parts)), [])
    const gone: string[] = []
    await readJournals(root, 0, ({ kind, facts }) => void (kind === 'deleted' && gone.push(facts.generation)))
    deepEqual(gone, [deleting!.generation])
  })

  it('leaves an orphan that a journal knows for --rebuild-index, and many orphans where they are', async t => {
    const parts = await openParts(t)
    const rows = await stored(parts, ...Array.from({ length: 10 }, (_, index) => `file-${index}`))
    await parts.database.files.remove(rows[0]!, rows[0]!.generation)
    const report = await check(parts, { repair: REPAIR })
    deepEqual(actionsOf(report), [`refused ${rows[0]!.path}`])
    match(report.done[0]!.detail, /rebuild-index/)
    const orphans = [await strand(parts.root, 700_000), await strand(parts.root, 700_001)]
    const many = await check(parts, { repair: REPAIR })
    deepEqual(actionsOf(many), ['refused '])
    match(many.done[0]!.detail, /too many/)
    for (const path of [rows[0]!.path, ...orphans]) ok(existsSync(join(parts.root, path)))
  })

  it('drops a row only when told, only so many, and only when its file is in no store of the group', async t => {
    const parts = await openParts(t)
    const { root, folder, database, marker } = parts
    const rows = await stored(parts, 'a', 'b', 'kept')
    for (const row of rows.slice(0, 2)) await unlink(join(root, row!.path))
    deepEqual(actionsOf(await check(parts, { repair: REPAIR })), [])

    const few = await check(parts, { repair: { ...REPAIR, dropMissingMax: 1 } })
    match(few.done[0]!.detail, /2 rows have no file, more than the 1/)

    const second = join(folder, 'second')
    const other = await initStore(second, { cluster: marker.cluster, group: marker.group })
    await database.files.insert([
      { ...rows[2]!, file: 'there', generation: 'cd'.repeat(16), store: other.store }
    ])
    const half = await check(parts, { repair: { ...REPAIR, dropMissingMax: 5 } })
    match(half.done[0]!.detail, /all stores of group001/)

    for (const path of [rows[0]!.path, rows[2]!.path]) {
      await mkdir(dirname(join(second, path)), { recursive: true })
      await writeFile(join(second, path), CONTENT)
    }
    const both = await check(parts, {
      stores: [root, second],
      repair: { dryRun: false, orphanAgeMs: 3_600_000, dropMissingMax: 5 }
    })
    deepEqual(actionsOf(both), [`refused ${rows[0]!.path}`, `row-dropped ${rows[1]!.path}`])
    match(both.done[0]!.detail, /second/)
    equal(await database.files.find(rows[1]!), undefined)
    equal((await database.files.find(rows[0]!))!.state, 'stored')

    // A later rebuild does not bring it back.
    const rebuilt = await check(parts, { stores: [root, second], rebuildIndex: true })
    equal(rebuilt.rebuilt!.inserted, 0)
    equal(await database.files.find(rows[1]!), undefined)
  })

  it('does nothing in a store whose marker is gone, or that is swept at this moment', async t => {
    const parts = await openParts(t)
    await stored(parts, ...Array.from({ length: 10 }, (_, index) => `file-${index}`))
    const orphan = await strand(parts.root, 700_000)
    await parts.database.leases.take(`sweep ${parts.marker.store}`, 'member9.0', 60_000)
    const report = await check(parts, { repair: REPAIR })
    match(report.done[0]!.detail, /sweeps/)
    ok(existsSync(join(parts.root, orphan)))
    await unlink(join(parts.root, '.tributary-store'))
    await rejects(check(parts, { repair: REPAIR }), { code: 'ENOENT' })
  })
})

describe('rebuilding the index of several stores', () => {
  it('frees a name in one before it enters what took it in another', async t => {
    const parts = await openParts(t)
    const { folder, root, marker } = parts
    const second = join(folder, 'second')
    const other = await initStore(second, { cluster: marker.cluster, group: marker.group })
    const [renewed] = await stored(parts, 'a')
    const old = { ...renewed!, generation: 'ab'.repeat(16), store: other.store }
    await mkdir(join(second, '.journal', 'member1.0'), { recursive: true })
    const deleted = encodeRecord('deleted', factsOf(old, Date.now()))
    await writeFile(join(second, '.journal', 'member1.0', '2026-01-01.log'), deleted)
    const url = `sqlite:${join(folder, 'index.db')}`
    const stores = [root, second]
    // The index as an older backup has it.
    const database = await openDatabase(url)
    t.after(() => database.close())
    await database.files.remove(renewed!, renewed!.generation)
    await database.files.insert([old])
    const report = await runFsck({ stores, database: url, rebuildIndex: true })
    deepEqual([report.rebuilt!.removed, report.rebuilt!.inserted, report.rebuilt!.conflicts], [1, 1, 0])
    equal((await database.files.find(keyOf('a')))!.generation, renewed!.generation)
  })
})
