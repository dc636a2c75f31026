// npm test [-- STAGE …]: everything that must hold, in one command; with names of stages, just those.
//
// Needs Node 20 or later and npm, no more: it fetches Node 24 and the dependencies, and as root on Debian installs the
// programs that the tests drive (scripts/programs.mjs). What the tests are told, in their environment:
//
//   TRIBUTARY_SKIP     names of what is not to be had here, with commas, from: mariadb redis redis-sentinel keepalived
//                      glusterfs rsync ffmpeg mpv chromium curl wget openssl bindfs ps ip nft debootstrap root fuse; a test
//                      that needs one of them skips itself with that reason. Often empty.
//   TRIBUTARY_NO_SKIP  `1` with CI=true: nothing may be skipped. A missing program is a failure then, and so is any
//                      skipped test.
//
// A test file run by hand has neither variable, and finds out for itself.
//
// A failing stage does not hide the ones after it. The last line is `N passed, N failed`: tests, and one for each stage
// that is no test run.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { bootstrap } from './bootstrap.mjs'
import { runToEnd } from './child.mjs'
import { provideConsole } from './console-build.mjs'
import { SYSTEM_DIRS, provideProgramsForTests } from './programs.mjs'
import { formatDuration } from './progress.mjs'
import { ROOT, SetupError, SOURCE_CONDITION } from './repository.mjs'
import { stages } from './stages.mjs'

/** The whole must end before a CI's own limit does, which would hide what hung. */
const STAGE_MS_MAX = 10 * 60_000
/** One test; a suite that needs longer states so itself. */
const TEST_MS_MAX = 3 * 60_000

const noSkip = process.env.CI === 'true'
const scratch = mkdtempSync(join(tmpdir(), 'tributary-test-'))
process.once('exit', () => rmSync(scratch, { recursive: true, force: true }))
let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => (interrupted = true))

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`${error.message}\n`)
  console.log('0 passed, 1 failed')
  process.exitCode = 1
}

async function main(names) {
  const ground = await bootstrap()
  const chosen = choose(names)
  const results = []
  let env = {
    ...ground.env,
    PATH: [ground.env.PATH, ...SYSTEM_DIRS].join(delimiter)
  }
  delete env.NODE_TEST_CONTEXT // set if we were started from a test: node --test would then run nothing
  if (chosen.some(stage => stage.files !== undefined && stage.name !== 'tidy')) {
    // Where the build is a stage of this run, it tells by itself.
    if (!chosen.some(stage => stage.name === 'build')) await provideConsole(ground)
    const { result, skip } = await provision()
    results.push(result)
    env = { ...env, TRIBUTARY_SKIP: skip.join(','), ...(noSkip ? { TRIBUTARY_NO_SKIP: '1' } : {}) }
  }
  for (const stage of chosen) {
    if (interrupted) break
    heading(stage.name)
    const startMs = performance.now()
    const outcome = await runStage(stage, ground.node, env)
    results.push({ name: stage.name, ms: performance.now() - startMs, ...outcome })
  }
  if (interrupted) results.push({ name: 'interrupted', ms: 0, passed: 0, failed: 1, skipped: 0 })
  return report(results)
}

function choose(names) {
  const all = stages()
  const unknown = names.filter(name => !all.some(stage => stage.name === name))
  if (unknown.length > 0) {
    const known = all.map(stage => stage.name).join(', ')
    throw new SetupError(`There is no stage ${unknown.join(', ')}; there are: ${known}.`)
  }
  return names.length === 0 ? all : all.filter(stage => names.includes(stage.name))
}

async function provision() {
  heading('programs')
  const startMs = performance.now()
  const { missing, messages } = await provideProgramsForTests()
  for (const message of messages) console.log(message)
  if (messages.length === 0) console.log('All programs that the tests drive are there.')
  const failed = noSkip && missing.length > 0 ? 1 : 0
  if (failed > 0) console.log('With CI=true nothing may be skipped: this is a failure.')
  const ms = performance.now() - startMs
  return { skip: missing, result: { name: 'programs', ms, passed: 1 - failed, failed, skipped: 0 } }
}

async function runStage(stage, node, env) {
  try {
    return stage.files === undefined ? await runTools(stage, node, env) : await runTests(stage, node, env)
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.log(error.message)
    return { passed: 0, failed: 1, skipped: 0 }
  }
}

async function runTools(stage, node, env) {
  let failed = 0
  for (const { program, args } of stage.commands()) {
    // some tools colour their output wherever CI is set, whatever NO_COLOR says
    const toolEnv = process.stdout.isTTY ? env : { ...env, NO_COLOR: '1', CI: undefined }
    const options = { cwd: ROOT, env: toolEnv, stdin: 'ignore', timeoutMs: STAGE_MS_MAX }
    const { exitCode } = await runToEnd(node, [program, ...args], options)
    if (exitCode !== 0) failed = 1
  }
  return { passed: 1 - failed, failed, skipped: 0 }
}

async function runTests(stage, node, env) {
  const countsPath = join(scratch, `${stage.name}.json`)
  const args = [
    SOURCE_CONDITION,
    '--test',
    `--test-concurrency=${stage.concurrency}`,
    `--test-timeout=${TEST_MS_MAX}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${join(ROOT, 'scripts', 'count-reporter.mjs')}`,
    `--test-reporter-destination=${countsPath}`,
    ...stage.files
  ]
  if (stage.files.length === 0) return { passed: 0, failed: 0, skipped: 0 }
  const timeoutMs = stage.msMax ?? STAGE_MS_MAX
  const { exitCode, timedOut } = await runToEnd(node, args, { cwd: ROOT, env, stdin: 'ignore', timeoutMs })
  if (timedOut) console.log(`${stage.name} was ended after ${formatDuration(timeoutMs)}.`)
  const { counts, failures } = readOutcome(countsPath)
  if (counts === undefined) return { passed: 0, failed: 1, skipped: 0, failures }
  const { passed, skipped } = counts
  let failed = counts.failed + counts.cancelled
  if (exitCode !== 0 && failed === 0) failed = 1 // the run itself broke
  if (noSkip && skipped + counts.todo > 0) {
    console.log(`With CI=true nothing may be skipped, and ${skipped + counts.todo} were: this is a failure.`)
    failed += skipped + counts.todo
  }
  if (passed + failed + skipped === 0) {
    console.log('Not one test was run: this is a failure.')
    failed = 1
  }
  return { passed, failed, skipped, failures }
}

/** What count-reporter.mjs wrote; without `counts`, the run ended before its summary. */
function readOutcome(path) {
  // without the file, it ended before it began
  const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
  // the last line may have been cut off with the run
  const lines = text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1)
    .map(JSON.parse)
  return {
    counts: lines.find(line => line.counts !== undefined)?.counts,
    failures: lines.flatMap(({ failure }) => failure ?? [])
  }
}

function heading(name) {
  console.log(`\n── ${name} ${'─'.repeat(Math.max(0, 70 - name.length))}`)
}

function report(results) {
  const failures = results.flatMap(({ name, failures = [] }) =>
    failures.map(failure => ({ stage: name, ...failure }))
  )
  if (failures.length > 0) heading('failed')
  // Once more, and last: who keeps just the end of what a long run printed still learns why.
  for (const { stage, name, place, text } of failures)
    console.log(`✖ ${stage}: ${name}\n  ${place.replace(`${ROOT}/`, '')}\n${text.replace(/^/gm, '    ')}\n`)
  heading('summary')
  for (const { name, ms, passed, failed, skipped } of results) {
    const counts = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
    console.log(`${failed > 0 ? '✖' : '✔'} ${name.padEnd(12)} ${formatDuration(ms).padStart(10)}   ${counts}`)
  }
  const passed = results.reduce((total, result) => total + result.passed, 0)
  const failed = results.reduce((total, result) => total + result.failed, 0)
  console.log(`${passed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}
