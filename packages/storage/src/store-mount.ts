/**
 * The mount that a store path is on, by what the kernel says of it. Asking touches no file system but /proc, so that it
 * cannot hang, and it tells an unmounted mount point from a volume even where both look like a store.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** In the configuration: this store path may be on any file system. */
export const ANY_MOUNT = 'any'
const MOUNT_TABLE = '/proc/self/mountinfo'

export interface Mount {
  /** Of the kernel; the next mount at the same place has another. */
  id: string
  parent: string
  point: string
  /** As in /proc/mounts: ext4, xfs, nfs4, fuse.glusterfs … */
  type: string
  /** What is mounted: a device, or `host:/volume`. */
  source: string
}

/** The path is not on the kind of mount that the configuration demands. */
export class StoreMountError extends Error {
  override readonly name = 'StoreMountError'
}

/**
 * The mount that `path` is on, if one walks there now: mounts may lie on top of each other, and beneath others.
 *
 * @param path Absolute, without symbolic links.
 * @param table Text as in /proc/self/mountinfo.
 */
export function mountOf(path: string, table = readFileSync(MOUNT_TABLE, 'utf8')): Mount {
  const mounts = table.split('\n').filter(Boolean).map(parseMount)
  const ids = new Set(mounts.map(({ id }) => id))
  let current = mounts.find(({ point, parent }) => point === '/' && !ids.has(parent)) ?? mounts[0]!
  let prefix = '/'
  for (const name of ['', ...path.split('/').filter(Boolean)]) {
    prefix = join(prefix, name)
    for (;;) {
      const above = mounts.find(({ id, parent, point }) => {
        return parent === current.id && point === prefix && id !== current.id
      })
      if (!above) break
      current = above
    }
  }
  return current
}

/**
 * @param demanded A type of mount, or ANY_MOUNT.
 * @throws {StoreMountError} `path` is on another kind of mount, or on the root's.
 */
export function checkMount(path: string, demanded: string, table?: string): void {
  if (demanded === ANY_MOUNT) return
  const { type, point } = mountOf(path, table)
  if (type === demanded && point !== '/') return
  throw new StoreMountError(
    `${path} must be on a mount of type ${demanded}, and is on ${type} at ${point}: its volume is not mounted`
  )
}

/** `36 35 98:0 / /mnt rw,noatime shared:1 - ext4 /dev/root rw`; the fields before the dash vary in number. */
function parseMount(line: string): Mount {
  const dash = line.indexOf(' - ')
  const [id = '', parent = '', , , point = ''] = line.slice(0, dash).split(' ')
  const [type = '', source = ''] = line.slice(dash + 3).split(' ')
  return { id, parent, point: unescape(point), type, source: unescape(source) }
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
