import type { Command } from 'commander'
import { addClientFlags, withClient } from '../client-command.ts'
import { exitCodeOf, QuietExit } from '../exit-code.ts'
import { sentenceOf, type Terminal } from '../terminal.ts'

export function build(command: Command, terminal: Terminal): void {
  addClientFlags(
    command.argument('<file...>', 'file ids').option('-f, --force', 'a file that is not there is no error')
  )
    .addHelpText('after', '\nThere is no undo.\n\nExample:\n  tributary delete 0lx3k9v2a…\n')
    .action((files: string[], flags: { force?: boolean; json?: boolean }) =>
      withClient(flags, terminal, async run => {
        let exitCode = 0
        for (const file of files) {
          try {
            await run.client.delete(run.keyOf(file), { signal: run.signal })
            if (run.json) run.print(JSON.stringify({ ...run.keyOf(file), deleted: true }))
          } catch (error) {
            if (run.signal.aborted) throw error
            if (flags.force && (error as { code?: string }).code === 'FILE_NOT_FOUND') continue
            exitCode ||= exitCodeOf(error)
            run.remark(`tributary: ${file}: ${sentenceOf(error)}`)
          }
        }
        if (exitCode !== 0) throw new QuietExit(exitCode)
      })
    )
}
