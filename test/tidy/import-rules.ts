// The directions of docs/ARCHITECTURE.md: who may import whom. A type-only import counts.
import { isBuiltin } from 'node:module'
import { importsOf, scan } from './module-scanner.ts'
import { packageFolders, resolveFrom, sourceFiles, type SourceFile, type Tree } from './tree.ts'

const SCOPE = '@tributary/'
const SERVERS = ['tracker', 'idserver', 'storage', 'gateway', 'worker', 'database']

/** Folder under packages/ → the packages of ours that its src/ may import. */
export const MAY_IMPORT: Record<string, readonly string[]> = {
  protocol: [],
  calls: [],
  media: [],
  transport: ['protocol'],
  client: ['protocol', 'calls', 'transport'],
  runtime: [],
  database: ['protocol'],
  tracker: ['protocol', 'calls', 'transport', 'runtime', 'database'],
  idserver: ['protocol', 'transport', 'runtime', 'database'],
  storage: ['protocol', 'transport', 'runtime', 'database'],
  gateway: ['protocol', 'calls', 'transport', 'client', 'runtime', 'media'],
  worker: ['protocol', 'calls', 'transport', 'client', 'runtime', 'media'],
  console: ['gateway/contract'],
  deploy: ['protocol', 'runtime'],
  cli: [
    'protocol',
    'calls',
    'transport',
    'client',
    'runtime',
    'database',
    'tracker',
    'idserver',
    'storage',
    'gateway',
    'worker',
    'deploy'
  ]
}

/** Driver → what the name of the one file that may import it contains. */
export const ENGINE_FILES: Record<string, RegExp> = {
  mysql2: /mysql|mariadb/,
  ioredis: /redis/,
  'node:sqlite': /sqlite/
}

/** Loggers and database libraries have no place in a library that others embed. */
const NOT_IN_CLIENT = new Set(['pino', 'kysely', 'mysql2', 'ioredis', 'node:sqlite', '@prometheus-io/client'])

/** `@tributary/x` and `tributary` → their folder, with the subpath if there is one. */
function ourPackage(specifier: string): string | undefined {
  if (specifier === 'tributary' || specifier.startsWith('tributary/'))
    return specifier.replace('tributary', 'cli')
  return specifier.startsWith(SCOPE) ? specifier.slice(SCOPE.length) : undefined
}

/** `a/b` → `a`, `@a/b/c` → `@a/b`, `node:a/b` → `node:a`, and `fs` → `node:fs`. */
export function packageName(specifier: string): string {
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
  return isBuiltin(name) && !name.startsWith('node:') ? `node:${name}` : name
}

export function checkPackageDirections(tree: Tree): string[] {
  const problems: string[] = []
  for (const folder of packageFolders(tree)) {
    if (!(folder in MAY_IMPORT))
      problems.push(`packages/${folder}: say in MAY_IMPORT of test/tidy what it may import`)
  }
  for (const { path, text, folder } of sourceFiles(tree)) {
    for (const { specifier, line } of importsOf(text)) {
      const target = ourPackage(specifier)
      if (target === undefined) continue
      const allowed = MAY_IMPORT[folder] ?? []
      if (target.split('/')[0] === folder) {
        problems.push(`${path}:${line} imports its own package by name; use a relative path`)
      } else if (!allowed.includes(target)) {
        const list = allowed.length > 0 ? allowed.join(', ') : 'no package of ours'
        problems.push(
          `${path}:${line} imports ${specifier}; ${folder} may import ${list} (docs/ARCHITECTURE.md)`
        )
      }
    }
  }
  return problems
}

export function checkProtocolIsPure(tree: Tree): string[] {
  return sourceFiles(tree)
    .filter(({ folder }) => folder === 'protocol')
    .flatMap(({ path, text }) =>
      importsOf(text)
        .filter(({ specifier }) => !specifier.startsWith('.'))
        .map(
          ({ specifier, line }) =>
            `${path}:${line} imports ${specifier}; protocol is pure and imports only its own files`
        )
    )
}

export function checkClientIsLean(tree: Tree): string[] {
  return sourceFiles(tree)
    .filter(({ folder }) => folder === 'client')
    .flatMap(({ path, text }) =>
      importsOf(text)
        .filter(({ specifier }) => NOT_IN_CLIENT.has(packageName(specifier)))
        .map(
          ({ specifier, line }) =>
            `${path}:${line} imports ${specifier}; client has no logger and no database: take what it needs as a parameter`
        )
    )
}

/** Gateway and worker are clients: what they need of the index they ask the tracker. */
export function checkDriversStayInTheirEngine(tree: Tree): string[] {
  const problems: string[] = []
  for (const [driver, name] of Object.entries(ENGINE_FILES)) {
    const importers = sourceFiles(tree).filter(({ text }) =>
      importsOf(text).some(({ specifier }) => packageName(specifier) === driver)
    )
    for (const { path, folder } of importers) {
      if (folder !== 'database' || !name.test(path.split('/').at(-1)!)) {
        problems.push(
          `${path} imports ${driver}; only its engine's file in packages/database may: go through the repository`
        )
      }
    }
    if (importers.length > 1) {
      const paths = importers.map(({ path }) => path).join(', ')
      problems.push(`${driver} is imported by ${paths}; one file per engine: let the others import that file`)
    }
  }
  return problems
}

/** Relative imports stay in their package's src/; whole files are named, with `.ts`. */
export function checkRelativeImports(tree: Tree): string[] {
  const problems: string[] = []
  for (const { path, text, folder } of sourceFiles(tree)) {
    for (const { specifier, line } of importsOf(text)) {
      if (!specifier.startsWith('.')) {
        if (/^(\/|file:)/.test(specifier)) problems.push(`${path}:${line} imports an absolute path`)
        continue
      }
      const target = resolveFrom(path, specifier)
      const manifest = target === `packages/${folder}/package.json` // its version may be read from there
      if (!target.startsWith(`packages/${folder}/src/`) && !manifest) {
        problems.push(
          `${path}:${line} imports ${specifier}, outside of its src/; import a package by its name, and nothing of test/ or bench/`
        )
      } else if (!tree.has(target))
        problems.push(`${path}:${line} imports ${specifier}, which is not there (own files end in .ts)`)
    }
  }
  return problems
}

/** The command starts quickly: a server's code is loaded when its role is asked for. */
export function checkCommandLoadsServersLazily(tree: Tree): string[] {
  const files = new Map(sourceFiles(tree).map(file => [file.path, file]))
  const main = files.get('packages/cli/src/main.ts')
  if (main === undefined) return []
  const problems: string[] = []
  const reached = new Set<string>()
  const visit = ({ path, text }: SourceFile, chain: string[]): void => {
    if (reached.has(path)) return
    reached.add(path)
    for (const { specifier, kind, line } of importsOf(text)) {
      if (kind !== 'value') continue
      const target = ourPackage(specifier)?.split('/')[0]
      if (target !== undefined && SERVERS.includes(target)) {
        problems.push(
          `${path}:${line} imports ${specifier} as soon as the command starts (${[...chain, path].join(' → ')}); use await import()`
        )
      }
      const next = specifier.startsWith('.') ? files.get(resolveFrom(path, specifier)) : undefined
      if (next !== undefined) visit(next, [...chain, path])
    }
  }
  visit(main, [])
  return problems
}

/** `process` is an input: a main.ts reads it and passes on what it found. */
export function checkProcessStaysInMain(tree: Tree): string[] {
  const problems: string[] = []
  for (const { path, text } of sourceFiles(tree)) {
    if (path.endsWith('/main.ts')) continue
    for (const { specifier, line } of importsOf(text)) {
      if (packageName(specifier) === 'node:process')
        problems.push(`${path}:${line} imports ${specifier}; only main.ts does`)
    }
    const tokens = scan(text)
    for (const [at, { kind, text: word, line }] of tokens.entries()) {
      if (kind !== 'word' || word !== 'process') continue
      const before = tokens[at - 1]?.text
      const after = tokens[at + 1]?.text
      const ofGlobal = before === '.' && tokens[at - 2]?.text === 'globalThis'
      const ofObject = before === '.' && !ofGlobal
      const isKey = (after === ':' || (after === '?' && tokens[at + 2]?.text === ':')) && before !== '?'
      if (!ofObject && !isKey) {
        problems.push(
          `${path}:${line} uses process; let main.ts read it and pass the value in (or name a variable otherwise)`
        )
      }
    }
  }
  return problems
}

/** What src/ imports must be in dependencies, or the published package breaks; what is there must be used (knip). */
export function checkImportsAreDeclared(tree: Tree): string[] {
  const problems: string[] = []
  for (const { path, text, folder } of sourceFiles(tree)) {
    const manifest = JSON.parse(tree.get(`packages/${folder}/package.json`) ?? '{}')
    const declared = {
      ...manifest.dependencies,
      ...manifest.peerDependencies,
      ...manifest.optionalDependencies
    }
    for (const { specifier, line } of importsOf(text)) {
      const name = packageName(specifier)
      if (name.startsWith('.') || isBuiltin(name) || name in declared) continue
      problems.push(`${path}:${line} imports ${name}, which packages/${folder}/package.json does not declare`)
    }
  }
  return problems
}
