/**
 * One `up` per data folder. The lock is a file that names its holder; a holder that is gone is noticed, also when its
 * process number was given to another process since.
 */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const LOCK_NAME = 'up.lock'
/** Takeovers of a lock that changes under our eyes. */
const TRIES_MAX = 5

interface Holder {
  pid: number
  /** Tells this process from a later one of the same number; '' where the system does not say. */
  birth: string
}

export class LockedError extends Error {
  override readonly name = 'LockedError'
}

export interface DataLock {
  /** The last holder died without giving it back: its children may be ending still. */
  tookOver: boolean
  release(): void
}

/**
 * @param isAlive Whether a process of that number exists.
 * @throws {LockedError} a living process holds it.
 */
export function takeDataLock(folder: string, pid: number, isAlive: (pid: number) => boolean): DataLock {
  const path = join(folder, LOCK_NAME)
  const own = `${path}.${pid}`
  const text = JSON.stringify({ pid, birth: birthOf(pid) } satisfies Holder)
  writeFileSync(own, text)
  let tookOver = false
  try {
    for (let tried = 0; tried < TRIES_MAX; tried++) {
      try {
        linkSync(own, path) // whole or not at all, and never over another one's
        return { tookOver, release: () => release(path, text) }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      const found = read(path)
      if (found === undefined) continue
      const holder = holderOf(found)
      if (holder && isAlive(holder.pid) && (holder.birth === '' || birthOf(holder.pid) === holder.birth)) {
        throw new LockedError(
          `another 'tributary up' (process ${holder.pid}) is using ${folder}: stop it first, or choose another folder with --data`
        )
      }
      takeAway(path, `${own}.stale`, found)
      tookOver = true
    }
    throw new LockedError(`the lock ${path} keeps changing: are several starting at once?`)
  } finally {
    rmSync(own, { force: true })
  }
}

/** Moves the dead holder's lock away. If another starter was faster, what was moved is its lock: it goes back. */
function takeAway(path: string, aside: string, expected: string): void {
  try {
    renameSync(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  try {
    if (read(aside) !== expected) linkSync(aside, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    rmSync(aside, { force: true })
  }
}

function release(path: string, text: string): void {
  if (read(path) === text) rmSync(path, { force: true })
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function holderOf(text: string): Holder | undefined {
  try {
    const { pid, birth } = JSON.parse(text) as Partial<Holder>
    return typeof pid === 'number' && typeof birth === 'string' ? { pid, birth } : undefined
  } catch {
    return undefined // cut short by a crash: nobody's
  }
}

/** Boot and start time of a process, from Linux's /proc; '' elsewhere. */
function birthOf(pid: number): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    const status = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field, the name, may hold spaces and brackets; the 22nd of all is the start time.
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ')
    return `${boot}/${fields[19]}`
  } catch {
    return ''
  }
}
