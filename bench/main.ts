/**
 * The benchmark: every scenario against its floor, in turn, in one run. See docs/BENCHMARKS.md.
 *
 *   npm run bench -- [scenario …] [--quick] [--mysql] [--workers] [--memory] [--json FILE] [--write-docs] [--node-flag=--cpu-prof …]
 */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Generator } from './children.ts'
import { takeDisk } from './fresh-disk.ts'
import { measurePairs } from './measurement.ts'
import { describeLatency } from './latency.ts'
import { measureLibrary } from './library.ts'
import { measureMemory } from './memory.ts'
import { describeMemory, describeRow, markdownOf, newReport, rowOf, type Report } from './report.ts'
import { measureFirstSegments, measureViewers } from './streaming.ts'
import { SCENARIOS, type Scenario } from './scenarios.ts'
import { Workshop } from './workshop.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const DOCUMENT = join(ROOT, 'docs', 'BENCHMARKS.md')
const TABLE_START = '<!-- bench: start -->'
const TABLE_END = '<!-- bench: end -->'
const GIB = 1024 ** 3
const FULL = { pairs: 5, roundMs: 2_000, warmUpMs: 1_500, holdMs: 8_000 }
const QUICK = { pairs: 3, roundMs: 800, warmUpMs: 500, holdMs: 4_000 }
const MEMORY = 'memory'
/** A million films on two databases: some minutes, asked for by name or with --write-docs. */
const LIBRARY = 'library'
/** A film of two hours, and 200 viewers: some minutes, too. */
const STREAMING = 'streaming'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    mysql: { type: 'boolean', default: false },
    workers: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: false },
    json: { type: 'string' },
    'write-docs': { type: 'boolean', default: false },
    folder: { type: 'string' },
    pairs: { type: 'string' },
    'node-flag': { type: 'string', multiple: true, default: [] },
    help: { type: 'boolean', default: false }
  }
})

const known = [...SCENARIOS.map(({ name }) => name), MEMORY, LIBRARY, STREAMING]
const unknown = positionals.filter(name => !known.includes(name))
if (values.help || unknown.length > 0) {
  for (const name of unknown) process.stderr.write(`no such scenario: ${name}\n`)
  process.stdout.write(
    'npm run bench -- [scenario …] [--quick] [--mysql] [--workers] [--memory] [--json FILE] [--write-docs] [--pairs N]' +
      ` [--folder DIR] [--node-flag=--cpu-prof …]\nscenarios: ${known.join(' ')}\n`
  )
  process.exit(unknown.length > 0 ? 2 : 0)
}

const isAll = values['write-docs']
const chosen = SCENARIOS.filter(({ name, group }) =>
  positionals.length > 0
    ? positionals.includes(name)
    : group === 'core' || isAll || (group === 'mysql' ? values.mysql : values.workers)
)
const withMemory = positionals.includes(MEMORY) || values.memory || (isAll && positionals.length === 0)
const withStreaming = positionals.includes(STREAMING) || (isAll && positionals.length === 0)
const withLibrary = positionals.includes(LIBRARY) || (isAll && positionals.length === 0)
const size = values.quick ? QUICK : FULL
const pairs = Number(values.pairs ?? size.pairs)

// Beside the sources rather than in the system's folder for temporary files, which may be memory.
const disk = await takeDisk(values.folder ?? join(ROOT, '.cache'), process.argv.slice(1))
const { folder } = disk
process.env['TMPDIR'] = folder // the databases' place, too
const interrupted = new AbortController()
let interruptions = 0
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (++interruptions > 1) process.exit(130)
    process.stderr.write('\nstopping; once more leaves at once\n')
    interrupted.abort(new Error('interrupted'))
  })
}

const report = newReport(values.quick, disk.description)
try {
  const generator = await Generator.start()
  const shop = new Workshop({
    folder,
    generator,
    // Nothing is stored that no scenario reads.
    bigBytes:
      withMemory || chosen.some(({ unit, name }) => unit === 'megabytes' && name !== 'segments') ? GIB : 0,
    roundMs: size.roundMs,
    warmUpMs: size.warmUpMs,
    nodeFlags: values['node-flag']
  })
  try {
    for (const scenario of chosen) await run(scenario, shop)
    if (withMemory) {
      report.memory = await measureMemory(shop, size.holdMs, interrupted.signal)
      for (const row of report.memory) process.stdout.write(`${describeMemory(row)}\n`)
    }
    if (withStreaming) {
      const rows = await measureFirstSegments(shop, interrupted.signal)
      report.latencies.push(...rows)
      for (const row of rows) process.stdout.write(`${describeLatency(row)}\n`)
      const { memory } = await measureViewers(shop, interrupted.signal)
      report.memory.push(memory)
      process.stdout.write(`${describeMemory(memory)}\n`)
    }
    if (withLibrary) {
      const rows = await measureLibrary(folder, interrupted.signal)
      report.latencies.push(...rows)
      for (const row of rows) process.stdout.write(`${describeLatency(row)}\n`)
    }
  } finally {
    await shop.stop()
    await generator.stop()
  }
  if (values['write-docs']) await writeDocument(report)
} catch (error) {
  if (!interrupted.signal.aborted) throw error
  process.exitCode = 130
} finally {
  // What was measured before something went wrong is worth having, too.
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
  await rm(folder, { recursive: true, force: true }).catch(() => {}) // a mount point stays until the run has ended
}

async function run(scenario: Scenario, shop: Workshop): Promise<void> {
  const subjects = await scenario.subjects(shop)
  const measured = await measurePairs(
    shop.generator,
    { ...subjects, unit: scenario.unit, pairs },
    interrupted.signal
  )
  const row = rowOf(scenario, measured)
  report.rows.push(row)
  process.stdout.write(`${describeRow(row)}\n`)
}

async function writeDocument(measured: Report): Promise<void> {
  const text = await readFile(DOCUMENT, 'utf8')
  const start = text.indexOf(TABLE_START)
  const end = text.indexOf(TABLE_END)
  if (start < 0 || end < start) throw new Error(`${DOCUMENT} has no place for the table`)
  await writeFile(
    DOCUMENT,
    `${text.slice(0, start + TABLE_START.length)}\n\n${markdownOf(measured)}\n\n${text.slice(end)}`
  )
}
