import { resolve } from 'node:path'
import type { Command } from 'commander'
import { gatewayConfig } from '@tributary/gateway'
import { idServerConfig } from '@tributary/idserver'
import { ConfigError, explainConfig, type AnyConfigDefinition, type EffectiveRow } from '@tributary/runtime'
import { storageConfig } from '@tributary/storage'
import { trackerConfig } from '@tributary/tracker'
import { workerConfig } from '@tributary/worker'
import { EXIT_CODES, QuietExit, UsageError } from '../exit-code.ts'
import type { Terminal } from '../terminal.ts'

const DEFINITIONS = [trackerConfig, idServerConfig, storageConfig, gatewayConfig, workerConfig] as const

export function build(command: Command, terminal: Terminal): void {
  const { port, folder } = terminal
  const roles = DEFINITIONS.map(({ section }) => section)
  command
    .command('check')
    .description(
      'Check a configuration file with the environment, and show every value in use and its origin.'
    )
    .argument(
      '[file]',
      'TOML file with [common] and a table per role; without it the environment alone is checked'
    )
    .option('--role <role>', `only this one: ${roles.join(', ')}; default: all`)
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  tributary config check /etc/tributary/tributary.toml --role storage\n'
    )
    .action((file: string | undefined, flags: { role?: string; json?: boolean }) => {
      if (flags.role !== undefined && !(roles as string[]).includes(flags.role)) {
        throw new UsageError(`--role: one of ${roles.join(', ')} is expected, not '${flags.role}'`)
      }
      const chosen = DEFINITIONS.filter(({ section }) => flags.role === undefined || section === flags.role)
      const rows: EffectiveRow[] = []
      const problems = new Set<string>()
      for (const definition of chosen as readonly AnyConfigDefinition[]) {
        try {
          rows.push(
            ...explainConfig(definition as (typeof DEFINITIONS)[0], {
              env: port.env,
              siblings: DEFINITIONS.filter(other => other.section !== definition.section),
              ...(file !== undefined && { file: resolve(folder, file) })
            })
          )
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error
          // A problem of the file itself is every role's.
          for (const line of error.message.split('\n').slice(1)) problems.add(line.trim())
        }
      }
      if (flags.json) port.writeOut(`${JSON.stringify({ values: rows, problems: [...problems] })}\n`)
      else {
        for (const { key, value, origin } of rows) port.writeOut(`${key} = ${value}  (${origin})\n`)
        for (const problem of problems) port.writeError(`${problem}\n`)
      }
      if (problems.size > 0) throw new QuietExit(EXIT_CODES.usage.code)
    })
}
