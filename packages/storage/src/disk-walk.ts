/** All files of a store in byte order of their paths, as the index lists them: both can be compared in one pass. */
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { idOfStorePath } from './store-path.ts'

export interface DiskFile {
  /** Relative in the store. */
  path: string
  sizeBytes: number
  modifiedMs: number
}

const DIGIT = /^[0-9A-F]{3}$/

/**
 * Walks a store. Names that are no places of files, and places that hold something else than a file, are given to
 * `onStranger` and passed over.
 *
 * A file that goes away in the meantime is passed over.
 *
 * @param looksMax Files looked at at a time, each in a thread of the pool: more is for a process that does nothing else.
 */
export async function* walkStore(
  root: string,
  onStranger: (path: string) => void = () => {},
  looksMax = 1
): AsyncGenerator<DiskFile> {
  for (const d3 of await digits(root, '', onStranger)) {
    for (const d2 of await digits(root, d3, onStranger)) {
      for (const d1 of await digits(root, `${d3}/${d2}`, onStranger)) {
        const paths: string[] = []
        for (const name of (await readdir(join(root, d3, d2, d1))).sort()) {
          const path = `${d3}/${d2}/${d1}/${name}`
          if (idOfStorePath(path) === undefined) onStranger(path)
          else paths.push(path)
        }
        for (let at = 0; at < paths.length; at += looksMax) {
          const looks = paths.slice(at, at + looksMax).map(path => lookAt(root, path, onStranger))
          for (const file of await Promise.all(looks)) if (file) yield file
        }
      }
    }
  }
}

async function lookAt(
  root: string,
  path: string,
  onStranger: (path: string) => void
): Promise<DiskFile | undefined> {
  try {
    const stats = await lstat(join(root, path))
    if (stats.isFile()) return { path, sizeBytes: stats.size, modifiedMs: stats.mtimeMs }
    onStranger(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  return undefined
}

/** The highest id that a file of the store has, or -1. Looks at the last directories only. */
export async function highestIdOnDisk(root: string): Promise<number> {
  for (const d3 of (await digits(root, '', () => {})).reverse()) {
    for (const d2 of (await digits(root, d3, () => {})).reverse()) {
      for (const d1 of (await digits(root, `${d3}/${d2}`, () => {})).reverse()) {
        let highest = -1
        for (const name of await readdir(join(root, d3, d2, d1))) {
          highest = Math.max(highest, idOfStorePath(`${d3}/${d2}/${d1}/${name}`) ?? -1)
        }
        if (highest >= 0) return highest
      }
    }
  }
  return -1
}

async function digits(
  root: string,
  directory: string,
  onStranger: (path: string) => void
): Promise<string[]> {
  const names = (await readdir(join(root, directory))).sort()
  return names.filter(name => {
    if (DIGIT.test(name)) return true
    if (directory !== '' || !name.startsWith('.'))
      onStranger(directory === '' ? name : `${directory}/${name}`)
    return false
  })
}
