import { parse as parseToml, TomlError } from 'smol-toml'
import {
  camelCase,
  flagOf,
  type AnyConfigDefinition,
  type ConfigDefinition,
  type ConfigKey,
  type ConfigKeys
} from './config-key.ts'
import type { ConfigValue } from './config-key.ts'
import { readBounded } from './config-file.ts'
import { expectationOf, readConfigValue, showConfigValue } from './config-value.ts'
import { nearest } from './near-miss.ts'

/** One thing that is wrong, complete enough to be mended without reading the manual. */
export interface ConfigProblem {
  /** `tracker.check_interval_s`, or the name as it was written where it is unknown. */
  key: string
  /** As it was given; empty for secrets and where there is none. */
  value: string
  /** Where it came from: a file, an environment variable, a flag. */
  origin: string
  /** Completes the sentence "expected …". */
  expected: string
}

/** Everything that is wrong with a configuration, at once. Nothing was started. */
export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[]
  constructor(problems: readonly ConfigProblem[]) {
    super(
      [
        problems.length === 1
          ? 'the configuration has a problem:'
          : `the configuration has ${problems.length} problems:`,
        ...problems.map(describeProblem)
      ].join('\n')
    )
    this.name = 'ConfigError'
    this.problems = problems
  }
}

export interface ConfigSources {
  /** Path of a TOML file with a table per role and `[common]`. */
  file?: string
  env?: Readonly<Record<string, string | undefined>>
  /**
   * By flag, in any of its spellings: `--check-interval`, `check-interval`, `checkInterval` (as commander
   * gives them). `undefined` is "not given".
   */
  flags?: Readonly<Record<string, unknown>>
  /**
   * The other roles' definitions, for a program that knows them all: then a table or a key that none of them
   * knows is refused. Without them only what looks like a misspelling of this role's own is.
   */
  siblings?: readonly AnyConfigDefinition[]
}

/** A row of --help, of the manual, of `config check`. */
export interface ConfigRow {
  section: string
  key: string
  type: string
  /** As it would be written; empty where there is none. */
  default: string
  required: boolean
  secret: boolean
  /** Read again on SIGHUP. */
  reloadable: boolean
  /** From the key's name: s, ms, bytes, …; empty where there is none. */
  unit: string
  expected: string
  env: string
  flag: string
  describe: string
}

/** A key's value in use, and where it came from; secrets and credentials are left out. */
export interface EffectiveRow {
  key: string
  value: string
  origin: string
}

/** The table that applies to every role. */
export const COMMON_SECTION = 'common'
const UNITS = new Set(['s', 'ms', 'bytes', 'count', 'percent', 'days', 'hours'])

interface Given {
  raw: unknown
  origin: string
}

/**
 * Merges defaults < file `[common]` < file `[section]` < `TRIBUTARY_COMMON_…` < `TRIBUTARY_<SECTION>_…` < flags
 * into one frozen value. An environment variable that is empty counts as not set.
 *
 * @throws {ConfigError} with every problem at once: unknown keys, wrong values, missing keys, relations.
 */
export function loadConfig<Keys extends ConfigKeys>(
  definition: ConfigDefinition<Keys>,
  sources: ConfigSources = {}
): ConfigValue<Keys> {
  return merge(definition, sources).value
}

/**
 * The value in use of every key and where it came from, for `config check`.
 *
 * @throws {ConfigError} as loadConfig does.
 */
export function explainConfig<Keys extends ConfigKeys>(
  definition: ConfigDefinition<Keys>,
  sources: ConfigSources = {}
): EffectiveRow[] {
  const { value, given } = merge(definition, sources)
  return Object.entries<ConfigKey>(definition.keys).map(([name, key]) => ({
    key: `${definition.section}.${name}`,
    value: showConfigValue(key, (value as Record<string, unknown>)[camelCase(name)]),
    origin: given.get(name)?.origin ?? 'default'
  }))
}

/** Every key of a role, for --help, the manual and `config check`. */
export function describeConfig({ section, keys }: AnyConfigDefinition): ConfigRow[] {
  return Object.entries(keys).map(([name, key]) => {
    const suffix = name.slice(name.lastIndexOf('_') + 1)
    return {
      section,
      key: name,
      type: key.type,
      default: showConfigValue(key, key.default),
      required: key.default === undefined && key.optional !== true,
      secret: key.type === 'secret',
      reloadable: key.reloadable !== undefined,
      unit: UNITS.has(suffix) ? suffix : '',
      expected: expectationOf(key),
      env: envName(section, name),
      flag: key.type === 'secret' ? `--${name.replaceAll('_', '-')}-file` : (flagOf(name, key) ?? ''),
      describe: key.describe
    }
  })
}

function merge<Keys extends ConfigKeys>(
  definition: ConfigDefinition<Keys>,
  sources: ConfigSources
): { value: ConfigValue<Keys>; given: Map<string, Given> } {
  const problems: ConfigProblem[] = []
  const given = new Map<string, Given>()
  const take = (name: string, entry: Given): void => {
    // A secret and its file are two spellings of one key: the later source wins, whichever it uses.
    const secret = secretOf(definition.keys, name)
    if (secret !== undefined) given.delete(secret === name ? `${name}_file` : secret)
    given.set(name, entry)
  }
  if (sources.file !== undefined) readFile(definition, sources.file, sources.siblings, take, problems)
  readEnvironment(definition, sources, take, problems)
  readFlags(definition, sources.flags ?? {}, take, problems)

  const value: Record<string, unknown> = {}
  for (const [name, key] of Object.entries<ConfigKey>(definition.keys)) {
    const entry = secretFromFile(name, key, given, problems) ?? given.get(name)
    if (entry === undefined) {
      if (key.default === undefined && key.optional !== true && !given.has(`${name}_file`)) {
        problems.push({
          key: `${definition.section}.${name}`,
          value: '',
          origin: 'not set',
          expected: expectationOf(key)
        })
      }
      value[camelCase(name)] = freeze(key.default)
      continue
    }
    try {
      value[camelCase(name)] = freeze(readConfigValue(key, entry.raw))
    } catch (error) {
      problems.push({
        key: `${definition.section}.${name}`,
        value: key.type === 'secret' ? '' : showConfigValue({ ...key, type: 'string' }, entry.raw),
        origin: entry.origin,
        expected: (error as Error).message.replace(/^expected /, '')
      })
    }
  }
  if (problems.length === 0) {
    for (const { key, expected } of definition.relations(value as ConfigValue<Keys>)) {
      const described = (definition.keys as ConfigKeys)[key]
      problems.push({
        key: `${definition.section}.${key}`,
        value:
          described && described.type !== 'secret' ? showConfigValue(described, value[camelCase(key)]) : '',
        origin: given.get(key)?.origin ?? 'default',
        expected
      })
    }
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return { value: Object.freeze(value) as ConfigValue<Keys>, given }
}

type Take = (name: string, entry: Given) => void

function readFile(
  definition: AnyConfigDefinition,
  path: string,
  siblings: readonly AnyConfigDefinition[] | undefined,
  take: Take,
  problems: ConfigProblem[]
): void {
  let tables: Record<string, unknown>
  try {
    tables = parseToml(readBounded(path), { unsafeKeyBehaviour: 'throw', integersAsBigInt: 'asNeeded' })
  } catch (error) {
    const where = error instanceof TomlError ? `${path}:${error.line}:${error.column}` : path
    // The parser prints the lines around an error, which may hold a secret: the first line says enough.
    const [reason = ''] = (error as Error).message.split('\n')
    problems.push({
      key: 'file',
      value: '',
      origin: where,
      expected: `a TOML file that can be read: ${reason}`
    })
    return
  }
  const sections = siblings?.map(sibling => sibling.section)
  for (const [table, content] of Object.entries(tables)) {
    if (typeof content !== 'object' || content === null || Array.isArray(content)) {
      const expected = `every key to stand in a table such as [${COMMON_SECTION}] or [${definition.section}]`
      problems.push({ key: table, value: '', origin: path, expected })
      continue
    }
    if (table === COMMON_SECTION || table === definition.section || sections?.includes(table)) continue
    const known = [COMMON_SECTION, definition.section, ...(sections ?? [])]
    const meant = nearest(table, known)
    if (sections || meant) {
      problems.push({ key: `[${table}]`, value: '', origin: path, expected: unknown('table', meant, known) })
    }
  }
  const names = keyNames(definition)
  const shared = siblings && new Set([...names, ...siblings.flatMap(keyNames)])
  for (const section of [COMMON_SECTION, definition.section]) {
    const content = tables[section]
    if (typeof content !== 'object' || content === null || Array.isArray(content)) continue
    for (const [name, raw] of Object.entries(content)) {
      const origin = `${path} [${section}]`
      if (names.includes(name)) {
        take(name, { raw, origin })
        continue
      }
      if (section === COMMON_SECTION && shared?.has(name)) continue
      const meant = nearest(name, shared ? [...shared] : names)
      // Another role's key in [common] is none of this role's business; a misspelt one of its own is.
      if (section === COMMON_SECTION && !shared && !meant) continue
      problems.push({ key: `${section}.${name}`, value: '', origin, expected: unknown('key', meant, names) })
    }
  }
}

function readEnvironment(
  definition: AnyConfigDefinition,
  { env = {}, siblings = [] }: ConfigSources,
  take: Take,
  problems: ConfigProblem[]
): void {
  const names = keyNames(definition)
  const byVariable = new Map(names.map(name => [envName(definition.section, name), name]))
  for (const name of names) {
    const variable = envName(COMMON_SECTION, name)
    if (env[variable]) take(name, { raw: env[variable], origin: variable })
  }
  const prefix = envName(COMMON_SECTION, '')
  const common = [...names, ...siblings.flatMap(keyNames)]
  for (const [variable, raw] of Object.entries(env)) {
    if (!raw || !variable.startsWith(prefix)) continue
    const name = variable.slice(prefix.length).toLowerCase()
    if (common.includes(name)) continue
    const meant = nearest(name, common)
    // As in the file's [common]: it may be another role's, unless it looks like a misspelling.
    if (siblings.length === 0 && !meant) continue
    const variables = common.map(known => envName(COMMON_SECTION, known))
    const expected = unknown('variable', meant && envName(COMMON_SECTION, meant), variables)
    problems.push({ key: variable, value: '', origin: 'environment', expected })
  }
  // A section may begin with another's name (`storage`, `storage_group`): the longer prefix owns the variable.
  const longer = siblings
    .map(({ section }) => envName(section, ''))
    .filter(p => p !== envName(definition.section, ''))
  for (const [variable, raw] of Object.entries(env)) {
    if (!raw || !variable.startsWith(envName(definition.section, ''))) continue
    const name = byVariable.get(variable)
    if (name !== undefined) {
      take(name, { raw, origin: variable })
    } else if (
      !longer.some(
        prefix => prefix.length > envName(definition.section, '').length && variable.startsWith(prefix)
      )
    ) {
      const known = [...byVariable.keys()]
      problems.push({
        key: variable,
        value: '',
        origin: 'environment',
        expected: unknown('variable', nearest(variable, known), known)
      })
    }
  }
}

function readFlags(
  definition: AnyConfigDefinition,
  flags: Readonly<Record<string, unknown>>,
  take: Take,
  problems: ConfigProblem[]
): void {
  const byFlag = new Map<string, { name: string; flag: string }>()
  for (const [name, key] of Object.entries(definition.keys)) {
    const flag = key.type === 'secret' ? `--${name.replaceAll('_', '-')}-file` : flagOf(name, key)
    if (flag === undefined) continue
    byFlag.set(camelCase(flag.replace(/^--/, '')), {
      name: key.type === 'secret' ? `${name}_file` : name,
      flag
    })
  }
  for (const [given, raw] of Object.entries(flags)) {
    if (raw === undefined) continue
    const known = byFlag.get(camelCase(given.replace(/^--/, '')))
    if (known) {
      take(known.name, { raw, origin: known.flag })
      continue
    }
    const all = [...byFlag.values()].map(({ flag }) => flag)
    const written = given.startsWith('--') ? given : `--${given}`
    problems.push({
      key: written,
      value: '',
      origin: 'flags',
      expected: unknown('flag', nearest(written, all), all)
    })
  }
}

/** Reads a secret out of the file that `<key>_file` names. */
function secretFromFile(
  name: string,
  key: ConfigKey,
  given: Map<string, Given>,
  problems: ConfigProblem[]
): Given | undefined {
  if (key.type !== 'secret') return undefined
  const entry = given.get(`${name}_file`)
  if (entry === undefined) return undefined
  try {
    if (typeof entry.raw !== 'string') throw new Error('the path is not a text')
    const raw = readBounded(entry.raw).replace(/\r?\n$/, '')
    if (raw === '') throw new Error('the file is empty')
    return { raw, origin: `file named by ${entry.origin}` }
  } catch (error) {
    problems.push({
      key: `${name}_file`,
      value: typeof entry.raw === 'string' ? entry.raw : '',
      origin: entry.origin,
      expected: `a file that holds the secret: ${(error as Error).message}`
    })
    return undefined
  }
}

/** Keys as they may be written in the file and the environment: with `<secret>_file`. */
function keyNames({ keys }: AnyConfigDefinition): string[] {
  return Object.entries(keys).flatMap(([name, { type }]) =>
    type === 'secret' ? [name, `${name}_file`] : [name]
  )
}

function secretOf(keys: ConfigKeys, name: string): string | undefined {
  if (keys[name]?.type === 'secret') return name
  const without = name.endsWith('_file') ? name.slice(0, -'_file'.length) : ''
  return keys[without]?.type === 'secret' ? without : undefined
}

function envName(section: string, name: string): string {
  return `TRIBUTARY_${section}_${name}`.toUpperCase()
}

function unknown(kind: string, meant: string | undefined, known: readonly string[]): string {
  if (meant) return `a known ${kind}; did you mean '${meant}'?`
  return `a known ${kind}: ${known.join(', ')}`
}

function describeProblem({ key, value, origin, expected }: ConfigProblem): string {
  return `  ${key}${value === '' ? '' : ` = ${value}`} (${origin}): expected ${expected}`
}

function freeze(value: unknown): unknown {
  if (Array.isArray(value)) return Object.freeze([...(value as unknown[])].map(freeze))
  if (value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.freeze(value)
  }
  return value
}
