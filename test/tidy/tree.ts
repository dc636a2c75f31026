// The repository as the checks see it: paths from the root with `/`, and their text. A Map, so that a self-test plants what it likes.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, posix, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

export type Tree = ReadonlyMap<string, string>

/** A check returns what is wrong, each with what to do about it; an empty list is a pass. */
export type Check = (tree: Tree) => string[]

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

const TEXT =
  /(\.(ts|tsx|mts|js|mjs|json|jsonc|md|toml|yml|yaml|sh|html|css|sql|conf|service)|\/[^./]+|^[^./]+)$/
/** A text longer than this was generated (recorded bytes, for example) and is nobody's to tidy. */
const TEXT_BYTES_MAX = 2 * 1024 * 1024

/** Everything git tracks, and what it would add: a mistake is found before it is committed. */
export function readRepository(root = ROOT): Tree {
  const tree = new Map<string, string>()
  for (const path of listFiles(root)) {
    if (!TEXT.test(path)) {
      tree.set(path, '')
      continue
    }
    const size = statSync(join(root, path), { throwIfNoEntry: false })?.size
    if (size === undefined) continue // deleted, not yet committed
    tree.set(path, size > TEXT_BYTES_MAX ? '' : readFileSync(join(root, path), 'utf8'))
  }
  return tree
}

function listFiles(root: string): string[] {
  try {
    const args = ['-C', root, 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    // another user's checkout (a container's mount) is fine to read
    const trust = ['-c', 'safe.directory=*']
    return execFileSync('git', [...trust, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .split('\0')
      .filter(Boolean)
  } catch {
    // an unpacked archive has no git
    const generated = /(^|\/)(node_modules|dist|data|\.git|\.node|\.cache)(\/|$)/
    return readdirSync(root, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
      .filter(path => !generated.test(path))
  }
}

/** `packages/x/src/…` in TypeScript; the package's name in `folder`. */
export interface SourceFile {
  path: string
  text: string
  folder: string
}

export function sourceFiles(tree: Tree): SourceFile[] {
  const found: SourceFile[] = []
  for (const [path, text] of tree) {
    const folder = /^packages\/([^/]+)\/src\/.*\.tsx?$/.exec(path)?.[1]
    if (folder !== undefined) found.push({ path, text, folder })
  }
  return found
}

/** Where a relative import leads, as a path of the tree. */
export function resolveFrom(path: string, specifier: string): string {
  return posix.normalize(posix.join(posix.dirname(path), specifier))
}

/** Names of the folders under packages/ that have a manifest. */
export function packageFolders(tree: Tree): string[] {
  return [...tree.keys()].flatMap(path => /^packages\/([^/]+)\/package\.json$/.exec(path)?.[1] ?? [])
}
