/** File systems that a test makes for itself, and takes away again however it ends. Root only. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, open, rm } from 'node:fs/promises'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'
import { cleanUp } from './cleanup.ts'
import { missingPrograms } from '../testkit/service.ts'

export const execute = promisify(execFile)

/** Why mounts cannot be tested here, if so. @throws where nothing may be skipped. */
export function noMounts(programs: readonly string[] = []): string | undefined {
  const missing = missingPrograms(['mount', 'umount', ...programs])
  if (missing !== undefined) return missing
  const reason =
    process.getuid?.() !== 0
      ? 'mounting needs root'
      : programs.includes('losetup') && !existsSync('/dev/loop-control')
        ? 'there are no loop devices here'
        : programs.includes('bindfs') && !existsSync('/dev/fuse')
          ? 'there is no FUSE here'
          : undefined
  if (reason !== undefined && (process.env['CI'] || process.env['TRIBUTARY_NO_SKIP'])) throw new Error(reason)
  return reason
}

export async function mountTmpfs(t: TestContext, folder: string, size: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await execute('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder])
  cleanUp(t, () => unmount(folder))
}

/** An ext4 of its own in a file that is as large. */
export async function makeImage(image: string, bytes: number): Promise<void> {
  const file = await open(image, 'w')
  await file.truncate(bytes)
  await file.close()
  await execute('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image])
}

/** `commit=300`: nothing reaches the disk by the clock, only what a program syncs. */
export async function mountImage(t: TestContext, image: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await execute('mount', ['-o', 'loop,commit=300,noatime', image, folder])
  cleanUp(t, () => unmount(folder))
}

/** Also one that is in use, or whose server is gone. */
export async function unmount(folder: string, removes = true): Promise<void> {
  await execute('umount', ['-l', folder]).catch(() => {}) // not mounted any more
  if (removes) await rm(folder, { recursive: true, force: true }).catch(() => {})
}
