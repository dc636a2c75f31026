/**
 * Directories in a store. Where a volume is not mounted, its mount point is an empty folder of another disk, and
 * nothing may be made there: whatever is made directly in the root is made only beside the marker. Both go through one
 * descriptor of the root, so that an unmount in between changes nothing.
 */
import { closeSync, constants, fsyncSync, mkdirSync, openSync, statSync } from 'node:fs'
import { mkdir, open, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { MARKER_NAME } from './store-marker.ts'

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY

/**
 * Makes `directory` (relative in the store) and what is missing above it, for local volumes.
 *
 * @throws ENOENT: `root` is no store, or not mounted.
 */
export function makeStoreDirectorySync(root: string, directory: string): void {
  const isTop = dirname(directory) === '.'
  for (let tried = 0; ; tried++) {
    try {
      if (isTop) makeBesideMarkerSync(root, directory)
      else mkdirSync(join(root, directory))
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
  for (let tried = 0; ; tried++) {
    try {
      if (isTop) await makeBesideMarker(root, directory)
      else await mkdir(join(root, directory))
      return
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'EEXIST') return
      if (code !== 'ENOENT' || isTop || tried > 0) throw error
      await makeStoreDirectory(root, dirname(directory))
    }
  }
}

function makeBesideMarkerSync(root: string, name: string): void {
  const fd = openSync(root, DIRECTORY)
  try {
    statSync(join(viaDescriptor(fd), MARKER_NAME))
    mkdirSync(join(viaDescriptor(fd), name))
  } finally {
    closeSync(fd)
  }
}

async function makeBesideMarker(root: string, name: string): Promise<void> {
  const handle = await open(root, DIRECTORY)
  try {
    await stat(join(viaDescriptor(handle.fd), MARKER_NAME))
    await mkdir(join(viaDescriptor(handle.fd), name))
  } finally {
    await handle.close()
  }
}

/** A path that stays on the file system that the descriptor is of, whatever is mounted or unmounted meanwhile. */
function viaDescriptor(fd: number): string {
  return `/proc/self/fd/${fd}`
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
