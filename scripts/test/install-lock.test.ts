import { deepEqual, equal, rejects } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { withInstallLock } from '../install-lock.mjs'

async function scratch(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'tributary-lock-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  return dir
}

/** Notes `in` and `out` around its work, so that overlaps show. */
const WORKER = `
  import { appendFile } from 'node:fs/promises'
  import { setTimeout as sleep } from 'node:timers/promises'
  const [, module, lockDir, log] = process.argv
  const { withInstallLock } = await import(module)
  await withInstallLock(async () => {
    await appendFile(log, 'in\\n')
    await sleep(30)
    await appendFile(log, 'out\\n')
  }, { lockDir })`

describe('installing', { timeout: 60_000 }, () => {
  it('is done by one process at a time, even where a dead one left its lock', async t => {
    const dir = await scratch(t)
    const [lockDir, log] = [join(dir, 'install.lock'), join(dir, 'log')]
    const dead = spawn(process.execPath, ['--version'], { stdio: 'ignore' })
    await once(dead, 'exit')
    await mkdir(lockDir)
    const owner = { token: 'left behind', pid: dead.pid, host: hostname() }
    await writeFile(join(lockDir, 'owner.json'), JSON.stringify(owner))

    const module = new URL('../install-lock.mjs', import.meta.url).href
    const args = ['--input-type=module', '--eval', WORKER, module, lockDir, log]
    const workers = Array.from({ length: 6 }, () => spawn(process.execPath, args, { stdio: 'ignore' }))
    const ends = await Promise.all(workers.map(worker => once(worker, 'exit')))

    deepEqual(
      ends.map(([code]) => code),
      [0, 0, 0, 0, 0, 0]
    )
    equal(await readFile(log, 'utf8'), 'in\nout\n'.repeat(6))
    await rejects(stat(lockDir), { code: 'ENOENT' })
  })

  it('says who holds the lock when it has waited long enough', async t => {
    const lockDir = join(await scratch(t), 'install.lock')
    await withInstallLock(
      () =>
        rejects(
          withInstallLock(async () => {}, { lockDir, waitMsMax: 300 }),
          { message: new RegExp(`process ${process.pid}`) }
        ),
      { lockDir }
    )
  })

  it('gives the lock back when the work fails', async t => {
    const lockDir = join(await scratch(t), 'install.lock')
    await rejects(
      withInstallLock(() => Promise.reject(new Error('disk full')), { lockDir }),
      /disk full/
    )
    await rejects(stat(lockDir), { code: 'ENOENT' })
  })
})
