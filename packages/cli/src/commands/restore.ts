import { resolve } from 'node:path'
import { InvalidArgumentError, type Command } from 'commander'
import { runRestore } from '@tributary/storage'
import { databaseUrls } from '../database-flag.ts'
import { countText, visibleText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'

const IDS_AHEAD = 1_000_000

interface Flags {
  database?: string
  from: string
  replace?: boolean
  idsAhead: number
  json?: boolean
}

export function build(command: Command, terminal: Terminal): void {
  const { port, folder } = terminal
  command
    .argument('[store...]', 'all store paths: what they know that is newer than the backup is entered too')
    .requiredOption('--from <folder>', 'the backup')
    .option('--database <url>', 'sqlite:/path/index.db or mysql://… (TRIBUTARY_COMMON_DATABASE)')
    .option('--replace', 'the database may have rows, of the same cluster; the backup takes their place')
    .option(
      '--ids-ahead <count>',
      'how far counters that no store vouches for go on above the backup',
      wholeNumber,
      IDS_AHEAD
    )
    .option('--json', 'the report as JSON')
    .addHelpText(
      'after',
      `
Servers must stand still. The database may be of another engine than the one that was saved.

Examples:
  tributary restore data/stores/group001 --from /backup/monday --database sqlite:data/index.db
  tributary restore /srv/media --from /backup/monday --database mysql://migrate:secret@10.0.0.9/tributary
`
    )
    .action(async (stores: string[], flags: Flags) => {
      const report = await runRestore({
        stores: stores.map(store => resolve(folder, store)),
        database: databaseUrls(flags.database, terminal, 'TRIBUTARY_COMMON_DATABASE'),
        from: resolve(folder, flags.from),
        replaces: flags.replace ?? false,
        idsAhead: flags.idsAhead
      })
      const { manifest, restored, replayed, findings, notGiven } = report
      for (const { store, group, files } of notGiven) {
        port.writeError(
          `tributary: store ${store} of ${visibleText(group)} (${countText(files, 'file')}) was not given: what became of it after the backup is not known; run fsck --rebuild-index with it before its servers start\n`
        )
      }
      if (flags.json) return port.writeOut(`${JSON.stringify(report)}\n`)
      port.writeOut(
        `backup of ${new Date(manifest.startedAtMs).toISOString()}: ${countText(restored.files, 'file')}, ${countText(restored.routes, 'user')}, ${countText(restored.groups, 'group')}, ${countText(restored.applications, 'application')}\n`
      )
      const { inserted, removed, conflicts, journalDamage } = replayed
      port.writeOut(
        `newer than it: ${countText(inserted, 'file')} entered, ${removed} that were deleted taken out, ${conflicts} in conflict; ${journalDamage} damaged journal records\n`
      )
      for (const { kind, path, file, detail } of findings) {
        port.writeOut(`${kind}  ${visibleText(path)}  ${visibleText(file)}  ${visibleText(detail)}\n`)
      }
      port.writeOut('The database can be used. fsck tells whether every file is there.\n')
    })
}

function wholeNumber(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError('a whole number that is not negative is expected')
  return value
}
