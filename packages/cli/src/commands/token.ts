import { InvalidArgumentError, Option, type Command } from 'commander'
import { RIGHTS, type AccessGrant, type Right, type TokenEntry } from '@tributary/calls'
import { makeAccessId, makeSecret, TOKEN_PREFIX } from '@tributary/client'
import { checkFileKey } from '@tributary/protocol'
import { noteAudit } from '../audited.ts'
import { addClientFlags, withClient } from '../client-command.ts'
import { durationS } from '../duration-text.ts'
import { visibleText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'

const PAGE = 500
const DAY_MS = 86_400_000

interface Flags {
  json?: boolean
}
interface CreateFlags extends Flags {
  right: Right
  on?: AccessGrant[]
  expires?: number
}

export function build(command: Command, terminal: Terminal): void {
  command.addHelpText(
    'after',
    `
Examples:
  tributary token create phone --right read
  tributary token create uploader --right write --on media/anna --expires 90d
  tributary token list
  tributary token revoke 0k3x9…
`
  )
  verb(command, 'create', 'Make a token. Its secret is printed this once: what is stored is a hash.')
    .argument('<name>', 'what it is for, as lists show it')
    .addOption(new Option('--right <right>', 'the most it may do').choices([...RIGHTS]).makeOptionMandatory())
    .option(
      '--on <application[/user]>',
      'only there; may be given several times (default everywhere)',
      addPlace
    )
    .option('--expires <time>', 'such as 12h, 90d or 1y (default never)', durationS)
    .action((name: string, flags: CreateFlags) =>
      withClient(flags, terminal, async run => {
        const { secret, hash } = makeSecret(TOKEN_PREFIX)
        const places = flags.on ?? [{ application: '*', rights: [] }]
        const { token } = await run.client.index(
          'tokens.create',
          {
            id: makeAccessId(),
            hash,
            name,
            grants: places.map(place => ({ ...place, rights: [flags.right] })),
            expiresAtMs: flags.expires === undefined ? 0 : Date.now() + flags.expires * 1_000
          },
          { signal: run.signal }
        )
        await noteAudit(run, 'token.create', token.id)
        if (run.json) run.print(JSON.stringify({ ...token, secret }))
        else {
          run.remark(`token ${token.id}; keep what follows, it is not shown again:`)
          run.print(secret)
        }
      })
    )
  verb(command, 'list', 'Show tokens: id, rights, until when, when used last.')
    .option('--revoked', 'those that were revoked as well')
    .action((flags: Flags & { revoked?: boolean }) =>
      withClient(flags, terminal, async run => {
        for (let after = ''; ;) {
          const page = await run.client.index(
            'tokens.list',
            { after, limit: PAGE, revoked: flags.revoked ?? false },
            { signal: run.signal }
          )
          for (const token of page.tokens) run.print(run.json ? JSON.stringify(token) : lineOf(token))
          if (page.next === undefined) return
          after = page.next
        }
      })
    )
  verb(command, 'revoke', 'End a token and the sessions opened with it: dead at every gateway within 5 s.')
    .argument('<id...>', 'as in the list')
    .action((ids: string[], flags: Flags) =>
      withClient(flags, terminal, async run => {
        for (const id of ids) {
          await run.client.index('tokens.revoke', { id }, { signal: run.signal })
          await noteAudit(run, 'token.revoke', id)
          run.remark(`${visibleText(id)} is revoked`)
        }
      })
    )
}

function verb(command: Command, name: string, describe: string): Command {
  return addClientFlags(command.command(name).description(describe))
}

function addPlace(text: string, places: AccessGrant[] = []): AccessGrant[] {
  const slash = text.indexOf('/')
  const application = slash < 0 ? text : text.slice(0, slash)
  const user = slash < 0 ? undefined : text.slice(slash + 1)
  try {
    checkFileKey({ application, user: user ?? 'any', file: 'any' })
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
  return [...places, { application, ...(user !== undefined && { user }), rights: [] }]
}

function lineOf({ id, name, grants, expiresAtMs, usedDay, revokedAtMs }: TokenEntry): string {
  const rights = grants.map(({ application, user, rights: held }) => {
    const place = user === undefined ? application : `${application}/${user}`
    return `${held.join('+')} on ${visibleText(place)}`
  })
  const used = usedDay === 0 ? 'never used' : `used ${dateOf(usedDay * DAY_MS)}`
  const end =
    revokedAtMs > 0
      ? `revoked ${dateOf(revokedAtMs)}`
      : expiresAtMs === 0
        ? 'does not expire'
        : expiresAtMs < Date.now()
          ? `expired ${dateOf(expiresAtMs)}`
          : `until ${dateOf(expiresAtMs)}`
  return `${id}  ${visibleText(name)}  ${rights.join(', ')}  ${end}  ${used}`
}

function dateOf(unixMs: number): string {
  return new Date(unixMs).toISOString().slice(0, 10)
}
