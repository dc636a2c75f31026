import { resolve } from 'node:path'
import type { Command } from 'commander'
import { openDatabase } from '@tributary/database'
import { checkMount, createStorage, initStore, storageConfig } from '@tributary/storage'
import { buildLeave } from './storage-leave.ts'
import { databaseUrls } from '../database-flag.ts'
import { buildServer } from '../server-command.ts'
import type { Terminal } from '../terminal.ts'

const EXAMPLES = `Examples:
  tributary storage init /srv/media --group group001 --database mysql://tributary@10.0.0.9/tributary
  tributary storage --stores /srv/media --group group001 --trackers 10.0.0.5:21000,10.0.0.6:21000
                    --id-servers 10.0.0.5:22000 --database mysql://tributary@10.0.0.9/tributary
  tributary storage leave`

export function build(command: Command, terminal: Terminal): void {
  buildServer(command, terminal, { definition: storageConfig, create: createStorage }, EXAMPLES)
  buildLeave(command, terminal)
  command
    .command('init')
    .helpOption('-h, --help', 'show help') // the server's own command leaves its flags to the configuration
    .description(
      'Make a folder, or a mounted volume, the store of a group. Members that share it share its marker.'
    )
    .argument('<folder>', 'store path')
    .option('-g, --group <name>', 'group that the store belongs to', 'group001')
    .option(
      '--mount <type>',
      'refuse unless the folder is on a mount of this type, such as fuse.glusterfs',
      'any'
    )
    .option('--database <url>', 'sqlite:/path/index.db or mysql://… (TRIBUTARY_STORAGE_DATABASE)')
    .addHelpText('after', `\n${EXAMPLES}\n`)
    .action(async (folder: string, flags: { group: string; mount: string; database?: string }) => {
      const urls = databaseUrls(flags.database, terminal, 'TRIBUTARY_STORAGE_DATABASE')
      const database = await openDatabase(urls)
      try {
        const root = resolve(terminal.folder, folder)
        checkMount(root, flags.mount)
        const marker = await initStore(root, { cluster: await database.clusterId(), group: flags.group })
        await database.routes.addGroup(flags.group)
        terminal.port.writeOut(
          `${root} is store ${marker.store} of ${marker.group}, since ${marker.createdAt}\n`
        )
      } finally {
        await database.close()
      }
    })
}
