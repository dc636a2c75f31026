/** Disks of the lab's hosts: a file with a file system in it, mounted by a loop device that goes with its mount. */
import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { mkdir, truncate, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)
/** A host that died lets go of its disk when the kernel has taken its mounts away, which lasts a moment. */
const RELEASE_TRIES = 100
const RELEASE_POLL_S = '0.1'

/** @param sizeBytes as the host sees it; what is never written takes no space of the machine */
export async function makeDisk(path: string, sizeBytes: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, '')
  await truncate(path, sizeBytes)
  await execute('mkfs.ext4', ['-q', '-F', '-m', '0', '-E', 'lazy_itable_init=1,lazy_journal_init=1', path])
}

/** Within a host's mount namespace. @throws it is still mounted elsewhere: twice would destroy it */
export function mountDisk(path: string, target: string): void {
  for (let tries = 0; execFileSync('losetup', ['-j', path], { encoding: 'utf8' }).trim() !== ''; tries++) {
    if (tries === RELEASE_TRIES) throw new Error(`${path} is still mounted`)
    execFileSync('sleep', [RELEASE_POLL_S])
  }
  mkdirSync(target, { recursive: true })
  execFileSync('mount', ['-o', 'loop', path, target], { stdio: ['ignore', 'ignore', 'pipe'] })
}
