import { InvalidArgumentError, Option, type Command } from 'commander'
import { READ_RULES, type ApplicationRules, type Quotas, type ReadRule } from '@tributary/calls'
import { parseByteSize } from '@tributary/runtime'
import { noteAudit } from '../audited.ts'
import { addClientFlags, wholeNumber, withClient } from '../client-command.ts'
import { bytesText, countText } from '../quantity-text.ts'
import { UsageError } from '../exit-code.ts'
import type { Terminal } from '../terminal.ts'

interface Flags {
  json?: boolean
}
interface SetFlags extends Flags, Partial<Quotas> {
  reads?: ReadRule
}

export function build(command: Command, terminal: Terminal): void {
  command.addHelpText(
    'after',
    `
Who may read an application's films:
  open     whoever may connect to a gateway (as long as nothing else is set)
  signed   whoever has a token, a signed address or a share link
  token    whoever has a token

Examples:
  tributary access list
  tributary access set media --reads signed --user-bytes-max 500GiB
  tributary access keys
  tributary access rotate-key
  tributary access remove-key 5f0c9a1b22
`
  )
  verb(command, 'list', 'Show who may read each application, and its quotas.').action((flags: Flags) =>
    withClient(flags, terminal, async run => {
      const { applications } = await run.client.index('applications.list', {}, { signal: run.signal })
      for (const rules of applications) run.print(run.json ? JSON.stringify(rules) : lineOf(rules))
    })
  )
  verb(
    command,
    'set',
    'Change the rules of an application; what is not named stays. Counts within a second or two.'
  )
    .argument('<application>')
    .addOption(new Option('--reads <rule>', 'who may read').choices([...READ_RULES]))
    .option('--bytes-max <size>', 'most that all its files may have, such as 2TiB; 0: no bound', sizeOf)
    .option('--files-max <count>', 'most files; 0: no bound', wholeNumber)
    .option('--user-bytes-max <size>', 'the same for each of its users', sizeOf)
    .option('--user-files-max <count>', 'the same for each of its users', wholeNumber)
    .option('--requests-per-s <count>', 'of one token or address, at each gateway; 0: no bound', wholeNumber)
    .action((application: string, { reads, ...flags }: SetFlags) =>
      withClient(flags, terminal, async run => {
        const quotas: Partial<Quotas> = {}
        for (const name of QUOTA_NAMES) if (flags[name] !== undefined) quotas[name] = flags[name]
        if (reads === undefined && Object.keys(quotas).length === 0) {
          throw new UsageError('nothing is to be changed: name --reads or a quota')
        }
        const { rules } = await run.client.index(
          'applications.setRules',
          { application, ...(reads !== undefined && { reads }), quotas },
          { signal: run.signal }
        )
        await noteAudit(run, 'application.setRules', application)
        run.print(run.json ? JSON.stringify(rules) : lineOf(rules))
      })
    )
  verb(command, 'keys', 'Show the keys that sign addresses, without their secrets.').action((flags: Flags) =>
    withClient(flags, terminal, async run => {
      const { keys } = await run.client.index('keys.list', {}, { signal: run.signal })
      for (const key of keys) {
        const made = new Date(key.createdAtMs).toISOString().slice(0, 10)
        run.print(run.json ? JSON.stringify(key) : `${key.id}  ${key.state}  made ${made}`)
      }
    })
  )
  verb(command, 'rotate-key', 'Make a key that signs from now on; addresses signed before stay good.').action(
    (flags: Flags) =>
      withClient(flags, terminal, async run => {
        const { key } = await run.client.index('keys.rotate', { application: '' }, { signal: run.signal })
        await noteAudit(run, 'key.rotate', key.id)
        run.print(run.json ? JSON.stringify(key) : key.id)
      })
  )
  verb(command, 'remove-key', 'Forget a key: what it signed is refused.')
    .argument('<id>')
    .action((id: string, flags: Flags) =>
      withClient(flags, terminal, async run => {
        await run.client.index('keys.remove', { id }, { signal: run.signal })
        await noteAudit(run, 'key.remove', id)
        run.remark(`${id} is removed`)
      })
    )
}

const QUOTA_NAMES = ['bytesMax', 'filesMax', 'userBytesMax', 'userFilesMax', 'requestsPerS'] as const

function verb(command: Command, name: string, describe: string): Command {
  return addClientFlags(command.command(name).description(describe))
}

/** For commander: `2TiB`, `0`. */
function sizeOf(text: string): number {
  try {
    return parseByteSize(text)
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

function lineOf({ application, reads, quotas }: ApplicationRules): string {
  const { bytesMax, filesMax, userBytesMax, userFilesMax, requestsPerS } = quotas
  const bounds = [
    bytesMax > 0 ? `${bytesText(bytesMax)} in all` : '',
    filesMax > 0 ? `${countText(filesMax, 'file')} in all` : '',
    userBytesMax > 0 ? `${bytesText(userBytesMax)} a user` : '',
    userFilesMax > 0 ? `${countText(userFilesMax, 'file')} a user` : '',
    requestsPerS > 0 ? `${countText(requestsPerS, 'request')} a second` : ''
  ].filter(text => text !== '')
  return `${application}  reads ${reads}  ${bounds.length > 0 ? bounds.join(', ') : 'no quotas'}`
}
