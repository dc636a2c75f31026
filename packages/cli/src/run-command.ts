/** Reads the arguments, runs one verb, says in one sentence what went wrong. */
import { Command, CommanderError } from 'commander'
import { describeStartFailure } from '@tributary/runtime'
import { EXIT_CODES, exitCodeOf, exitCodeText, QuietExit } from './exit-code.ts'
import { sentenceOf, type Terminal } from './terminal.ts'
import { VERBS } from './verbs.ts'
import { programVersion } from './version.ts'

/** @returns The exit code. */
export async function runCommand(args: readonly string[], terminal: Terminal): Promise<number> {
  const { port } = terminal
  const program = new Command('tributary')
  const output = {
    writeOut: (text: string) => port.writeOut(text),
    writeErr: (text: string) => port.writeError(text)
  }
  program
    .description('Distributed streaming media on your own machines.')
    .version(programVersion(), '-V, --version', 'print the version')
    .option('--verbose', 'show where an error comes from')
    .helpOption('-h, --help', 'show help')
    .configureOutput(output)
    .showSuggestionAfterError()
    .exitOverride()
    .enablePositionalOptions()
    .addHelpText(
      'after',
      `
Examples:
  tributary up                         a cluster in ./data, and a page to upload and watch at http://127.0.0.1:8080
  tributary upload film.mp4            stores a film and prints the link that plays
  tributary download ID                gets it back

Every command explains itself: tributary upload --help

Exit codes:
${exitCodeText()}
`
    )
  const wanted = args.find(arg => !arg.startsWith('-'))
  const named = wanted === 'help' ? args[args.indexOf('help') + 1] : wanted
  for (const verb of VERBS) {
    const command = program
      .command(verb.name)
      .description(`${verb.describe[0]!.toUpperCase()}${verb.describe.slice(1)}.`)
      .summary(verb.describe)
      .helpGroup(`${verb.group}:`)
      .configureOutput(output)
      .exitOverride()
      .showSuggestionAfterError()
    if (verb.name !== named) continue
    if (verb.group === 'Files') command.option('--verbose', 'show where an error comes from')
    ;(await verb.load()).build(command, terminal)
  }
  try {
    if (args.length === 0) {
      program.outputHelp({ error: true })
      return EXIT_CODES.usage.code
    }
    await program.parseAsync([...args], { from: 'user' })
    return EXIT_CODES.ok.code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_CODES.usage.code
    if (error instanceof QuietExit) return error.exitCode
    const sentence =
      (error as { code?: unknown })?.code === 'EADDRINUSE' ? describeStartFailure(error) : sentenceOf(error)
    port.writeError(`tributary: ${sentence}\n`)
    if (args.includes('--verbose') && error instanceof Error) port.writeError(`${error.stack}\n`)
    return exitCodeOf(error)
  }
}
