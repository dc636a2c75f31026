/** What a run of chaos tells: one JSON object, and a summary for people. */
import { KINDS, type Kind, type LedgerCounts, type ThroughDoor } from './clients.ts'
import type { KindReport } from './gap-meter.ts'
import type { StoreCheck } from './reckoning.ts'
import { mebibytes, type Resident } from './resident.ts'

/** Of what happened, in the order in which it did. */
export interface Event {
  /** Since the clients began. */
  readonly ms: number
  readonly round: number
  readonly text: string
}

export interface KindTotal {
  count: number
  longestGapMs: number
  /** Which round it was in; 0: before the first. */
  gapRound: number
  slowestMs: number
  failures: Record<string, number>
}

export interface ChaosReport {
  readonly seed: number
  readonly layout: string
  readonly minutes: number
  readonly startedAt: string
  readonly rounds: number
  readonly faults: number
  /** How slow the machine was at worst; 1: idle. Times are judged by it. */
  readonly slowness: number
  readonly kinds: Readonly<Record<Kind, KindTotal>>
  readonly ledger: LedgerCounts
  readonly verified: readonly ThroughDoor[]
  readonly stores: readonly StoreCheck[]
  readonly residentBefore: Resident
  readonly residentAfter: Resident
  readonly restarts: Readonly<Record<string, number>>
  readonly timeline: readonly Event[]
  /** Promises that were broken, as sentences. */
  readonly broken: readonly string[]
  readonly verdict: 'kept' | 'broken'
}

const BROKEN_SHOWN = 40
const NAMES: Readonly<Record<Kind, string>> = {
  read: 'reads, library',
  upload: 'uploads, library',
  delete: 'deletes, library',
  httpRead: 'reads, virtual address',
  httpUpload: 'uploads, virtual address',
  httpDelete: 'deletes, virtual address',
  address: 'virtual address answers'
}

export function emptyTotals(): Record<Kind, KindTotal> {
  const empty = (): KindTotal => ({ count: 0, longestGapMs: 0, gapRound: 0, slowestMs: 0, failures: {} })
  return Object.fromEntries(KINDS.map(kind => [kind, empty()])) as Record<Kind, KindTotal>
}

export function addTo(total: KindTotal, report: KindReport, round: number): void {
  total.count += report.count
  total.slowestMs = Math.max(total.slowestMs, report.slowestMs)
  if (report.longestGapMs > total.longestGapMs) {
    total.longestGapMs = report.longestGapMs
    total.gapRound = round
  }
  for (const [code, times] of Object.entries(report.failures))
    total.failures[code] = (total.failures[code] ?? 0) + times
}

export const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`

export function summaryOf(report: ChaosReport): string {
  const { ledger, kinds } = report
  const rows = KINDS.map(kind => {
    const { count, longestGapMs, gapRound, slowestMs, failures } = kinds[kind]
    const failed = Object.entries(failures).map(([code, times]) => `${times} ${code}`)
    const gap = `longest gap ${seconds(longestGapMs).padStart(6)} (round ${gapRound}), slowest ${seconds(slowestMs).padStart(6)}`
    return `  ${NAMES[kind].padEnd(24)} ${String(count).padStart(6)} ok, ${gap}; failed: ${failed.join(', ') || 'none'}`
  })
  const doors = report.verified.map(
    ({ door, verdict }) => `  ${door}: ${verdict.whole} whole, ${verdict.absent} absent`
  )
  const stores = report.stores.map(
    ({ group, files, rows, settledMs }) =>
      `  ${group}: ${files} files, ${rows} rows, compared after ${seconds(settledMs)}`
  )
  const grown = Object.entries(report.residentAfter)
    .filter(([name]) => report.residentBefore[name] !== undefined)
    .sort(([, a], [, b]) => b - a)
    .slice(0, 5)
    .map(([name, bytes]) => `${name} ${mebibytes(report.residentBefore[name]!)} → ${mebibytes(bytes)}`)
  return [
    `seed ${report.seed}, layout ${report.layout}: ${report.rounds} rounds, ${report.faults} faults, machine slower than an idle one by ${report.slowness.toFixed(1)}`,
    ...rows,
    `${ledger.stored} files acknowledged and there, ${ledger.deleted} deleted, ${ledger.unknown} of which nobody knew; read back through`,
    ...doors,
    'index and disk',
    ...stores,
    `largest, MiB: ${grown.join(', ')}`,
    ...report.broken.slice(0, BROKEN_SHOWN).map(text => `BROKEN: ${text}`),
    report.verdict === 'kept' ? 'every promise was kept' : `${report.broken.length} promises were broken`,
    ''
  ].join('\n')
}

/** Runs side by side, as a table of Markdown. Gaps in seconds. */
export function tableOf(reports: readonly ChaosReport[]): string {
  const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |\n`
  const gapOf = (report: ChaosReport, kind: Kind): string =>
    (report.kinds[kind].longestGapMs / 1_000).toFixed(1)
  const head =
    'layout,seed,minutes,rounds,faults,files whole,deleted,operations,gap: read,upload,read by HTTP,address,machine slower by,verdict'
  const operations = KINDS.filter(kind => kind !== 'address')
  const rows = reports.map(report => {
    const { layout, seed, minutes, rounds, faults, ledger, kinds } = report
    const count = operations.reduce((sum, kind) => sum + kinds[kind].count, 0)
    const gaps = (['read', 'upload', 'httpRead', 'address'] as const).map(kind => gapOf(report, kind))
    const facts = [layout, seed, minutes, rounds, faults, ledger.stored, ledger.deleted, count]
    return [...facts, ...gaps, report.slowness.toFixed(1), report.verdict]
  })
  const titles = head.split(',')
  return [titles, titles.map(() => '---'), ...rows].map(row).join('')
}
