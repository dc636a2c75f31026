/** Figures as people and programs read them. */
import { cpus, totalmem } from 'node:os'
import { spreadOf, type Pair, type Spread } from './measurement.ts'
import { latencyTable, type LatencyRow } from './latency.ts'
import type { MemoryRow } from './memory.ts'
import type { Scenario } from './scenarios.ts'

export interface ScenarioRow {
  name: string
  group: Scenario['group']
  title: string
  floor: string
  unit: Scenario['unit']
  floorPerS: Spread
  oursPerS: Spread
  floorPerCpuS: Spread
  oursPerCpuS: Spread
  /** Pair by pair. */
  ratioPerS: Spread
  ratioPerCpuS: Spread
  minimum: number | undefined
}

export interface Report {
  date: string
  machine: string
  node: string
  /** What files were stored on. */
  disk: string
  isQuick: boolean
  rows: ScenarioRow[]
  memory: MemoryRow[]
  latencies: LatencyRow[]
}

export function newReport(isQuick: boolean, disk: string): Report {
  const processors = cpus()
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: `${processors[0]!.model}, ${processors.length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`,
    node: process.version,
    disk,
    isQuick,
    rows: [],
    memory: [],
    latencies: []
  }
}

export function rowOf(scenario: Scenario, pairs: readonly Pair[]): ScenarioRow {
  const spread = (value: (pair: Pair) => number): Spread => spreadOf(pairs.map(value))
  return {
    name: scenario.name,
    group: scenario.group,
    title: scenario.title,
    floor: scenario.floor,
    unit: scenario.unit,
    floorPerS: spread(({ floor }) => floor.perS),
    oursPerS: spread(({ ours }) => ours.perS),
    floorPerCpuS: spread(({ floor }) => floor.perCpuS),
    oursPerCpuS: spread(({ ours }) => ours.perCpuS),
    ratioPerS: spread(({ floor, ours }) => ours.perS / floor.perS),
    ratioPerCpuS: spread(({ floor, ours }) => ours.perCpuS / floor.perCpuS),
    minimum: scenario.minimum
  }
}

export function verdictOf({ minimum, ratioPerCpuS }: ScenarioRow): string {
  if (minimum === undefined) return ''
  return ratioPerCpuS.median >= minimum ? 'PASS' : 'below'
}

/** One scenario for a terminal. */
export function describeRow(row: ScenarioRow): string {
  const { ratioPerCpuS: ratio, ratioPerS: wall, minimum } = row
  const wanted = minimum === undefined ? '' : `  at least ${minimum.toFixed(2)}  ${verdictOf(row)}`
  return [
    row.title,
    `  floor ${amount(row, row.floorPerS)}/s  ${amount(row, row.floorPerCpuS)} per CPU s   (${row.floor})`,
    `  ours  ${amount(row, row.oursPerS)}/s  ${amount(row, row.oursPerCpuS)} per CPU s`,
    `  ratio ${wall.median.toFixed(2)} of the rate, ${spreadText(ratio)} per CPU s${wanted}`
  ].join('\n')
}

export function describeMemory(row: MemoryRow): string {
  const verdict = row.peakMb < row.limitMb ? 'PASS' : 'above'
  return `${row.title}: ${row.process} ${row.peakMb.toFixed(0)} MB (idle ${row.idleMb.toFixed(0)} MB), below ${row.limitMb} MB  ${verdict}`
}

/** The part of docs/BENCHMARKS.md that is made by the bench. */
export function markdownOf(report: Report): string {
  const rows = (group: ScenarioRow['group']): ScenarioRow[] => report.rows.filter(row => row.group === group)
  const lines = [
    `Measured on ${report.date}: ${report.machine}, Node ${report.node}, ${report.disk}${report.isQuick ? ', short rounds (--quick)' : ''}.`,
    '',
    ...scenarioTable(rows('core'))
  ]
  if (rows('mysql').length > 0) lines.push('', '### MariaDB and Redis', '', ...scenarioTable(rows('mysql')))
  if (rows('workers').length > 0)
    lines.push('', '### Two data workers', '', ...scenarioTable(rows('workers')))
  if (report.memory.length > 0) {
    lines.push(
      '',
      '### Memory',
      '',
      '| in flight | process | idle | peak | bound |',
      '| --- | --- | --- | --- | --- |'
    )
    for (const { title, process, idleMb, peakMb, limitMb } of report.memory) {
      lines.push(
        `| ${title} | ${process} | ${idleMb.toFixed(0)} MB | ${peakMb.toFixed(0)} MB | ${limitMb} MB ${peakMb < limitMb ? 'PASS' : 'above'} |`
      )
    }
  }
  if (report.latencies.length > 0) lines.push('', '### Waiting times', '', ...latencyTable(report.latencies))
  return lines.join('\n')
}

function scenarioTable(rows: readonly ScenarioRow[]): string[] {
  return [
    '| scenario | reference | rate: reference, ours | per CPU s: reference, ours | ratio of rates | ratio per CPU s (min–max) | at least | |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...rows.map(row =>
      [
        '',
        row.title,
        row.floor,
        `${amount(row, row.floorPerS)}, ${amount(row, row.oursPerS)}`,
        `${amount(row, row.floorPerCpuS)}, ${amount(row, row.oursPerCpuS)}`,
        row.ratioPerS.median.toFixed(2),
        spreadText(row.ratioPerCpuS),
        row.minimum?.toFixed(2) ?? '',
        verdictOf(row),
        ''
      ]
        .join(' | ')
        .trim()
    )
  ]
}

function amount({ unit }: ScenarioRow, { median }: Spread): string {
  const digits = Number(median.toPrecision(3)).toLocaleString('en')
  return unit === 'megabytes' ? `${digits} MB` : digits
}

function spreadText({ median, min, max }: Spread): string {
  return `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`
}
