// A source file that no entry leads to is never run: it only misleads its reader.
import { importsOf, scan } from './module-scanner.ts'
import { packageFolders, resolveFrom, type Tree } from './tree.ts'

/** `./x.ts` in any string: a thread or a process is started by its file, without importing it. */
const FILE_REFERENCE = /^\.{1,2}\/[\w./-]+\.(ts|tsx|mjs|js)$/
/** `sqlite-writer`: where the file's ending depends on whether it was built, its name stands alone. */
const BARE_NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)+$/

export function checkDeadFiles(tree: Tree): string[] {
  const reached = new Set<string>()
  const visit = (path: string): void => {
    const text = tree.get(path)
    if (text === undefined || reached.has(path)) return
    reached.add(path)
    for (const target of referencesOf(text)) {
      visit(resolveFrom(path, target))
      visit(resolveFrom(path, `${target}.ts`))
    }
  }
  for (const path of entries(tree)) visit(path)
  return [...tree.keys()]
    .filter(path => /^(packages\/[^/]+\/(src|test)|test|bench|lab|scripts)\/.*\.(ts|tsx|mjs)$/.test(path))
    .filter(path => !reached.has(path) && !path.endsWith('.d.ts'))
    .map(path => `${path} is reached from no entry; import it, or remove it`)
}

function referencesOf(text: string): string[] {
  const strings = scan(text).filter(
    ({ kind, text: content }) =>
      kind === 'string' && (FILE_REFERENCE.test(content) || BARE_NAME.test(content))
  )
  const imported = importsOf(text).filter(({ specifier }) => specifier.startsWith('.'))
  return [...imported.map(({ specifier }) => specifier), ...strings.map(({ text: content }) => content)]
}

function* entries(tree: Tree): Generator<string> {
  for (const folder of packageFolders(tree)) {
    const manifest = JSON.parse(tree.get(`packages/${folder}/package.json`)!)
    const named = JSON.stringify([manifest.exports ?? {}, manifest.bin ?? {}])
    // what is published is dist/x.js, made of src/x.ts
    for (const [, path] of named.matchAll(/"(?:\.\/)?dist\/([^"]+?)(?:\.d\.ts|\.js)"/g))
      yield `packages/${folder}/src/${path}.ts`
    yield `packages/${folder}/src/main.ts`
    yield `packages/${folder}/src/main.tsx`
  }
  const scripts: Record<string, string> = JSON.parse(tree.get('package.json') ?? '{}').scripts ?? {}
  for (const command of Object.values(scripts))
    yield* command.split(' ').filter(word => /\.(mjs|ts)$/.test(word))
  yield 'scripts/count-reporter.mjs' // named to node --test by its path
  for (const path of tree.keys())
    if (path.endsWith('.test.ts') || /(^|\/)vite\.config\.ts$/.test(path)) yield path
}
