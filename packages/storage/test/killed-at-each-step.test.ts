/** A storage server is killed before each of its calls on disk, journal and index in turn: every promise is kept, and all goes on. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { openDatabase, type FileRow } from '@tributary/database'
import { runFsck } from '../src/fsck.ts'
import { brokenPromises, openLife, STEPS } from './film-life.ts'
import { temporaryFolder } from './parts.ts'

const CHILD = fileURLToPath(new URL('./film-life-child.ts', import.meta.url))
/** More calls than a life has. */
const CALLS_MAX = 400
/** Only each n-th call: all of them (1) take four minutes. */
const EVERY = Number(process.env['TRIBUTARY_FAULT_EVERY'] ?? 6)
const AT_A_TIME = 2

async function live(folder: string, killedAt: number): Promise<{ steps: number; isKilled: boolean }> {
  const child = spawn(process.execPath, [...process.execArgv, CHILD, folder, String(killedAt)], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const out = text(child.stdout)
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
  ok(code === 0 || signal === 'SIGKILL', `the child ended with ${code ?? signal}`)
  return { steps: (await out).length, isKilled: signal === 'SIGKILL' }
}

async function rowsOf(url: string, store: string): Promise<FileRow[]> {
  const database = await openDatabase(url)
  try {
    return await database.files.listStore({ store, limit: 100 })
  } finally {
    await database.close()
  }
}

describe('killed before any of its calls, a storage server', { timeout: 600_000 }, () => {
  /** @returns whether it was killed at all */
  const goesOnAfter = async (t: TestContext, killedAt: number): Promise<boolean> => {
    const folder = await temporaryFolder(t)
    const ends: (() => unknown)[] = []
    try {
      const { steps, isKilled } = await live(folder, killedAt)
      const where = `killed at call ${killedAt}, at ${STEPS[steps]?.name}`
      const life = await openLife({ after: end => void ends.push(end as () => unknown) }, folder)
      deepEqual(await brokenPromises(life, steps), [], where)
      await life.deletion.finishAll(life.store)
      const url = `sqlite:${join(folder, 'index.db')}`
      const checked = await runFsck({ stores: [life.root], database: url, checksums: true, settleMs: 0 })
      deepEqual(checked.findings, [], where)
      for (let step = steps; step < STEPS.length; step++) {
        await STEPS[step]!.run(life)
        deepEqual(await brokenPromises(life, step + 1), [], `${where}, after ${STEPS[step]!.name}`)
        // What the index says at any time is what the journals make of it.
        if (step < STEPS.length - 1 && step > steps) continue
        const other = `sqlite:${join(folder, `other-${step}.db`)}`
        const rebuilt = await runFsck({ stores: [life.root], database: other, rebuildIndex: true })
        deepEqual(rebuilt.findings, [], where)
        const typeless = (rows: FileRow[]): FileRow[] => rows.map(row => ({ ...row, mediaType: '' }))
        deepEqual(
          typeless(await rowsOf(other, life.store.uuid)),
          typeless(await rowsOf(url, life.store.uuid)),
          `${where}, after ${STEPS[step]!.name}`
        )
      }
      await life.uploads.sweep(life.store, Date.now() + 86_400_000)
      deepEqual(await readdir(join(life.root, '.parts')), [], where)
      return isKilled
    } finally {
      for (const end of ends.reverse()) await end()
      await rm(folder, { recursive: true, force: true })
    }
  }

  it('keeps what it promised, and goes on where it was', async t => {
    let next = 1
    let end = CALLS_MAX
    let kills = 0
    const run = async (): Promise<void> => {
      while (next < end) {
        const at = next
        next += EVERY
        if (await goesOnAfter(t, at)) kills++
        else end = Math.min(end, at)
      }
    }
    await Promise.all(Array.from({ length: AT_A_TIME }, run))
    t.diagnostic(`${kills} kills`)
    ok(kills > 10)
    equal(end < CALLS_MAX, true, 'the life came to its end')
  })
})
