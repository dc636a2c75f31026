/** What the commands that talk to a cluster have in common: flags, client, interruption, output. */
import { InvalidArgumentError, type Command } from 'commander'
import { Client } from '@tributary/client'
import type { FileKey } from '@tributary/protocol'
import { clientSettings, type ClientFlags, type ClientSettings } from './client-settings.ts'
import { EXIT_CODES } from './exit-code.ts'
import { ProgressBar } from './progress-bar.ts'
import type { Terminal } from './terminal.ts'
import { programVersion } from './version.ts'

/** A server that died is back within 3 s; whoever stands at a terminal does not want to wait longer. */
const RETRY_FOR_MS = 3_000

export interface ClientRun {
  client: Client
  settings: ClientSettings
  signal: AbortSignal
  json: boolean
  keyOf(file: string): FileKey
  urlOf(key: FileKey): string
  /** A result: a line on standard output. */
  print(line: string): void
  /** A remark: a line on standard error. */
  remark(line: string): void
  bar(label: string): ProgressBar
}

export function addClientFlags(command: Command): Command {
  return command
    .option('-t, --trackers <list>', 'host:port,… (TRIBUTARY_TRACKERS; default 127.0.0.1:21000)')
    .option('-a, --app <id>', 'application (TRIBUTARY_APP; default media)')
    .option('-u, --user <id>', 'user (TRIBUTARY_USER; default public)')
    .option('--http-url <url>', 'address of the HTTP server, for the links printed (TRIBUTARY_HTTP_URL)')
    .option('--timeout <seconds>', 'longest wait for one reply')
    .option('--config <file>', 'TOML file instead of ~/.config/tributary/config.toml (TRIBUTARY_CONFIG)')
    .option('--json', 'results as JSON, one object a line')
}

/** Runs `body` with a client that is closed afterwards; Ctrl-C ends it in order, twice at once. */
export async function withClient(
  flags: ClientFlags & { json?: boolean },
  terminal: Terminal,
  body: (run: ClientRun) => Promise<void>
): Promise<void> {
  const settings = clientSettings(flags, terminal)
  const { port } = terminal
  const ended = new AbortController()
  const unsubscribe = (['SIGINT', 'SIGTERM'] as const).map(signal =>
    port.onSignal(signal, () => {
      const { code } = signal === 'SIGINT' ? EXIT_CODES.interrupted : EXIT_CODES.terminated
      if (ended.signal.aborted) port.exit(code)
      port.setExitCode(code)
      ended.abort(new Error(signal))
    })
  )
  const client = new Client({
    trackers: settings.trackers,
    version: programVersion(),
    ...settings.wire,
    retryForMs: Math.min(RETRY_FOR_MS, settings.callTimeoutMs ?? RETRY_FOR_MS),
    ...(settings.callTimeoutMs !== undefined && { callTimeoutMs: settings.callTimeoutMs })
  })
  try {
    await body({
      client,
      settings,
      signal: ended.signal,
      json: flags.json ?? false,
      keyOf: file => ({ application: settings.application, user: settings.user, file }),
      urlOf: ({ application, user, file }) =>
        `${settings.httpUrl}/files/${[application, user, file].map(encodeURIComponent).join('/')}`,
      print: line => port.writeOut(`${line}\n`),
      remark: line => port.writeError(`${line}\n`),
      bar: label =>
        new ProgressBar(label, {
          isTty: terminal.stderrIsTty && !flags.json,
          columns: terminal.columns,
          write: text => port.writeError(text)
        })
    })
  } finally {
    for (const off of unsubscribe) off()
    client.close()
  }
}

/** For commander: a whole number from 0. */
export function wholeNumber(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError('A whole number is expected.')
  return value
}
