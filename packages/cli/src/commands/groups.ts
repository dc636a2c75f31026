import type { Command } from 'commander'
import { formatAddress, type ClusterGroup, type ClusterMember } from '@tributary/protocol'
import { addClientFlags, withClient } from '../client-command.ts'
import { bytesText, durationText, visibleText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'

export function build(command: Command, terminal: Terminal): void {
  addClientFlags(command.option('--raw', 'the text as the tracker writes it'))
    .addHelpText('after', '\nExamples:\n  tributary groups\n  tributary groups --json\n')
    .action((flags: { raw?: boolean; json?: boolean }) =>
      withClient(flags, terminal, async run => {
        const { client, signal } = run
        if (flags.raw) return run.print((await client.groupsText({ signal })).trimEnd())
        try {
          const cluster = await client.groups({ signal })
          if (run.json) return run.print(JSON.stringify(cluster))
          const nowS = Date.now() / 1000
          for (const group of cluster.groups) for (const line of linesOf(group, nowS)) run.print(line)
          if (cluster.groups.length === 0) run.print('no group')
        } catch (error) {
          // An older tracker only has its text.
          const { code } = error as { code?: string }
          if (run.json || (code !== 'VERSION_UNSUPPORTED' && code !== 'UNKNOWN_COMMAND')) throw error
          run.print((await client.groupsText({ signal })).trimEnd())
        }
      })
    )
}

function linesOf({ name, region, known, draining, members }: ClusterGroup, nowS: number): string[] {
  const active = members.filter(({ status }) => status === 'ACTIVE').length
  const notes = [
    region && `region ${visibleText(region)}`,
    draining && 'in drain',
    !known && 'not in the database'
  ].filter(Boolean)
  return [
    `${visibleText(name)}: ${active} of ${members.length} active${notes.length > 0 ? ` (${notes.join(', ')})` : ''}`,
    ...members.map(member => `  ${lineOf(member, nowS)}`)
  ]
}

function lineOf(member: ClusterMember, nowS: number): string {
  const { status, hostName, addresses, version, beatAtS, legacy, serving, taking, reason } = member
  const { copies, copiesWanted } = member
  const where = addresses.map(formatAddress).join(' ') || '-'
  const beat = beatAtS === 0 ? 'no heartbeat yet' : `heartbeat ${durationText((nowS - beatAtS) * 1000)} ago`
  const load = legacy
    ? 'older program'
    : `${bytesText(member.freeBytes)} free of ${bytesText(member.totalBytes)}, ${member.requestsPerS} requests/s`
  const state =
    status === 'ACTIVE' && !serving
      ? ', not serving'
      : status === 'ACTIVE' && !taking
        ? ', takes nothing new'
        : ''
  const mirror = copies === undefined ? '' : `, ${copies} of ${copiesWanted ?? copies} copies`
  const why = reason ? `: ${visibleText(reason)}` : ''
  return `${status.padEnd(7)}  ${where}  ${visibleText(hostName)}  ${visibleText(version)}  ${beat}, ${load}${mirror}${state}${why}`
}
