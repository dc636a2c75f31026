import type { Command } from 'commander'
import { addClientFlags, withClient } from '../client-command.ts'
import type { Terminal } from '../terminal.ts'

export function build(command: Command, terminal: Terminal): void {
  addClientFlags(command.argument('<file>', 'file id'))
    .addHelpText('after', '\nPrints the number of bytes.\n\nExample:\n  tributary size 0lx3k9v2a…\n')
    .action((file: string, flags: { json?: boolean }) =>
      withClient(flags, terminal, async run => {
        const key = run.keyOf(file)
        const sizeBytes = await run.client.size(key, { signal: run.signal })
        run.print(run.json ? JSON.stringify({ ...key, sizeBytes }) : String(sizeBytes))
      })
    )
}
