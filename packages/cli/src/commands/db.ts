import type { Command } from 'commander'
import { migrateDatabase, openDatabase } from '@tributary/database'
import { isGroupName, isName } from '@tributary/protocol'
import { databaseUrls } from '../database-flag.ts'
import { UsageError } from '../exit-code.ts'
import type { Terminal } from '../terminal.ts'

const DATABASE = [
  '--database <url>',
  'sqlite:/path/index.db or mysql://… (TRIBUTARY_COMMON_DATABASE)'
] as const
const VARIABLE = 'TRIBUTARY_COMMON_DATABASE'
const APPLICATION_CHARACTERS_MAX = 15

export function build(command: Command, terminal: Terminal): void {
  const { port } = terminal
  command.addHelpText(
    'after',
    `
Examples:
  tributary db migrate --database mysql://tributary:secret@10.0.0.9/tributary
  tributary db add-application media --database sqlite:/srv/tributary/index.db
`
  )
  command
    .command('migrate')
    .description('Bring the schema up to date. Safe to run at any time, also twice at once.')
    .option(...DATABASE)
    .action(async (flags: { database?: string }) => {
      const { from, to } = await migrateDatabase(databaseUrls(flags.database, terminal, VARIABLE))
      port.writeOut(from === to ? `schema ${to}: up to date\n` : `schema ${from} → ${to}\n`)
    })
  command
    .command('add-application')
    .description('Let an application store files. Adding one that is there changes nothing.')
    .argument('<id>', '1 to 15 letters or digits')
    .option(...DATABASE)
    .action(async (id: string, flags: { database?: string }) => {
      if (!isName(id) || id.length > APPLICATION_CHARACTERS_MAX) {
        throw new UsageError(`'${id}' is no application id: 1 to 15 letters or digits are expected`)
      }
      await change(flags, terminal, database => database.routes.addApplication(id))
    })
  command
    .command('add-group')
    .description('Let a group have users. Adding one that is there changes nothing.')
    .argument('<name>', '1 to 16 letters or digits')
    .option(...DATABASE)
    .action(async (name: string, flags: { database?: string }) => {
      if (!isGroupName(name))
        throw new UsageError(`'${name}' is no group name: 1 to 16 letters or digits are expected`)
      await change(flags, terminal, database => database.routes.addGroup(name))
    })
}

async function change(
  flags: { database?: string },
  terminal: Terminal,
  action: (database: Awaited<ReturnType<typeof openDatabase>>) => Promise<void>
): Promise<void> {
  const database = await openDatabase(databaseUrls(flags.database, terminal, VARIABLE))
  try {
    await action(database)
  } finally {
    await database.close()
  }
}
