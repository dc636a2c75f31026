/**
 * Directories in a store. Where a volume is not mounted, its mount point is an empty folder of another disk, and
 * nothing may be made there: whatever is made directly in the root is made only beside the marker.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, statSync } from 'node:fs'
import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { MARKER_NAME } from './store-marker.ts'

/**
 * Makes `directory` (relative in the store) and what is missing above it, for local volumes.
 *
 * @throws ENOENT: `root` is no store, or not mounted.
 */
export function makeStoreDirectorySync(root: string, directory: string): void {
  const isTop = dirname(directory) === '.'
  if (isTop) statSync(join(root, MARKER_NAME))
  for (let tried = 0; ; tried++) {
    try {
      mkdirSync(join(root, directory))
      return
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'EEXIST') return
      if (code !== 'ENOENT' || isTop || tried > 0) throw error
      makeStoreDirectorySync(root, dirname(directory))
    }
  }
}

/** The same without waiting in this thread. */
export async function makeStoreDirectory(root: string, directory: string): Promise<void> {
  const isTop = dirname(directory) === '.'
  if (isTop) await stat(join(root, MARKER_NAME))
  for (let tried = 0; ; tried++) {
    try {
      await mkdir(join(root, directory))
      return
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'EEXIST') return
      if (code !== 'ENOENT' || isTop || tried > 0) throw error
      await makeStoreDirectory(root, dirname(directory))
    }
  }
}

/** Makes the names in `directory` durable, and those of every directory above it in the store. Waits for the disk. */
export function syncStoreDirectoriesSync(root: string, directory: string): void {
  let path = directory
  for (;;) {
    const fd = openSync(join(root, path), 'r')
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    if (path === '.') return
    path = dirname(path)
  }
}
