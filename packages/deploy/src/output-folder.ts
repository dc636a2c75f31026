/** Where a rendering is written. Nothing is removed or replaced that an earlier rendering did not write. */
import { chmod, lstat, mkdir, open, readdir, readFile, rename, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SECRET, type RenderedFile } from './rendered-file.ts'

const MANIFEST = '.rendered.json'
const MANIFEST_VERSION = 1
/** What is in the folder holds passwords; what is put on hosts has the modes that their folders have. */
const PRIVATE_FOLDER = 0o700
const HOST_FOLDER = 0o755
/** Larger files were not written by us. */
const FILE_BYTES_MAX = 16 * 1024 * 1024

export interface Written {
  created: string[]
  changed: string[]
  removed: string[]
}

/** Something in the output folder is not ours; nothing was changed. */
export class ForeignFileError extends Error {}

export class OutputFolder {
  readonly #root: string

  /** @param root absolute; made when it is not there. */
  constructor(root: string) {
    this.#root = root
  }

  /** @returns undefined where there is none. */
  async read(path: string): Promise<string | undefined> {
    try {
      const { size } = await lstat(join(this.#root, path))
      if (size > FILE_BYTES_MAX) throw new Error(`${path} is too large to be ours`)
      return await readFile(join(this.#root, path), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  /** Names in a folder, sorted; none where it is not there. */
  async list(path: string): Promise<string[]> {
    try {
      return (await readdir(join(this.#root, path))).sort()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
  }

  /** Paths of those that are not there yet, or hold something else. */
  async differing(files: readonly RenderedFile[]): Promise<string[]> {
    const paths: string[] = []
    for (const { path, text } of files) if ((await this.read(path)) !== text) paths.push(path)
    return paths
  }

  /**
   * Writes what differs, removes what an earlier rendering wrote and this one does not.
   *
   * @param keep  tells of such a file whether it stays.
   * @throws {ForeignFileError} a file would replace one that is not ours, or lies behind a link.
   */
  async write(files: readonly RenderedFile[], keep: (path: string) => boolean): Promise<Written> {
    const before = await this.#manifest()
    const wanted = new Set(files.map(({ path }) => path))
    const stale = before.filter(path => !wanted.has(path) && !keep(path))
    for (const { path } of files) await this.#refuseForeign(path, before.includes(path))
    for (const path of stale) await this.#refuseForeign(path, true)

    await mkdir(this.#root, { recursive: true, mode: PRIVATE_FOLDER })
    const kept = before.filter(path => !wanted.has(path) && keep(path))
    // First it names both, so that a rendering that is cut off leaves nothing that the next one would not know.
    await this.#writeManifest([...new Set([...before, ...wanted])])
    const written: Written = { created: [], changed: [], removed: [] }
    for (const file of files) {
      const had = await this.read(file.path)
      const mode = had === undefined ? undefined : (await lstat(join(this.#root, file.path))).mode & 0o777
      if (had === file.text && mode === file.mode) continue
      await this.#replace(file)
      written[had === undefined ? 'created' : 'changed'].push(file.path)
    }
    for (const path of stale) {
      await rm(join(this.#root, path), { force: true })
      await this.#removeEmptyFolders(dirname(path))
      written.removed.push(path)
    }
    await this.#writeManifest([...wanted, ...kept])
    return written
  }

  async #manifest(): Promise<string[]> {
    const text = await this.read(MANIFEST)
    if (text === undefined) return []
    const { version, files } = JSON.parse(text) as { version?: unknown; files?: unknown }
    const isList = Array.isArray(files) && files.every(path => typeof path === 'string' && isInside(path))
    if (version !== MANIFEST_VERSION || !isList)
      throw new ForeignFileError(`${MANIFEST} is damaged, or of another version`)
    return files as string[]
  }

  async #writeManifest(paths: readonly string[]): Promise<void> {
    const text = `${JSON.stringify({ version: MANIFEST_VERSION, files: [...paths].sort() }, undefined, 1)}\n`
    await this.#replace({ path: MANIFEST, text, mode: SECRET })
  }

  /** A link, in any folder on the way, would lead out of here. */
  async #refuseForeign(path: string, isOurs: boolean): Promise<void> {
    const parts = path.split('/')
    for (let depth = 1; depth <= parts.length; depth++) {
      const part = parts.slice(0, depth).join('/')
      const found = await lstat(join(this.#root, part)).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined
        throw error
      })
      if (found === undefined) return
      const isLeaf = depth === parts.length
      if (isLeaf ? !found.isFile() : !found.isDirectory()) {
        throw new ForeignFileError(`${part} in the output folder is no ${isLeaf ? 'file' : 'folder'} of ours`)
      }
      if (isLeaf && !isOurs)
        throw new ForeignFileError(`${part} is there already, and was not rendered; choose another folder`)
    }
  }

  async #replace({ path, text, mode }: RenderedFile): Promise<void> {
    const target = join(this.#root, path)
    await this.#makeFolder(dirname(path))
    const temporary = `${target}.rendering`
    await rm(temporary, { force: true })
    const file = await open(temporary, 'wx', mode)
    try {
      await file.chmod(mode) // whatever the umask says
      await file.writeFile(text)
    } finally {
      await file.close()
    }
    await rename(temporary, target)
  }

  async #makeFolder(path: string): Promise<void> {
    if (path === '.') return
    await this.#makeFolder(dirname(path))
    const folder = join(this.#root, path)
    try {
      await mkdir(folder)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
      throw error
    }
    await chmod(folder, HOST_FOLDER)
  }

  async #removeEmptyFolders(path: string): Promise<void> {
    if (path === '.') return
    try {
      await rmdir(join(this.#root, path))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOENT') return
      throw error
    }
    await this.#removeEmptyFolders(dirname(path))
  }
}

/** Relative, and nowhere upwards. */
function isInside(path: string): boolean {
  return (
    path !== '' &&
    !path.includes('\0') &&
    path.split('/').every(part => part !== '' && part !== '.' && part !== '..')
  )
}
