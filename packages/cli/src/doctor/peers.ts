/** Trackers, ID servers, and the ports of this machine's own servers. */
import { networkInterfaces } from 'node:os'
import type { Role } from '@tributary/protocol'
import { formatHostPort, isLoopbackHost, plainAddress, type HostPort } from '@tributary/runtime'
import { Connection } from '@tributary/transport'
import { sentenceOf } from '../terminal.ts'
import type { GatewayConfig } from '@tributary/gateway'
import { askSecurely } from './certificate.ts'
import { addClock } from './clocks.ts'
import { securityOf, type Roles, type WireSecurity } from './configuration.ts'
import { Findings } from './finding.ts'

const DEADLINE_MS = 2_000
const PRIVILEGED_PORTS_BELOW = 1_024
const NAMES = { tracker: 'tracker', id: 'ID server', storage: 'storage server' } as const

interface Met {
  kind: 'ours' | 'legacy' | 'stranger' | 'silent'
  cluster: string
  version: string
  aheadMs: number
  reason: string
}

/** Shakes hands and goes. */
async function meet(
  role: Role,
  { host, port }: HostPort,
  version: string,
  security: WireSecurity
): Promise<Met> {
  const met: Met = { kind: 'silent', cluster: '', version: '', aheadMs: 0, reason: '' }
  let connection: Connection | undefined
  try {
    connection = await Connection.open(
      role,
      { host, port },
      {
        timeoutMs: DEADLINE_MS,
        tls: security.tls
      }
    )
    met.kind = 'stranger'
    const askedMs = Date.now()
    const isOurs = await connection.greet(
      { role: 'client', cluster: '', version, ...security },
      { timeoutMs: DEADLINE_MS }
    )
    if (!isOurs) return { ...met, kind: 'legacy' }
    const { cluster = '', timeMs, version: theirs } = connection.hello!
    return { ...met, kind: 'ours', cluster, version: theirs, aheadMs: timeMs - (askedMs + Date.now()) / 2 }
  } catch (error) {
    return { ...met, reason: sentenceOf(error) }
  } finally {
    connection?.destroy()
  }
}

export async function checkPeers(
  roles: Roles,
  version: string,
  clusterId: string | undefined
): Promise<Findings[]> {
  const findings = new Findings('server')
  const clocks = new Findings('clock')
  const trackers = [...(roles.storage?.trackers ?? []), ...(roles.gateway?.trackers ?? [])]
  const wanted = [
    ...trackers.map(address => ({ role: 'tracker' as const, address })),
    ...(roles.storage?.idServers ?? []).map(address => ({ role: 'id' as const, address }))
  ]
  const once = new Map(
    wanted.map(({ role, address }) => [`${NAMES[role]} ${formatHostPort(address)}`, { role, address }])
  )
  const clusters = new Map<string, string>(clusterId === undefined ? [] : [[clusterId, 'the database']])
  const answers = await Promise.all(
    [...once].map(async ([subject, { role, address }]) => ({
      subject,
      met: await meet(role, address, version, securityOf(roles))
    }))
  )
  for (const { subject, met } of answers) {
    if (met.kind === 'silent')
      findings.problem(
        subject,
        met.reason,
        'Start it, open its port in the firewalls between, or correct the list.'
      )
    else if (met.kind === 'stranger') {
      findings.problem(
        subject,
        `answers, and will not talk to us: ${met.reason}`,
        'Check the port, and the `allow` list of that server.'
      )
    } else if (met.kind === 'legacy')
      findings.warning(subject, 'an older program, or another one', 'Upgrade it, or correct the list.')
    else {
      findings.ok(subject, `version ${met.version}`)
      addClock(clocks, subject, met.aheadMs)
      if (met.cluster !== '') clusters.set(met.cluster, subject)
    }
  }
  if (clusters.size > 1) {
    const list = [...clusters].map(([cluster, subject]) => `${subject} is of ${cluster}`).join(', ')
    findings.problem(
      'cluster',
      `they are not of one cluster: ${list}`,
      'Correct `trackers`, `id_servers` or `database`.'
    )
  }
  return [findings, clocks]
}

/** Nothing is listened on: a server that starts at this moment must not find its port taken by us. */
export async function checkPorts(roles: Roles, version: string): Promise<Findings> {
  const findings = new Findings('port')
  const own = new Set(
    Object.values(networkInterfaces()).flatMap(list => (list ?? []).map(({ address }) => address))
  )
  for (const role of ['tracker', 'id', 'storage', 'gateway'] as const) {
    const config = roles[role]
    if (config === undefined || config.port === 0) continue
    const { host, port } = config
    const subject = `${formatHostPort({ host, port })} (${role})`
    const isWildcard = host === '0.0.0.0' || host === '::'
    if (!isWildcard && !isLoopbackHost(host) && /^[\d.]+$|:/.test(host) && !own.has(plainAddress(host))) {
      findings.problem(subject, `${host} is not an address of this machine`, 'Set `host` to one that is.')
      continue
    }
    const address = { host: isWildcard ? (host === '::' ? '::1' : '127.0.0.1') : host, port }
    const met =
      role === 'gateway'
        ? await meetGateway(address, roles.gateway!)
        : await meet(role, address, version, securityOf(roles))
    if (met.kind === 'ours' && met.reason !== '')
      findings.warning(subject, met.reason, `Run systemctl reload tributary-${role}.`)
    else if (met.kind === 'ours') findings.ok(subject, 'our own server listens there')
    else if (met.kind === 'silent') {
      if (port < PRIVILEGED_PORTS_BELOW)
        findings.warning(
          subject,
          'free, and below 1024',
          'Take a higher port: the servers are not root. A proxy can stand in front.'
        )
      else findings.ok(subject, 'free: no server runs there')
    } else
      findings.problem(
        subject,
        `taken by another program, or one that lets us not in${met.reason && `: ${met.reason}`}`,
        'Stop that one, or set another `port`.'
      )
  }
  return findings
}

async function meetGateway({ host, port }: HostPort, config: GatewayConfig): Promise<Met> {
  const met: Met = { kind: 'silent', cluster: '', version: '', aheadMs: 0, reason: '' }
  const kindOf = (body: unknown): Met['kind'] =>
    (body as { conditions?: unknown } | undefined)?.conditions === undefined ? 'stranger' : 'ours'
  try {
    if (config.certificate) {
      const { body, isOther } = await askSecurely({ host, port }, '/readyz', config, DEADLINE_MS)
      const kind = kindOf(body)
      const reason =
        kind === 'ours' && isOther ? 'our own server, with another certificate than its file' : ''
      return { ...met, kind, reason }
    }
    const url = `http://${formatHostPort({ host, port })}/readyz`
    const reply = await fetch(url, { signal: AbortSignal.timeout(DEADLINE_MS) })
    return { ...met, kind: kindOf(await reply.json().catch(() => ({}))) }
  } catch (error) {
    const { code } = (((error as Error).cause as Error | undefined) ?? error) as NodeJS.ErrnoException
    return { ...met, kind: code === 'ECONNREFUSED' ? 'silent' : 'stranger', reason: code ?? '' }
  }
}
