import type { Command } from 'commander'
import { runUntilSignal, type Log, type LogFields } from '@tributary/runtime'
import { wholeNumber } from '../client-command.ts'
import { sentenceOf, type Terminal } from '../terminal.ts'
import { ClusterRun } from '../up/cluster-run.ts'
import { lanAddress } from '../up/lan-address.ts'
import { planUp, type UpFlags } from '../up/up-plan.ts'

/** A server lets transfers in hand end within 10 s; all of them together get a little longer. */
const STOP_MS = 15_000

export function build(command: Command, terminal: Terminal): void {
  command
    .option('--data <folder>', 'where everything is kept', './data')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option(
      '--tracker-port <port>',
      'of the tracker; 0 takes any free one, here and below',
      wholeNumber,
      21_000
    )
    .option('--id-port <port>', 'of the ID server', wholeNumber, 22_000)
    .option('--storage-port <port>', 'of the first storage server; the others follow', wholeNumber, 23_000)
    .option('--storages <count>', 'storage servers of the one group', wholeNumber, 2)
    .option('--http-port <port>', 'of the HTTP server', wholeNumber, 8_080)
    .option('--apps <list>', 'applications that may store files; the first is the default', 'media')
    .option('--database <url>', 'mysql://user:password@host:port/name (default: a file in the data folder)')
    .option('--redis <url>', 'cache in front of MySQL: redis://host:port')
    .option('--lan', 'let machines of the local network watch, such as phone and television')
    .option('--certificate <file>', 'HTTPS instead of HTTP: PEM file of a certificate and its chain')
    .option('--private-key <file>', "PEM file of the certificate's key")
    .option('--workers <count>', 'processes that move data, of each storage server', wholeNumber, 1)
    .option('--profiles <list>', 'renditions to make of each film, such as 720p,360p (default: none)')
    .option('--no-worker', 'no looking into films, no posters, thumbnails and renditions')
    .option('--insecure', 'let everybody who reaches this machine write')
    .option('--verbose', "show everything in the servers' logs")
    .addHelpText(
      'after',
      `
One tracker, one ID server, two storage servers, one HTTP server and one worker, each a process of its own that is started
again if it dies. Prints a line beginning 'ready' with the address when all of them answer. Ctrl-C stops them in order.

Examples:
  tributary up
  tributary up --lan --data ~/films
  tributary up --database mysql://tributary:secret@127.0.0.1:3306/tributary --redis redis://127.0.0.1:6379
`
    )
    .action(async (given: UpFlags) => {
      const { env } = terminal.port
      // The gateway would find these by itself, and then the address that is told must say so.
      const flags: UpFlags = {
        certificate: env['TRIBUTARY_GATEWAY_CERTIFICATE'] || undefined,
        privateKey: env['TRIBUTARY_GATEWAY_PRIVATE_KEY'] || undefined,
        ...given
      }
      const cluster = new ClusterRun(planUp(flags, terminal.folder, lanAddress()), terminal)
      await runUntilSignal(cluster, {
        port: terminal.port,
        log: plainLog(terminal, flags.verbose ?? false),
        stopMs: STOP_MS,
        ...(!terminal.hasTerminal && { onReload: () => cluster.reload() })
      })
    })
}

/** Sentences for the person at the terminal; a stack only where it is asked for. */
function plainLog({ port }: Terminal, verbose: boolean): Log {
  const nothing = (): void => {}
  const tell = (first: LogFields | string, message?: string): void => {
    const err = typeof first === 'string' ? undefined : (first['err'] as Error | undefined)
    port.writeError(`tributary: ${message ?? (first as string)}\n`)
    if (verbose && err instanceof Error) port.writeError(`${err.stack ?? sentenceOf(err)}\n`)
  }
  const log: Log = {
    fatal: tell,
    error: tell,
    warn: tell,
    info: nothing,
    debug: nothing,
    child: () => log,
    setLevel: nothing,
    flush: nothing
  }
  return log
}
