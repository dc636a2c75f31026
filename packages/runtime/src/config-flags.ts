import { parseArgs } from 'node:util'
import { ConfigError, describeConfig, type ConfigProblem } from './config.ts'
import type { AnyConfigDefinition } from './config-key.ts'
import { nearest } from './near-miss.ts'

export interface ConfigArguments {
  /** From `--config FILE`. */
  file: string | undefined
  /** To be handed to loadConfig. */
  flags: Record<string, unknown>
  help: boolean
}

/**
 * Reads the arguments of a server's own command: the flags of its keys, `--config FILE` and `--help`.
 * `--flag value`, `--flag=value`, `--flag` and `--no-flag` for booleans; lists may be given with commas
 * or by repeating the flag.
 *
 * @throws {ConfigError} naming unknown flags and surplus arguments, all at once.
 */
export function parseConfigFlags(definition: AnyConfigDefinition, args: readonly string[]): ConfigArguments {
  const rows = describeConfig(definition).filter(({ flag }) => flag !== '')
  const byName = new Map(rows.map(row => [row.flag.replace(/^--/, ''), row]))
  const options: Record<string, { type: 'string' | 'boolean'; multiple?: boolean; short?: string }> = {
    config: { type: 'string', short: 'c' },
    help: { type: 'boolean', short: 'h' }
  }
  for (const [name, { type }] of byName) {
    options[name] = { type: type === 'boolean' ? 'boolean' : 'string', multiple: isList(type) }
  }
  const problems: ConfigProblem[] = []
  const result: ConfigArguments = { file: undefined, flags: {}, help: false }
  const { tokens } = parseArgs({ args: [...args], options, strict: false, allowNegative: true, tokens: true })
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue
    if (token.kind === 'positional') {
      problems.push({ key: token.value, value: '', origin: 'arguments', expected: 'flags only' })
      continue
    }
    const { name, rawName, value } = token
    const row = byName.get(name) ?? byName.get(name.replace(/^no-/, ''))
    if (name === 'help') {
      result.help = true
    } else if (row?.type === 'boolean') {
      result.flags[row.flag] = value ?? !rawName.startsWith('--no-')
    } else if (row === undefined && name !== 'config') {
      const meant = nearest(rawName, [...rows.map(({ flag }) => flag), '--config', '--help'])
      const expected = meant ? `a known flag; did you mean '${meant}'?` : 'a known flag; see --help'
      problems.push({ key: rawName, value: '', origin: 'arguments', expected })
    } else if (value === undefined) {
      problems.push({ key: rawName, value: '', origin: 'arguments', expected: 'a value after it' })
    } else if (name === 'config') {
      result.file = value
    } else if (row) {
      const before = result.flags[row.flag]
      result.flags[row.flag] = isList(row.type) && typeof before === 'string' ? `${before},${value}` : value
    }
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return result
}

/** The flags of a role with their defaults, one a line, for --help. */
export function helpText(definition: AnyConfigDefinition): string {
  const rows = describeConfig(definition).filter(({ flag }) => flag !== '')
  const left = rows.map(({ flag, type }) => {
    // What a secret's flag takes is the file that holds it.
    return type === 'boolean' ? flag : `${flag} <${type === 'secret' ? 'path' : type}>`
  })
  const width = Math.max(...left.map(text => text.length), '--config <path>'.length)
  const line = (flag: string, text: string): string => `  ${flag.padEnd(width)}  ${text}`
  return [
    ...rows.map(({ describe, type, expected, default: preset, required }, index) => {
      const choices = type === 'choice' ? `: ${expected}` : ''
      const note = required ? ' (required)' : preset === '' ? '' : ` (default ${preset})`
      return line(left[index] ?? '', describe + choices + note)
    }),
    line('--config <path>', `TOML file with [common] and [${definition.section}]`),
    line('--help', 'this text')
  ].join('\n')
}

function isList(type: string): boolean {
  return type === 'list' || type === 'addresses'
}
