/**
 * Chaos in a lab: see docs/CHAOS.md.
 *
 *   npm run chaos [-- --minutes N] [--seed S] [--layout three|wide] [--report FILE] [--keep]
 *   npm run chaos -- table REPORT…      the table of docs/CHAOS.md, of reports that were kept
 *
 * Exit code 0: every promise was kept; 1: one was broken, or the lab cannot be here; 2: wrong flags.
 */
import { randomInt } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Lab, LabError, ROOT } from '../lab.ts'
import { runChaos } from './chaos-run.ts'
import { BRICK_DISK_BYTES } from './disk-size.ts'
import { seconds, summaryOf, tableOf, type ChaosReport } from './report.ts'

const LAYOUTS = ['three', 'wide']
const MINUTES = '3'
const SEED_MAX = 2 ** 31

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: MINUTES },
    seed: { type: 'string' },
    layout: { type: 'string', default: 'three' },
    report: { type: 'string' },
    keep: { type: 'boolean', default: false }
  }
})
const [order, ...paths] = positionals
if (order === 'table') {
  const texts = await Promise.all(paths.map(path => readFile(path, 'utf8')))
  process.stdout.write(tableOf(texts.map(text => JSON.parse(text) as ChaosReport)))
  process.exit()
}
const minutes = Number(values.minutes)
const seed = values.seed === undefined ? randomInt(SEED_MAX) : Number(values.seed)
const { layout } = values

if (order !== undefined || !(minutes > 0) || !Number.isSafeInteger(seed) || !LAYOUTS.includes(layout)) {
  process.stderr.write(
    `--minutes is a number above 0, --seed an integer, --layout one of ${LAYOUTS.join(', ')}\n`
  )
  process.exit(2)
}
try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof LabError)) throw error
  process.stderr.write(`${error.message.trimEnd()}\n`)
  process.exitCode = 1
}
process.exit()

async function main(): Promise<number> {
  const say = (text: string): void => void process.stdout.write(`${text}\n`)
  say(`seed ${seed}, layout ${layout}, ${minutes} minutes`)
  const lab = await Lab.up({
    description: join(ROOT, 'deploy', 'examples', `${layout}.toml`),
    folder: join(ROOT, '.cache', 'lab', `chaos-${process.pid}`),
    brickDiskBytes: BRICK_DISK_BYTES,
    keep: values.keep,
    onProgress: say
  })
  // The kernel takes the lab with this process; only its folder would be left.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => void lab.stop().finally(() => process.exit(130)))
  try {
    const report = await runChaos(lab, {
      minutes,
      seed,
      layout,
      onEvent: ({ ms, round, text }) => say(`${seconds(ms).padStart(8)}  ${round}  ${text}`)
    })
    if (values.report !== undefined)
      await writeFile(resolve(values.report), `${JSON.stringify(report, null, 2)}\n`)
    say(`\n${summaryOf(report)}`)
    return report.verdict === 'kept' ? 0 : 1
  } finally {
    await lab.stop()
  }
}
