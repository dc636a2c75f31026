/** What a run of chaos tells: one JSON object, and a summary for people. */
import { KINDS, type Kind, type LedgerCounts, type ThroughDoor } from './clients.ts'
import type { Fault } from './fault.ts'
import { SLOWNESS_JUDGED_MAX } from './gap-bounds.ts'
import type { KindReport } from './gap-meter.ts'
import { mebibytes, type Life } from './memory.ts'
import type { StoreCheck } from './reckoning.ts'

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

/** A fault that was to be, and did nothing. */
export interface InertFault {
  readonly round: number
  readonly host: string
  readonly text: string
  readonly why: string
}

/** Longer than its bound, on a machine that was too slow to hold anybody to it. */
export interface UnjudgedGap {
  readonly round: number
  readonly kind: Kind
  readonly ms: number
  readonly slowness: number
}

export interface ChaosReport {
  readonly seed: number
  readonly layout: string
  readonly minutes: number
  readonly startedAt: string
  readonly rounds: number
  /** Those that really happened. */
  readonly faults: number
  readonly faultsByKind: Readonly<Partial<Record<Fault['kind'], number>>>
  readonly inert: readonly InertFault[]
  /** How slow the machine was at worst, and on average; 1: idle. A gap is judged by how slow it was while that gap lasted. */
  readonly slowness: number
  readonly meanSlowness: number
  readonly unjudged: readonly UnjudgedGap[]
  readonly kinds: Readonly<Record<Kind, KindTotal>>
  readonly ledger: LedgerCounts
  readonly verified: readonly ThroughDoor[]
  readonly stores: readonly StoreCheck[]
  /** Every process that was seen, with its memory. */
  readonly memory: readonly Life[]
  readonly restarts: Readonly<Record<string, number>>
  readonly timeline: readonly Event[]
  /** Promises that were broken, as sentences. */
  readonly broken: readonly string[]
  readonly verdict: 'kept' | 'broken'
}

const BROKEN_SHOWN = 40
const LIVES_SHOWN = 5
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
  const byKind = Object.entries(report.faultsByKind).map(([kind, count]) => `${count} ${kind}`)
  return [
    `seed ${report.seed}, layout ${report.layout}: ${report.rounds} rounds, ${report.faults} faults (${byKind.join(', ')})`,
    `machine slower than an idle one by ${report.meanSlowness.toFixed(1)} on average, ${report.slowness.toFixed(1)} at worst`,
    ...report.inert.map(({ round, host, text, why }) => `INERT: round ${round}: ${host}: ${text}: ${why}`),
    ...rows,
    ...unjudgedText(report.unjudged),
    `${ledger.stored} files acknowledged and there, ${ledger.deleted} deleted, ${ledger.unknown} of which nobody knew; read back through`,
    ...doors,
    'index and disk',
    ...stores,
    ...memoryText(report.memory),
    ...report.broken.slice(0, BROKEN_SHOWN).map(text => `BROKEN: ${text}`),
    report.verdict === 'kept' ? 'every promise was kept' : `${report.broken.length} promises were broken`,
    ''
  ].join('\n')
}

function unjudgedText(unjudged: readonly UnjudgedGap[]): string[] {
  if (unjudged.length === 0) return []
  const shown = unjudged.map(
    ({ round, kind, ms, slowness }) =>
      `${kind} ${seconds(ms)} (round ${round}, slower by ${slowness.toFixed(1)})`
  )
  return [
    `NOT JUDGED, as the machine was more than ${SLOWNESS_JUDGED_MAX} times slower: ${unjudged.length} gaps: ${shown.join(', ')}`
  ]
}

function memoryText(lives: readonly Life[]): string[] {
  const largest = lives.toSorted((a, b) => b.lastBytes - a.lastBytes).slice(0, LIVES_SHOWN)
  const judged = lives.filter(({ bytesPerMinute }) => bytesPerMinute !== undefined)
  const steepest = judged.toSorted((a, b) => b.bytesPerMinute! - a.bytesPerMinute!).slice(0, LIVES_SHOWN)
  const sizes = largest.map(
    ({ name, firstBytes, lastBytes }) => `${name} ${mebibytes(firstBytes)} → ${mebibytes(lastBytes)}`
  )
  const slopes = steepest.map(({ name, bytesPerMinute }) => `${name} ${mebibytes(bytesPerMinute!)}`)
  return [
    `largest of ${lives.length} processes, MiB: ${sizes.join(', ')}`,
    `steepest of ${judged.length} that lived long enough, MiB a minute: ${slopes.join(', ') || 'none'}`
  ]
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
    const done = operations.reduce((sum, kind) => sum + kinds[kind].count, 0)
    const gaps = (['read', 'upload', 'httpRead', 'address'] as const).map(kind => gapOf(report, kind))
    const facts = [layout, seed, minutes, rounds, faults, ledger.stored, ledger.deleted, done]
    // Reports of earlier versions have none.
    const count = (report.unjudged ?? []).length
    const verdict = count === 0 ? report.verdict : `${report.verdict}; ${count} gaps not judged`
    return [...facts, ...gaps, report.slowness.toFixed(1), verdict]
  })
  const titles = head.split(',')
  return [titles, titles.map(() => '---'), ...rows].map(row).join('')
}
