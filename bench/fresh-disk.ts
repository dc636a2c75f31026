/**
 * A file system of the run's own, where root can have one: ext4 in an image file beside the sources, mounted in a
 * mount namespace that ends with the run, however that ends. What was created and deleted on the machine's disk
 * before (ext4 avoids lately freed inodes for minutes, searching ever longer) no longer shows in the figures.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { programPath } from '../test/testkit/service.ts'

const execute = promisify(execFile)
const IMAGE_BYTES = 24 * 1024 ** 3
/** All runs of a fast machine store some two million files of 4 KiB. */
const BYTES_PER_INODE = 8_192
const INSIDE = 'TRIBUTARY_BENCH_DISK'
const PROGRAMS = ['unshare', 'mount', 'losetup', 'mkfs.ext4']

export interface Disk {
  folder: string
  description: string
}

/**
 * The place for everything that is stored. Returns only in the process that measures; the one outside waits for it
 * and ends with its exit code.
 *
 * @param parent Where the image, or the folder without one, is made.
 */
export async function takeDisk(parent: string, args: readonly string[]): Promise<Disk> {
  const inside = process.env[INSIDE]
  if (inside !== undefined) return mountImage(inside)
  await mkdir(parent, { recursive: true })
  const folder = await mkdtemp(join(parent, 'bench-'))
  const isPossible = process.getuid?.() === 0 && PROGRAMS.every(name => programPath(name) !== undefined)
  if (!isPossible) return { folder, description: 'on the file system of the checkout' }
  const child = spawn('unshare', ['-m', process.execPath, ...process.execArgv, ...args], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: folder }
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  const [code] = (await once(child, 'exit')) as [number | null]
  await rm(folder, { recursive: true, force: true })
  process.exit(code ?? 1)
}

async function mountImage(folder: string): Promise<Disk> {
  const image = join(folder, 'image')
  const mounted = join(folder, 'disk')
  await mkdir(mounted)
  await writeFile(image, '')
  await truncate(image, IMAGE_BYTES)
  await execute('mkfs.ext4', [
    '-q',
    '-F',
    '-I',
    '128',
    '-i',
    String(BYTES_PER_INODE),
    '-E',
    'lazy_itable_init=0,lazy_journal_init=0',
    image
  ])
  await execute('mount', ['-o', 'loop', image, mounted])
  const { stdout } = await execute('losetup', ['-j', image, '-n', '-O', 'NAME'])
  // Without this every page would be cached twice; not every file system can do it.
  await execute('losetup', ['--direct-io=on', stdout.trim()]).catch(() => {})
  await unlink(image) // the mount holds it: its blocks are free when the run has ended
  return { folder: mounted, description: 'on a fresh ext4 in an image file' }
}
