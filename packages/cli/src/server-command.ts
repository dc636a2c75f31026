/** What the commands that are servers have in common: configuration, log, life cycle. */
import type { Command } from 'commander'
import {
  createLog,
  ConfigError,
  helpText,
  loadConfig,
  parseConfigFlags,
  reloadConfig,
  runMain,
  runUntilSignal,
  systemClock,
  type Clock,
  type ConfigDefinition,
  type ConfigKeys,
  type ConfigSources,
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
export interface Server<Config> {
  start(signal?: AbortSignal): Promise<HostPort>
  stop(deadline: AbortSignal): Promise<void>
  /** Takes over what is reloadable of its own; the level of the log is changed for it. */
  reload?(config: Config): void
  /** Gives its work to others; resolves when none is left. */
  leave?(): Promise<void>
}
export interface ServerRole<Keys extends ConfigKeys> {
  definition: ConfigDefinition<Keys>
  create: (parts: ServerParts<ConfigValue<Keys>>) => Server<ConfigValue<Keys>>
}

/** Flags come from the role's own table of configuration keys, so that there is one description of each. */
export function buildServer<Keys extends ConfigKeys>(
  command: Command,
  { port, hasTerminal }: Terminal,
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
      await runServer(port, role, args, hasTerminal)
    })
}

async function runServer<Keys extends ConfigKeys>(
  port: ProcessPort,
  { definition, create }: ServerRole<Keys>,
  args: readonly string[],
  hasTerminal: boolean
): Promise<void> {
  await runMain(port, async () => {
    const { file, flags } = parseConfigFlags(definition, args)
    const sources: ConfigSources = { env: port.env, flags, ...(file !== undefined && { file }) }
    const config = loadConfig(definition, sources)
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
        ...(server.leave && { onLeave: () => server.leave!() }),
        ...(!hasTerminal && { onReload: reloader(definition, config, sources, server, log) }),
        stopMs: (stopTimeoutS ?? STOP_TIMEOUT_S_DEFAULT) * 1000,
        onReady: () => ({ host: where!.host, port: where!.port })
      }
    )
  })
}

/** @returns what SIGHUP does: the sources are read again, and taken as a whole or not at all. */
function reloader<Keys extends ConfigKeys>(
  definition: ConfigDefinition<Keys>,
  started: ConfigValue<Keys>,
  sources: ConfigSources,
  server: Server<ConfigValue<Keys>>,
  log: Log
): () => void {
  let running = started
  return () => {
    try {
      const { value, changed, needRestart } = reloadConfig(definition, running, sources)
      running = value
      const { logLevel } = value as { logLevel?: LogLevel }
      if (logLevel !== undefined) log.setLevel(logLevel)
      server.reload?.(value)
      log.info({ changed }, 'the configuration was read again')
      if (needRestart.length > 0)
        log.warn({ keys: needRestart }, `changed, and needs a restart: ${needRestart.join(', ')}`)
    } catch (err) {
      if (!(err instanceof ConfigError)) {
        log.error({ err }, 'reading the configuration again failed; it stays as it was')
        return
      }
      for (const { key, value, origin, expected } of err.problems)
        log.error({ key, value, origin, expected }, `${key}: expected ${expected}; all stays as it was`)
    }
  }
}
