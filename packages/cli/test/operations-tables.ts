/**
 * The tables of docs/OPERATIONS.md that are made from the code: keys of configuration, metrics, exit codes. Run by itself
 * it writes them into the document: `node scripts/run.mjs packages/cli/test/operations-tables.ts`.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gatewayConfig } from '@tributary/gateway'
import { idServerConfig } from '@tributary/idserver'
import { describeConfig, type AnyConfigDefinition, type ConfigRow } from '@tributary/runtime'
import { storageConfig } from '@tributary/storage'
import { trackerConfig } from '@tributary/tracker'
import { workerConfig } from '@tributary/worker'
import { EXIT_CODES } from '../src/exit-code.ts'

const ROOT = new URL('../../../', import.meta.url)
export const OPERATIONS = new URL('docs/OPERATIONS.md', ROOT)
export const DEFINITIONS: readonly AnyConfigDefinition[] = [
  trackerConfig,
  idServerConfig,
  storageConfig,
  gatewayConfig,
  workerConfig
]
const ROLE_FOLDERS = {
  tracker: 'tracker',
  id: 'idserver',
  storage: 'storage',
  gateway: 'gateway',
  worker: 'worker'
} as const

export interface MetricRow {
  name: string
  help: string
}

/** Tables by the name that stands in the document's markers. */
export function operationsTables(): Map<string, string> {
  const tables = new Map<string, string>()
  for (const definition of DEFINITIONS) {
    const rows = describeConfig(definition).map(keyCells)
    tables.set(`keys ${definition.section}`, table(['key', 'default', 'takes', 'meaning'], rows))
  }
  const metrics = [...sharedMetrics(), ...processMetrics()]
  tables.set('metrics all', metricTable(metrics))
  for (const [role, folder] of Object.entries(ROLE_FOLDERS)) {
    tables.set(`metrics ${role}`, metricTable(metricsOf(role, folder)))
  }
  const codes = Object.values(EXIT_CODES).map(({ code, meaning }) => [String(code), meaning])
  tables.set('exit codes', table(['code', 'meaning'], codes))
  return tables
}

/** The document with its tables as the code has them. @throws {Error} a table has no place, or a place no table. */
export function withTables(document: string, tables = operationsTables()): string {
  const left = new Set(tables.keys())
  const text = document.replace(
    /(<!-- table: ([a-z ]+) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_all, open: string, name: string, end: string) => {
      const made = tables.get(name)
      if (made === undefined) throw new Error(`there is no table '${name}'`)
      left.delete(name)
      return `${open}\n${made}\n\n${end}`
    }
  )
  if (left.size > 0) throw new Error(`the document has no place for ${[...left].join(', ')}`)
  return text
}

function keyCells({ key, default: preset, required, expected, reloadable, describe }: ConfigRow): string[] {
  const shown = required ? '*must be given*' : preset === '' ? '' : `\`${preset}\``
  return [`\`${key}\``, shown, expected, `${describe.replace(/\.$/, '')}${reloadable ? ' (SIGHUP)' : ''}`]
}

function metricTable(rows: readonly MetricRow[]): string {
  return table(
    ['metric', 'meaning'],
    rows.map(({ name, help }) => [`\`${name}\``, help])
  )
}

/** Those that a role adds, read from its sources. */
function metricsOf(role: string, folder: string): MetricRow[] {
  return found(`packages/${folder}/src`, /\.(?:gauge|counter)\(\s*'([a-z_]+)',\s*'([^']+)'/g).map(
    ({ name, help }) => ({ name: `tributary_${role}_${name}`, help })
  )
}

/** Those of requests and connections, which every role has under its own name. */
function sharedMetrics(): MetricRow[] {
  const folder = 'packages/runtime/src'
  return [
    ...found(folder, /name: `\$\{this\.#prefix\}([a-z_]+)`,\s*help: '([^']+)'/g),
    ...found(folder, /`\$\{this\.#prefix\}([a-z_]+)`,\s*'([^']+)'/g),
    ...found(folder, /this\.(?:gauge|counter)\(\s*'([a-z_]+)',\s*'([^']+)'/g)
  ].map(({ name, help }) => ({ name: `tributary_ROLE_${name}`, help }))
}

function processMetrics(): MetricRow[] {
  const folder = 'packages/runtime/src'
  return [
    ...found(folder, /plain\('([a-z_]+)', '([^']+)'/g),
    ...found(folder, /name: '((?:process|nodejs)_[a-z_]+)',\s*help: '([^']+)'/g)
  ]
}

function found(folder: string, pattern: RegExp): MetricRow[] {
  const base = new URL(`${folder}/`, ROOT)
  const files = readdirSync(base, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'))
  return files.sort().flatMap(file =>
    Array.from(readFileSync(new URL(file, base), 'utf8').matchAll(pattern), ([, name, help]) => ({
      name: name!,
      help: help!
    }))
  )
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

if (import.meta.main) {
  writeFileSync(OPERATIONS, withTables(readFileSync(OPERATIONS, 'utf8')))
  console.log(`${fileURLToPath(OPERATIONS)} is up to date`)
}
