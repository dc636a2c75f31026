/** What the commands that are servers have in common: configuration, log, life cycle. */
import type { Command } from 'commander'
import {
  createLog,
  helpText,
  loadConfig,
  parseConfigFlags,
  runMain,
  runUntilSignal,
  systemClock,
  type Clock,
  type ConfigDefinition,
  type ConfigKeys,
  type ConfigValue,
  type HostPort,
  type Log,
  type LogLevel,
  type ProcessPort
} from '@tributary/runtime'
import type { Terminal } from './terminal.ts'
import { programVersion } from './version.ts'

/** Where a role has no setting of its own. */
const STOP_TIMEOUT_S_DEFAULT = 10

export interface ServerParts<Config> {
  config: Config
  log: Log
  clock: Clock
  version: string
  port: ProcessPort
}
export interface Server {
  start(signal?: AbortSignal): Promise<HostPort>
  stop(deadline: AbortSignal): Promise<void>
}
export interface ServerRole<Keys extends ConfigKeys> {
  definition: ConfigDefinition<Keys>
  create: (parts: ServerParts<ConfigValue<Keys>>) => Server
}

/** Flags come from the role's own table of configuration keys, so that there is one description of each. */
export function buildServer<Keys extends ConfigKeys>(
  command: Command,
  { port }: Terminal,
  role: ServerRole<Keys>,
  examples: string
): void {
  const { definition } = role
  command
    .usage('[flags]')
    .argument('[flags...]')
    .allowUnknownOption()
    .helpOption(false)
    .action(async (_: unknown, __: unknown, self: Command) => {
      const args = self.args
      if (args.some(arg => arg === '--help' || arg === '-h')) {
        port.writeOut(
          `Usage: tributary ${self.name()} [flags]\n\n${self.description()}\n\n` +
            `Flags (over TRIBUTARY_${definition.section.toUpperCase()}_… over the file):\n${helpText(definition)}\n\n${examples}\n`
        )
        return
      }
      await runServer(port, role, args)
    })
}

async function runServer<Keys extends ConfigKeys>(
  port: ProcessPort,
  { definition, create }: ServerRole<Keys>,
  args: readonly string[]
): Promise<void> {
  await runMain(port, async () => {
    const { file, flags } = parseConfigFlags(definition, args)
    const config = loadConfig(definition, { env: port.env, flags, ...(file !== undefined && { file }) })
    const { logLevel, stopTimeoutS } = config as { logLevel?: LogLevel; stopTimeoutS?: number }
    const log = createLog({ name: definition.section, level: logLevel ?? 'info' })
    const server = create({ config, log, clock: systemClock(), version: programVersion(), port })
    let where: HostPort | undefined
    await runUntilSignal(
      {
        start: async signal => {
          where = await server.start(signal)
        },
        stop: deadline => server.stop(deadline)
      },
      {
        port,
        log,
        stopMs: (stopTimeoutS ?? STOP_TIMEOUT_S_DEFAULT) * 1000,
        onReady: () => ({ host: where!.host, port: where!.port })
      }
    )
  })
}
