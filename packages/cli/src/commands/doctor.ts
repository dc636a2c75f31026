import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { accountOf } from '../doctor/account.ts'
import { checkCertificate } from '../doctor/certificate.ts'
import { checkCluster } from '../doctor/cluster.ts'
import { checkSecrets, readRoles, securityOf, checkWire } from '../doctor/configuration.ts'
import { checkDatabases, checkRedis } from '../doctor/databases.ts'
import type { Finding, Findings } from '../doctor/finding.ts'
import { checkMachine } from '../doctor/machine.ts'
import { checkPeers, checkPorts } from '../doctor/peers.ts'
import { checkStores } from '../doctor/stores.ts'
import { EXIT_CODES, QuietExit, UsageError } from '../exit-code.ts'
import { visibleText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'
import { programVersion } from '../version.ts'

const FILE_DEFAULT = '/etc/tributary/tributary.toml'
const ORDER = { problem: 0, warning: 1, ok: 2 } as const

interface Flags {
  config?: string
  user?: string
  json?: boolean
}

export function build(command: Command, terminal: Terminal): void {
  const { port } = terminal
  command
    .option('-c, --config <file>', `as the servers have it (default: ${FILE_DEFAULT}, where it is there)`)
    .option(
      '--user <name>',
      "the user that the servers run under (default: tributary for root, else one's own)"
    )
    .option('--json', 'the findings as JSON')
    .addHelpText(
      'after',
      `
Looks at the configuration, this machine, its stores, the database and the cache, the trackers and ID servers, and at what
the trackers say of every group. Changes nothing. Ends with 0, also where there are warnings; with ${EXIT_CODES.unwell.code} where something has to
be mended.

Examples:
  tributary doctor
  tributary doctor --config tributary.toml --json
`
    )
    .action(async (flags: Flags) => {
      const findings = await examine(flags, terminal)
      const count = (level: string): number => findings.filter(finding => finding.level === level).length
      const [problems, warnings] = [count('problem'), count('warning')]
      if (flags.json) port.writeOut(`${JSON.stringify({ problems, warnings, findings })}\n`)
      else {
        for (const { level, area, subject, found, advice } of findings.toSorted(
          (a, b) => ORDER[a.level] - ORDER[b.level]
        )) {
          port.writeOut(`${level.padEnd(8)} ${area}: ${visibleText(subject)}: ${visibleText(found)}\n`)
          if (advice !== '') port.writeOut(`         ${visibleText(advice)}\n`)
        }
        port.writeOut(`${problems} to be mended, ${warnings} to be looked at\n`)
      }
      if (problems > 0) throw new QuietExit(EXIT_CODES.unwell.code)
    })
}

async function examine({ config, user }: Flags, { port, folder, nodeVersion }: Terminal): Promise<Finding[]> {
  const file =
    config !== undefined ? resolve(folder, config) : existsSync(FILE_DEFAULT) ? FILE_DEFAULT : undefined
  if (
    file === undefined &&
    !Object.keys(port.env).some(name => /^TRIBUTARY_(?:COMMON|TRACKER|ID|STORAGE|GATEWAY)_/.test(name))
  )
    throw new UsageError(`which configuration? Give --config FILE; there is no ${FILE_DEFAULT}`)
  const account = accountOf(user)
  if (account === undefined) throw new UsageError(`--user: there is no user ${user}`)
  const version = programVersion()
  const { roles, findings } = readRoles(file, port.env)
  const { findings: ofDatabases, clusterId } = await checkDatabases(roles, account)
  const trackers = [...(roles.storage?.trackers ?? []), ...(roles.gateway?.trackers ?? [])]
  const all: Findings[] = [
    findings,
    ...(file === undefined ? [] : [checkSecrets(file, account)]),
    ...(roles.gateway?.certificate ? [checkCertificate(roles.gateway.certificate, account, Date.now())] : []),
    checkMachine(roles, nodeVersion),
    ...(roles.storage ? [await checkStores(roles.storage, account, clusterId)] : []),
    ...ofDatabases,
    await checkRedis(roles),
    checkWire(roles, Date.now()),
    ...(await checkPeers(roles, version, clusterId)),
    await checkPorts(roles, version),
    ...(trackers.length > 0 ? [await checkCluster(trackers, version, securityOf(roles))] : [])
  ]
  return all.flatMap(({ list }) => list)
}
