// One workspace, one version: what every package.json and tsconfig.json of it has in common.
import { packageFolders, type Tree } from './tree.ts'

const EXACT_VERSION = /^\d+\.\d+\.\d+(-[\w.]+)?$/
const FIELDS_OF_ALL = ['license', 'type', 'engines'] as const

export function checkManifests(tree: Tree): string[] {
  const problems: string[] = []
  const root = JSON.parse(tree.get('package.json') ?? '{}')
  const common = { license: 'Apache-2.0', type: 'module', engines: { node: '>=24' } }
  for (const folder of packageFolders(tree)) {
    const path = `packages/${folder}/package.json`
    const manifest = JSON.parse(tree.get(path)!)
    const name = folder === 'cli' ? 'tributary' : `@tributary/${folder}`
    const say = (what: string) => problems.push(`${path}: ${what}`)
    if (manifest.name !== name) say(`name must be ${name}`)
    if (manifest.version !== root.version) say(`version must be the workspace's, ${root.version}`)
    for (const field of FIELDS_OF_ALL) {
      if (JSON.stringify(manifest[field]) !== JSON.stringify(common[field]))
        say(`${field} must be ${JSON.stringify(common[field])}`)
    }
    if (!manifest.description) say('a description is missing')
    if (!manifest.private && !manifest.files?.includes('dist')) say('files must include dist')
    for (const [subpath, entry] of Object.entries<Record<string, string>>(
      manifest.private ? {} : (manifest.exports ?? {})
    )) {
      const source = entry['tributary-source'] ?? ''
      const built = source.replace('./src/', './dist/').replace(/\.ts$/, '')
      if (!source.startsWith('./src/'))
        say(`exports["${subpath}"] needs the condition tributary-source, first`)
      else if (entry['types'] !== `${built}.d.ts` || entry['default'] !== `${built}.js`) {
        say(`exports["${subpath}"] must lead to ${built}.d.ts and ${built}.js`)
      }
    }
    const { dependencies = {}, devDependencies = {} } = manifest
    for (const [dependency, version] of Object.entries<string>({ ...dependencies, ...devDependencies })) {
      if (dependency.startsWith('@tributary/') && version !== root.version)
        say(`${dependency} must be ${root.version}`)
      if (!EXACT_VERSION.test(version)) say(`${dependency} must have an exact version, not ${version}`)
    }
  }
  return problems
}

const DEPENDENCY_FIELDS = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies']

/** A dependency added by hand is not in the lockfile, and each machine would resolve it anew. */
export function checkLockfileFollowsManifests(tree: Tree): string[] {
  const problems: string[] = []
  const lock = JSON.parse(tree.get('package-lock.json') ?? '{ "packages": {} }').packages
  for (const dir of ['', ...packageFolders(tree).map(folder => `packages/${folder}`)]) {
    const path = dir === '' ? 'package.json' : `${dir}/package.json`
    const manifest = JSON.parse(tree.get(path)!)
    for (const field of DEPENDENCY_FIELDS) {
      const [wanted, locked] = [manifest[field] ?? {}, lock[dir]?.[field] ?? {}]
      const names = new Set([...Object.keys(wanted), ...Object.keys(locked)])
      const different = [...names].filter(name => wanted[name] !== locked[name])
      if (different.length > 0) {
        problems.push(
          `${path} and package-lock.json differ in ${different.join(', ')}; run npm install under Node 24`
        )
      }
    }
  }
  return problems
}

/** tsc -b builds in the order of these references: a missing one works only by luck. */
export function checkBuildReferences(tree: Tree): string[] {
  const problems: string[] = []
  const folders = packageFolders(tree).filter(folder => tree.has(`packages/${folder}/tsconfig.json`))
  for (const folder of folders) {
    const manifest = JSON.parse(tree.get(`packages/${folder}/package.json`)!)
    if (manifest.private) continue
    const wanted = Object.keys(manifest.dependencies ?? {})
      .filter(name => name.startsWith('@tributary/'))
      .map(name => `../${name.slice('@tributary/'.length)}`)
    const config = JSON.parse(tree.get(`packages/${folder}/tsconfig.json`)!)
    const present: string[] = (config.references ?? []).map((reference: { path: string }) => reference.path)
    compare(problems, `packages/${folder}/tsconfig.json`, wanted, present)
  }
  const build = JSON.parse(tree.get('tsconfig.build.json') ?? '{}')
  const all: string[] = (build.references ?? []).map((reference: { path: string }) => reference.path)
  const published = folders.filter(
    folder => !JSON.parse(tree.get(`packages/${folder}/package.json`)!).private
  )
  compare(
    problems,
    'tsconfig.build.json',
    published.map(folder => `packages/${folder}`),
    all
  )
  return problems
}

function compare(problems: string[], path: string, wanted: string[], present: string[]): void {
  for (const reference of wanted)
    if (!present.includes(reference)) problems.push(`${path}: add the reference ${reference}`)
  for (const reference of present)
    if (!wanted.includes(reference)) problems.push(`${path}: remove the reference ${reference}`)
}
