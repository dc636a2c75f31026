/** What is degraded, as the trackers see it. */
import { Client } from '@tributary/client'
import { formatAddress, type ClusterGroup, type ClusterMember } from '@tributary/protocol'
import type { HostPort } from '@tributary/runtime'
import { visibleText } from '../quantity-text.ts'
import { sentenceOf } from '../terminal.ts'
import type { WireSecurity } from './configuration.ts'
import { Findings } from './finding.ts'

const DEADLINE_MS = 3_000

export async function checkCluster(
  trackers: readonly HostPort[],
  version: string,
  security: WireSecurity
): Promise<Findings> {
  const findings = new Findings('group')
  const client = new Client({
    trackers: [...trackers],
    version,
    ...security,
    callTimeoutMs: DEADLINE_MS,
    retryForMs: 0
  })
  try {
    const { groups } = await client.groups()
    if (groups.length === 0)
      findings.problem('groups', 'there is none', 'Make a store: tributary storage init.')
    for (const group of groups) checkGroup(group, findings)
  } catch (error) {
    findings.problem(
      'groups',
      `no tracker tells: ${sentenceOf(error)}`,
      'Start a tracker; until then nothing can be found or stored.'
    )
  } finally {
    client.close()
  }
  return findings
}

function checkGroup({ name, known, members }: ClusterGroup, findings: Findings): void {
  const group = visibleText(name)
  const usable = members.filter(({ status, serving }) => status === 'ACTIVE' && serving)
  if (!known)
    findings.warning(
      group,
      'its storage servers report, and the database does not know it',
      `Run tributary db add-group ${group}, if it is meant to be.`
    )
  if (usable.length === 0)
    findings.problem(
      group,
      `none of its ${members.length} storage servers serves`,
      'Start one: its files cannot be read meanwhile.'
    )
  for (const member of members) {
    if (usable.includes(member)) continue
    findings.warning(
      group,
      `${nameOf(member)} is ${member.status === 'ACTIVE' ? 'not serving' : member.status}${because(member)}`,
      'Start it, or mend what it says; the others serve meanwhile.'
    )
  }
  const taking = usable.filter(member => member.taking)
  if (usable.length > 0 && taking.length === 0)
    findings.warning(
      group,
      `takes nothing new${because(usable[0]!)}`,
      'Add space or a group, unless it was emptied on purpose.'
    )
  else
    for (const member of usable)
      if (!member.taking)
        findings.warning(
          group,
          `${nameOf(member)} takes nothing new${because(member)}`,
          'Look at its disk and its log.'
        )
  if (usable.length === members.length && taking.length === usable.length && usable.length > 0)
    findings.ok(group, `${usable.length} of ${members.length} storage servers serve and take new files`)
}

function nameOf({ hostName, addresses }: ClusterMember): string {
  return `${visibleText(hostName)} ${addresses.map(formatAddress).join(' ')}`.trim()
}

function because({ reason }: ClusterMember): string {
  return reason === undefined || reason === '' ? '' : `: ${visibleText(reason)}`
}
