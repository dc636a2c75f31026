/** A film's life on a disk that is full, or can only be read: refused in words, nothing is lost, and it goes on afterwards. */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { openDatabase } from '@tributary/database'
import { TributaryError } from '@tributary/protocol'
import { cleanUp } from '../../../test/faults/cleanup.ts'
import { execute, mountTmpfs, noMounts } from '../../../test/faults/mounts.ts'
import { runFsck } from '../src/fsck.ts'
import { brokenPromises, openLife, STEPS, type Life } from './film-life.ts'
import { keyOf, labels } from './parts.ts'

const DISK = '64m'
/** In words, and of a kind that tells the client to come again. */
const REFUSED = new Set(['NO_SPACE', 'STORE_UNAVAILABLE', 'OUTCOME_UNKNOWN'])

async function onItsOwnDisk(t: TestContext): Promise<Life> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-disk-'))
  cleanUp(t, () => rm(folder, { recursive: true, force: true }))
  await mountTmpfs(t, join(folder, 'store'), DISK)
  return openLife({ after: end => cleanUp(t, end as () => unknown) }, folder)
}

const indexOf = (step: string): number => STEPS.findIndex(({ name }) => name === step)

async function liveUntil(life: Life, step: string, from = 0): Promise<void> {
  for (const { run } of STEPS.slice(from, indexOf(step))) await run(life)
}

/** To its last byte. */
async function fill(root: string): Promise<() => Promise<void>> {
  const junk = join(root, 'junk')
  await rejects(writeFile(junk, Buffer.alloc(64 * 1024 * 1024)), { code: 'ENOSPC' })
  equal((await statfs(root)).bavail, 0)
  return () => rm(junk)
}

async function rebuiltState(life: Life, name: string): Promise<string | undefined> {
  const url = `sqlite:${join(life.folder, `other-${name}.db`)}`
  const report = await runFsck({ stores: [life.root], database: url, rebuildIndex: true })
  deepEqual(report.findings, [])
  const database = await openDatabase(url)
  try {
    return (await database.files.find(keyOf('film')))?.state
  } finally {
    await database.close()
  }
}

describe('a film on a disk in trouble', { skip: noMounts() ?? false, timeout: 120_000 }, () => {
  const troubles = {
    'that is full': fill,
    'that can only be read': async (root: string) => {
      // On top of it, as a file system with files open for writing cannot be made so: what is open stays as it is.
      await execute('mount', ['--bind', root, root])
      await execute('mount', ['-o', 'remount,bind,ro', root])
      return async () => void (await execute('umount', [root]))
    }
  }
  for (const [what, begin] of Object.entries(troubles)) {
    for (const { name: step } of STEPS) {
      it(`${what}: ${step} is done or refused in words, and is done when all is well again`, async t => {
        const life = await onItsOwnDisk(t)
        await liveUntil(life, step)
        const end = await begin(life.root)
        try {
          await STEPS[indexOf(step)]!.run(life).catch((error: unknown) => {
            ok(error instanceof TributaryError && REFUSED.has(error.code), String(error))
          })
          deepEqual(await brokenPromises(life, indexOf(step)), [])
        } finally {
          await end()
        }
        // As housekeeping does, every second.
        await life.store.measure()
        await life.deletion.finishAll(life.store)
        for (let at = indexOf(step); at < STEPS.length; at++) {
          await STEPS[at]!.run(life)
          deepEqual(await brokenPromises(life, at + 1), [], STEPS[at]!.name)
        }
        const database = `sqlite:${join(life.folder, 'index.db')}`
        const { findings } = await runFsck({ stores: [life.root], database, checksums: true, settleMs: 0 })
        deepEqual(findings, [])
        equal(await rebuiltState(life, 'end'), undefined)
      })
    }
  }

  it('that is full: any number of deletes goes through, and makes room', async t => {
    const life = await onItsOwnDisk(t)
    const names = Array.from({ length: 40 }, (_, at) => `small-${at}`)
    for (const name of names) await life.small.store(keyOf(name), Buffer.alloc(5_000, name), labels())
    const end = await fill(life.root)
    for (const name of names) await life.deletion.delete(keyOf(name))
    await end()
    const database = `sqlite:${join(life.folder, 'other.db')}`
    const { rebuilt } = await runFsck({ stores: [life.root], database, rebuildIndex: true })
    equal(rebuilt!.inserted, 0)
  })
})
