import { resolve } from 'node:path'
import type { Command } from 'commander'
import { runFsck } from '@tributary/storage'
import { databaseUrls } from '../database-flag.ts'
import { EXIT_CODES, QuietExit } from '../exit-code.ts'
import { bytesText, visibleText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'

interface Flags {
  database?: string
  checksums?: boolean
  rebuildIndex?: boolean
  json?: boolean
}

export function build(command: Command, terminal: Terminal): void {
  const { port, folder } = terminal
  command
    .argument('<store...>', 'store paths')
    .option('--database <url>', 'sqlite:/path/index.db or mysql://… (TRIBUTARY_STORAGE_DATABASE)')
    .option('--checksums', 'read every file and compare its checksum; slow')
    .option(
      '--rebuild-index',
      'enter into the index what the volumes know and it does not; servers must stand still'
    )
    .option('--json', 'the report as JSON')
    .addHelpText(
      'after',
      `
Removes nothing and changes no file. Ends with ${EXIT_CODES.found.code} where index and disk differ.

Examples:
  tributary fsck data/stores/group001 --database sqlite:data/index.db
  tributary fsck data/stores/group001 --database sqlite:data/index.db --rebuild-index    after the loss of the database
`
    )
    .action(async (stores: string[], flags: Flags) => {
      const report = await runFsck({
        stores: stores.map(store => resolve(folder, store)),
        database: databaseUrls(flags.database, terminal, 'TRIBUTARY_STORAGE_DATABASE'),
        checksums: flags.checksums ?? false,
        rebuildIndex: flags.rebuildIndex ?? false
      })
      if (flags.json) port.writeOut(`${JSON.stringify(report)}\n`)
      else {
        for (const { root, files, bytes, rows } of report.stores) {
          port.writeOut(`${root}: ${files} files, ${bytesText(bytes)}, ${rows} rows\n`)
        }
        if (report.rebuilt) {
          const { inserted, already, removed, conflicts, journalDamage } = report.rebuilt
          port.writeOut(
            `index: ${inserted} rows entered, ${already} were there, ${removed} of deleted files removed, ${conflicts} in conflict; ${journalDamage} damaged journal records\n`
          )
        }
        for (const { kind, path, file, detail } of report.findings) {
          port.writeOut(`${kind}  ${visibleText(path)}  ${visibleText(file)}  ${visibleText(detail)}\n`)
        }
        port.writeOut(
          report.findings.length === 0 ? 'index and disk agree\n' : `${report.findings.length} differences\n`
        )
      }
      if (report.findings.length > 0) throw new QuietExit(EXIT_CODES.found.code)
    })
}
