import { resolve } from 'node:path'
import type { Command } from 'commander'
import { runBackup } from '@tributary/storage'
import { databaseUrls } from '../database-flag.ts'
import { countText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'
import { programVersion } from '../version.ts'

interface Flags {
  database?: string
  out: string
  json?: boolean
}

export function build(command: Command, terminal: Terminal): void {
  const { port, folder } = terminal
  command
    .argument('[store...]', 'store paths, whose journals are saved as well')
    .requiredOption('--out <folder>', 'where to; must not be there yet')
    .option('--database <url>', 'sqlite:/path/index.db or mysql://… (TRIBUTARY_COMMON_DATABASE)')
    .option('--json', 'what was saved, as JSON')
    .addHelpText(
      'after',
      `
Saves the index and the journals, while servers run or not. The files themselves are not in it: copy the store after
it, hidden folders included, with rsync or as a snapshot of its file system.

Examples:
  tributary backup data/stores/group001 --database sqlite:data/index.db --out /backup/monday
  rsync -a data/stores/group001/ /backup/group001/
`
    )
    .action(async (stores: string[], flags: Flags) => {
      const out = resolve(folder, flags.out)
      const manifest = await runBackup({
        stores: stores.map(store => resolve(folder, store)),
        database: databaseUrls(flags.database, terminal, 'TRIBUTARY_COMMON_DATABASE'),
        out,
        version: programVersion(),
        pid: port.pid,
        isAlive: pid => terminal.isAlive(pid)
      })
      if (flags.json) return port.writeOut(`${JSON.stringify(manifest)}\n`)
      const { counts, startedAtMs, endedAtMs } = manifest
      port.writeOut(
        `${out}: the index, with ${countText(counts.files, 'file')} and ${countText(counts.routes, 'user')}, and the journals of ${countText(stores.length, 'store')}, in ${((endedAtMs - startedAtMs) / 1_000).toFixed(1)} s\n`
      )
      port.writeOut('The files themselves are not in it: copy the stores as well.\n')
    })
}
