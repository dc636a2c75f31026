// What review would nag about, line by line.
import { scan } from './module-scanner.ts'
import { sourceFiles, type Tree } from './tree.ts'

const CODE = /^(packages|test|bench|lab|scripts)\/.*\.(ts|tsx|mjs|js)$/

/** Brackets keep these from finding themselves. */
const UNFINISHED = /\b(FIX[M]E|TO[D]O|XX[X]|HAC[K])\b/
const MACHINE_PATH = /(?<![\w.$}~*\])/-])\/(wor[k]|op[t]|hom[e]|roo[t])\//
const REGISTRY = /\bregistry\.[\w-]+\.(org|com|net|io)\b/
const DOWNLOAD = /"resolved": "(https?|git\+?\w*):/

function linesMatching(tree: Tree, paths: RegExp, pattern: RegExp, advice: string): string[] {
  const problems: string[] = []
  for (const [path, text] of tree) {
    if (!paths.test(path) || !pattern.test(text)) continue
    for (const [at, line] of text.split('\n').entries()) {
      if (pattern.test(line)) problems.push(`${path}:${at + 1} ${advice}: ${line.trim().slice(0, 100)}`)
    }
  }
  return problems
}

export function checkNothingUnfinished(tree: Tree): string[] {
  return linesMatching(tree, CODE, UNFINISHED, 'is marked as unfinished; finish it, or file an issue')
}

/** A test that runs alone hides the others; one that is skipped says why, in `t.skip('…')` or a comment above. */
export function checkTestsRun(tree: Tree): string[] {
  const problems: string[] = []
  for (const [path, text] of tree) {
    if (!/\.test\.ts$/.test(path)) continue
    const tokens = scan(text)
    const lines = text.split('\n')
    for (const [at, { kind, text: word, line }] of tokens.entries()) {
      if (kind !== 'word') continue
      const caller = tokens[at - 1]?.text === '.' ? tokens[at - 2]?.text : undefined
      const called = tokens[at + 1]?.text === '('
      const where = `${path}:${line}`
      const ofTest = called && /^(it|test|describe|suite)$/.test(caller ?? '')
      const asOption = tokens[at + 1]?.text === ':' && tokens[at + 2]?.text === 'true'
      if ((ofTest || asOption) && word === 'only')
        problems.push(`${where} runs alone and hides the others; remove .only`)
      if ((ofTest || asOption) && word === 'todo')
        problems.push(`${where} is no test yet; write it, or file an issue`)
      const commented = /\/\//.test(lines[line - 1] ?? '') || /^\s*(\/\/|\*)/.test(lines[line - 2] ?? '')
      if (ofTest && word === 'skip' && !commented)
        problems.push(`${where} is skipped; say why in a comment above`)
      if (asOption && word === 'skip') problems.push(`${where} is skipped; give the reason instead of true`)
      if (called && word === 'skip' && caller === 't' && tokens[at + 2]?.text === ')') {
        problems.push(`${where} skips without a reason; t.skip('why')`)
      }
    }
  }
  return problems
}

export function checkServersLogThroughTheLog(tree: Tree): string[] {
  const problems: string[] = []
  for (const { path, text, folder } of sourceFiles(tree)) {
    if (folder === 'cli' || folder === 'console') continue
    const tokens = scan(text)
    for (const [at, { kind, text: word, line }] of tokens.entries()) {
      if (
        kind === 'word' &&
        word === 'console' &&
        tokens[at + 1]?.text === '.' &&
        tokens[at - 1]?.text !== '.'
      ) {
        problems.push(`${path}:${line} writes to the console; take a log by constructor`)
      }
    }
  }
  return problems
}

export function checkNoRegistryHosts(tree: Tree): string[] {
  return [
    ...linesMatching(
      tree,
      /./,
      REGISTRY,
      'names a registry host; remove it, each machine has its own setting'
    ),
    ...linesMatching(
      tree,
      /^package-lock\.json$/,
      DOWNLOAD,
      'has a download address; npm install --omit-lockfile-registry-resolved'
    )
  ]
}

export function checkNoMachinePaths(tree: Tree): string[] {
  return linesMatching(
    tree,
    /^(?!package-lock\.json$|LICENSE$)/,
    MACHINE_PATH,
    'has an absolute path of one machine; make it relative or a parameter'
  )
}
