// What `npm test` runs, in order. A stage either calls tools, or runs test files of node:test.
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './repository.mjs'
import { programOf } from './tool.mjs'

/**
 * @typedef {object} ToolStage
 * @property {string} name
 * @property {() => { program: string, args: string[] }[]} commands  all must succeed; Node runs each program
 *
 * @typedef {object} TestStage
 * @property {string} name
 * @property {string[]} files
 * @property {number} concurrency  test files at a time
 * @property {number} [msMax]      instead of what is the most for any stage
 */

/** These measure time or drive whole machines' worth of processes: on 2 cores they disturb each other. */
const ONE_AT_A_TIME = 1
const TWO_CORES = 2

/** Each folder of test/ is a run of its own, in this order; a folder not named here comes after them. */
const SYSTEM_ORDER = [
  'engines',
  'cluster',
  'operations',
  'streaming',
  'faults',
  'glusterfs',
  'players',
  'browser',
  'console',
  'package',
  'lab'
]
/** Whole clusters are started and healed there, several times. */
const LAB_MS_MAX = 20 * 60_000
/** Helpers of the tests, no tests. */
const NO_STAGE = new Set(['testkit', 'tidy'])

/** @returns {(ToolStage | TestStage)[]} */
export function stages() {
  return [...toolStages(), ...testStages()]
}

function toolStages() {
  const tool = (name, ...args) => ({ program: programOf(name), args })
  return [
    { name: 'format', commands: () => [tool('oxfmt', '--check', '.')] },
    {
      name: 'build',
      commands: () => [
        tool('tsc', '-b', 'tsconfig.build.json'),
        { program: join(ROOT, 'scripts', 'build-console.mjs'), args: [] },
        ...packageDirs().map(dir => tool('publint', 'run', dir, '--strict', '--pack', 'false')),
        ...builtCommand()
      ]
    },
    // After the build: the linter looks into other packages by what was built, and what an earlier commit built is not this one's.
    { name: 'lint', commands: () => [tool('oxlint', '--type-aware', '--deny-warnings')] },
    {
      name: 'types',
      // The console lives in a browser, and has that one's library of types.
      commands: () => [tool('tsc', '-p', 'tsconfig.json'), tool('tsc', '-p', join('packages', 'console'))]
    },
    { name: 'knip', commands: () => [tool('knip', '--no-progress', '--no-config-hints')] }
  ]
}

/** The command as it is published must start: compiled, without the condition that leads to sources. */
function builtCommand() {
  const { bin } = JSON.parse(readFileSync(join(ROOT, 'packages', 'cli', 'package.json'), 'utf8'))
  return bin?.tributary
    ? [{ program: join(ROOT, 'packages', 'cli', bin.tributary), args: ['--version'] }]
    : []
}

function testStages() {
  const inPackages = packageDirs().flatMap(dir => testFiles(join(dir, 'test')))
  const ofEngines = inPackages.filter(path => path.startsWith(join('packages', 'database')))
  const folders = directories('test').filter(name => !NO_STAGE.has(name))
  const ordered = [...SYSTEM_ORDER, ...folders.filter(name => !SYSTEM_ORDER.includes(name))]
  const system = ordered.map(name => ({
    name,
    files: [...(name === 'engines' ? ofEngines : []), ...testFiles(join('test', name))],
    concurrency: ONE_AT_A_TIME,
    ...(name === 'lab' ? { msMax: LAB_MS_MAX } : {})
  }))
  return [
    { name: 'tidy', files: testFiles(join('test', 'tidy')), concurrency: TWO_CORES },
    {
      name: 'unit',
      files: [
        ...inPackages.filter(path => !ofEngines.includes(path)),
        ...testFiles(join('scripts', 'test')),
        ...testFiles(join('test', 'testkit'))
      ],
      concurrency: TWO_CORES
    },
    ...system.filter(stage => stage.files.length > 0)
  ]
}

/** Paths from the root, in a stable order. */
function testFiles(dir) {
  if (!existsSync(join(ROOT, dir))) return []
  return readdirSync(join(ROOT, dir), { recursive: true })
    .filter(name => name.endsWith('.test.ts'))
    .map(name => join(dir, name))
    .sort()
}

function directories(dir) {
  if (!existsSync(join(ROOT, dir))) return []
  return readdirSync(join(ROOT, dir), { withFileTypes: true })
    .filter(entry => entry.isDirectory())
    .map(entry => entry.name)
    .sort()
}

function packageDirs() {
  return directories('packages')
    .map(name => join('packages', name))
    .filter(dir => existsSync(join(ROOT, dir, 'package.json')))
}
