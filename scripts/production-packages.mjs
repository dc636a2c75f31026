// Which packages the command needs when it runs: those of the workspace, and those of others.
import { existsSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'

/** Declarations only; a running program never loads them. */
const TYPES_ONLY = /(?:^|\/)node_modules\/@types\//

/**
 * Follows `dependencies` from the command, as Node finds them.
 *
 * @param {string} root  the repository
 * @returns {{ ours: { name: string, folder: string }[], theirs: string[] }} sorted; `folder` and `theirs` are paths from the root
 */
export function productionPackages(root) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const ours = new Map()
  const theirs = new Set()
  const visit = path => {
    const entry = packages[path]
    if (entry === undefined) throw new Error(`${path} is not in package-lock.json`)
    const isOurs = path.startsWith('packages/')
    if (isOurs ? ours.has(path) : theirs.has(path)) return
    if (isOurs) ours.set(path, entry.name ?? nameOf(root, path))
    else theirs.add(path)
    const optional = new Set(Object.keys(entry.optionalDependencies ?? {}))
    for (const name of [...Object.keys(entry.dependencies ?? {}), ...optional]) {
      const found = resolve(packages, path, name)
      if (found !== undefined && (isOurs || existsSync(join(root, found)) || !optional.has(name))) {
        if (!TYPES_ONLY.test(found)) visit(found)
      } else if (!optional.has(name)) {
        throw new Error(`${path} needs ${name}, which package-lock.json does not have`)
      }
    }
  }
  visit('packages/cli')
  return {
    ours: [...ours]
      .map(([folder, name]) => ({ folder, name }))
      .sort((a, b) => (a.folder < b.folder ? -1 : 1)),
    theirs: [...theirs].sort((a, b) => (a < b ? -1 : 1))
  }
}

/** Node's own rule: node_modules beside the package, then of each folder above it. */
function resolve(packages, from, name) {
  for (let folder = from; ; folder = posix.dirname(folder)) {
    const at = posix.join(folder === '.' ? '' : folder, 'node_modules', name)
    const entry = packages[at]
    if (entry?.link) return entry.resolved
    if (entry !== undefined) return at
    if (folder === '.') return undefined
  }
}

function nameOf(root, path) {
  return JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8')).name
}
