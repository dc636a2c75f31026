// One installation at a time: two first starts must not write into one node_modules.
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { rmSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { CACHE_DIR, SetupError } from './repository.mjs'

const LOCK_DIR = join(CACHE_DIR, 'install.lock')
/** An installation on a slow line takes minutes; who waits longer than this should look at why. */
const WAIT_MS_MAX = 15 * 60_000
const POLL_MS = 250
/** Between making the folder and writing its owner there are microseconds; an ownerless one this old is a leftover. */
const OWNERLESS_MS_MAX = 10_000

/**
 * Runs `work` while no other process on this machine does. The lock is a folder (mkdir is atomic) that names its
 * owner; a folder whose owner is dead is a leftover and is taken over.
 *
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 * @throws {SetupError} another process held the lock for too long
 */
export async function withInstallLock(work, { lockDir = LOCK_DIR, waitMsMax = WAIT_MS_MAX } = {}) {
  const token = await acquire(lockDir, waitMsMax)
  const release = () => rmSync(lockDir, { recursive: true, force: true })
  process.once('exit', release) // a process.exit() in mid-work must not leave it either
  try {
    return await work(token)
  } finally {
    process.off('exit', release)
    release()
  }
}

async function acquire(lockDir, waitMsMax) {
  const token = randomUUID()
  const deadlineMs = performance.now() + waitMsMax
  let told = false
  await mkdir(join(lockDir, '..'), { recursive: true })
  for (;;) {
    try {
      await mkdir(lockDir)
      await writeFile(
        join(lockDir, 'owner.json'),
        JSON.stringify({ token, pid: process.pid, host: hostname() })
      )
      return token
    } catch (error) {
      if (error.code !== 'EEXIST' && error.code !== 'ENOENT') throw error
    }
    const seen = await look(lockDir)
    if (seen.abandoned) {
      await removeLeftover(lockDir, seen.token)
      continue
    }
    if (performance.now() > deadlineMs) {
      throw new SetupError(
        `Another installation (process ${seen.pid ?? 'unknown'}) is still running; if it is not, remove ${lockDir}.`
      )
    }
    if (!told) process.stderr.write('Another start is installing; waiting for it …\n')
    told = true
    await sleep(POLL_MS)
  }
}

async function look(lockDir) {
  try {
    const owner = JSON.parse(await readFile(join(lockDir, 'owner.json'), 'utf8'))
    return { ...owner, abandoned: owner.host === hostname() && !isAlive(owner.pid) }
  } catch {
    // no owner yet, a half-written one, or the lock has just gone: its age decides
    const made = await stat(lockDir).catch(() => undefined)
    return { token: undefined, abandoned: made !== undefined && Date.now() - made.mtimeMs > OWNERLESS_MS_MAX }
  }
}

/** Moved aside before it is removed: two who see the same leftover must not remove the lock one of them then makes. */
async function removeLeftover(lockDir, tokenSeen) {
  const aside = `${lockDir}.${randomUUID()}`
  try {
    await rename(lockDir, aside)
  } catch (error) {
    if (error.code === 'ENOENT') return
    throw error
  }
  const moved = await look(aside)
  if (moved.token !== tokenSeen) {
    await rename(aside, lockDir).catch(() => rm(aside, { recursive: true, force: true }))
    return
  }
  await rm(aside, { recursive: true, force: true })
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}
