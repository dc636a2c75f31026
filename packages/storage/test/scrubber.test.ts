/** The slow reading of all files: it finds damage, accuses nobody wrongly, and goes on where it stood. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { readFile, rename, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { Database } from '@tributary/database'
import { silentLog } from '@tributary/runtime'
import { Scrubber, type ScrubOptions } from '../src/scrubber.ts'
import { readScrubState, writeScrubState } from '../src/scrub-state.ts'
import { MARKER_NAME } from '../src/store-marker.ts'
import { keyOf, labels, openParts, type Parts } from './parts.ts'

const CONTENT = Buffer.from('the whole film')
const FAST = { bytesPerS: 1e9, intervalMs: 0, youngMs: 0 }

function scrubberOf({ database }: Parts, options: Partial<ScrubOptions> = {}): Scrubber {
  return new Scrubber(database, silentLog(), { ...FAST, ...options })
}

async function flip(path: string): Promise<void> {
  const bytes = await readFile(path)
  bytes[5]! ^= 1
  await writeFile(path, bytes)
}

const store = (parts: Parts, ...files: string[]) =>
  Promise.all(files.map(file => parts.small.store(keyOf(file), CONTENT, labels())))

describe('the scrub', { timeout: 60_000 }, () => {
  it('finds a flipped byte, a cut file and a missing one, and forgets them when they are well again', async t => {
    const parts = await openParts(t)
    const [flipped, cut, missing] = await store(parts, 'flipped', 'cut', 'missing', 'good')
    const paths = [flipped, cut, missing].map(row => join(parts.root, row!.path))
    const aside = `${paths[2]}.aside`
    await flip(paths[0]!)
    await truncate(paths[1]!, 3)
    await rename(paths[2]!, aside)
    const scrubber = scrubberOf(parts)
    equal(await scrubber.round(parts.store), true)
    const { findings, last } = await readScrubState(parts.root)
    deepEqual(findings.map(({ kind, file }) => `${kind} ${file}`).sort(), [
      'missing media/anna/missing',
      'wrong-checksum media/anna/flipped',
      'wrong-size media/anna/cut'
    ])
    equal(last!.files, 4)
    const [report] = scrubber.reports()
    deepEqual([report!.damaged, report!.missing, report!.files], [2, 1, 4])
    match(report!.text, /2 damaged, 1 missing: .* media\/anna\/.* at 000\//)

    await flip(paths[0]!)
    await rename(aside, paths[2]!)
    await parts.deletion.delete(keyOf('cut'))
    equal(await scrubber.round(parts.store), true)
    deepEqual((await readScrubState(parts.root)).findings, [])
    equal(scrubber.reports()[0]!.text, '')
  })

  it('reads what lies in the trash as well: it may be had back', async t => {
    const parts = await openParts(t)
    const { files } = parts.database
    const rows = await store(parts, 'flipped', 'good')
    for (const row of rows) await files.setTrashed(row, row.generation, row.store, Date.now() + 60_000)
    await flip(join(parts.root, rows[0]!.path))
    const scrubber = scrubberOf(parts)
    equal(await scrubber.round(parts.store), true)
    const { findings, last } = await readScrubState(parts.root)
    equal(last!.files, 2)
    deepEqual(
      findings.map(({ kind, file }) => `${kind} ${file}`),
      ['wrong-checksum media/anna/flipped']
    )
    match(findings[0]!.detail, /, in the trash$/)
    // It is out of the trash, and well.
    await files.setTrashed(rows[0]!, rows[0]!.generation, rows[0]!.store, 0)
    await flip(join(parts.root, rows[0]!.path))
    equal(await scrubber.round(parts.store), true)
    deepEqual((await readScrubState(parts.root)).findings, [])
  })

  it('accuses nobody of a file that is deleted while it is read, or that was read wrongly once', async t => {
    const parts = await openParts(t)
    const [gone, shaky] = await store(parts, 'gone', 'shaky')
    for (const row of [gone, shaky]) await flip(join(parts.root, row!.path))
    const { files } = parts.database
    // The rows are looked at again when the first reading differed.
    const watched = Object.assign(Object.create(parts.database) as Database, {
      files: Object.assign(Object.create(files) as typeof files, {
        list: files.list.bind(files),
        listStore: files.listStore.bind(files),
        findPaths: async (of: string, paths: readonly string[]) => {
          if (paths[0] === gone!.path) await parts.deletion.delete(keyOf('gone')).catch(() => {})
          if (paths[0] === shaky!.path) await flip(join(parts.root, shaky!.path)).catch(() => {})
          return files.findPaths(of, paths)
        }
      })
    })
    const scrubber = new Scrubber(watched, silentLog(), FAST)
    equal(await scrubber.round(parts.store), true)
    deepEqual((await readScrubState(parts.root)).findings, [])
  })

  it('is one member’s at a time, waits until a round is due, and leaves the next to another', async t => {
    const parts = await openParts(t)
    await store(parts, 'a')
    const lease = `scrub ${parts.marker.store}`
    await parts.database.leases.take(lease, 'member9.0', 60_000)
    equal(await scrubberOf(parts).round(parts.store), false)
    await parts.database.leases.release(lease, 'member9.0')
    const weekly = scrubberOf(parts, { intervalMs: 604_800_000 })
    equal(await weekly.round(parts.store), true)
    equal(await weekly.round(parts.store), false)
    const state = await readScrubState(parts.root)
    state.last!.endedAtMs -= 604_800_000
    state.turns['member1.0'] = Date.now()
    state.turns['member2.0'] = Date.now() - 604_800_000
    await writeScrubState(parts.root, state)
    equal(await weekly.round(parts.store), false, 'member 2 has been idle for longer')
    state.last!.endedAtMs -= 601_000
    await writeScrubState(parts.root, state)
    equal(await weekly.round(parts.store), true, 'and did not come')
  })

  it('goes on where it stood, by whichever member, and is held back to its rate', async t => {
    const parts = await openParts(t)
    await store(parts, ...Array.from({ length: 20 }, (_, index) => `file-${index}`))
    const slow = scrubberOf(parts, { bytesPerS: 640 * 1024 }) // ten files a second
    slow.add(parts.store)
    const startMs = performance.now()
    while ((slow.reports()[0]?.files ?? 0) < 5) await new Promise(resolve => setTimeout(resolve, 10))
    ok(performance.now() - startMs > 350, 'not faster than its rate')
    await slow.stop()
    const { round, last } = await readScrubState(parts.root)
    equal(last, undefined)
    ok(round!.files >= 5 && round!.files < 20)
    const other = await openParts(t, { folder: parts.folder, member: 'member2.0' })
    const next = scrubberOf(other)
    equal(await next.round(other.store), true)
    equal(next.reports()[0]!.files, 20 - round!.files)
    equal((await readScrubState(parts.root)).last!.files, 20)
  })

  it('says nothing of files when the store is not there, or its state is damaged', async t => {
    const parts = await openParts(t)
    const [row] = await store(parts, 'a')
    await rename(join(parts.root, MARKER_NAME), join(parts.root, 'aside'))
    await rename(join(parts.root, row!.path), join(parts.root, 'file'))
    await rejects(scrubberOf(parts).round(parts.store), /is not a store|no such file/)
    await rename(join(parts.root, 'aside'), join(parts.root, MARKER_NAME))
    await rename(join(parts.root, 'file'), join(parts.root, row!.path))
    await scrubberOf(parts).round(parts.store)
    for (const text of ['{"format":1,', '{"format":9}', '']) {
      await writeFile(join(parts.root, '.scrub/state.json'), text)
      equal(await scrubberOf(parts).round(parts.store), true)
    }
    await unlink(join(parts.root, '.scrub/state.json'))
    equal((await readScrubState(parts.root)).last, undefined)
  })
})
