/**
 * From one rendering to the next: what each host must stop, start and read again, in the order of the whole cluster. The files
 * are in place by then everywhere; nobody has read them yet.
 *
 *   stop       hosts that lose a part: its units, but what lies beneath others
 *   glusterd   hosts that are to keep a brick for the first time: before any volume can get it
 *   (scripts of groups: group-changes.ts)
 *   start      hosts that get a part: its units, all but Keepalived
 *   restart    hosts whose files changed, one after the other, the next when the one before is ready
 *   address    hosts that take a virtual address for the first time: when the others know of them, or two would have it
 */
import { PORTS } from './description.ts'
import type { Plan, PlanHost } from './plan.ts'

export interface ChangeScript {
  /** Without number: `restart.a.sh`, to be run on host a. */
  file: string
  text: string
  /** One sentence for the terminal. */
  summary: string
}

export interface HostScripts {
  beforeGroups: ChangeScript[]
  afterGroups: ChangeScript[]
}

const GLUSTERD = 'glusterd.service'
const KEEPALIVED = 'keepalived.service'
/** Of a server that starts: the database behind it may have to copy everything first. */
const READY_TRIES = 150
/** In the order of their restarts, where these alone changed. Ours follow, then Keepalived, which only reads again. */
const FILE_UNITS: readonly [path: RegExp, unit: string][] = [
  [/^\/etc\/mysql\//, 'mariadb.service'],
  [/^\/etc\/redis\/redis\.conf$/, 'redis-server.service'],
  [/^\/etc\/redis\/sentinel\./, 'redis-sentinel.service'],
  [/^\/etc\/tributary\/keep-mounted$/, 'tributary-mounts.service'],
  [/^\/etc\/tributary\/report-heal$/, 'tributary-heal.service'],
  [/^\/etc\/tributary\/write-token$/, 'tributary-gateway.service'],
  [/^\/etc\/keepalived\//, KEEPALIVED]
]
const UNIT_FILE = /^\/etc\/systemd\/system\/([^/]+\.service)(?:\.d\/|$)/
const CONFIG_FILE = '/etc/tributary/tributary.toml'
const CLUSTER_KEY_FILE = '/etc/tributary/cluster-key'

/**
 * Compares two plans.
 *
 * @param differing  paths of rendered files that are new or other than before: `hosts/a/etc/…`
 */
export function hostChanges(before: Plan, after: Plan, differing: readonly string[]): HostScripts {
  const hosts = after.hosts.map(host => new HostChange(before, after, host, differing))
  const scripts = (make: (host: HostChange) => ChangeScript | undefined): ChangeScript[] =>
    hosts.flatMap(host => make(host) ?? [])
  return {
    beforeGroups: [...scripts(host => host.stop()), ...scripts(host => host.glusterd())],
    afterGroups: [
      ...scripts(host => host.start()),
      ...scripts(host => host.restart()),
      ...scripts(host => host.address())
    ]
  }
}

class HostChange {
  readonly #host: PlanHost
  readonly #ready: readonly number[]
  readonly #added: readonly string[]
  readonly #gone: readonly string[]
  readonly #changed: ReadonlySet<string>

  constructor(before: Plan, after: Plan, host: PlanHost, differing: readonly string[]) {
    const had = before.hosts.find(({ name }) => name === host.name)?.units ?? []
    this.#host = host
    this.#ready = readyPorts(after, host)
    this.#added = host.units.filter(unit => !had.includes(unit))
    this.#gone = had.filter(unit => !host.units.includes(unit))
    this.#changed = changedUnits(host, differing)
  }

  stop(): ChangeScript | undefined {
    const units = this.#gone.filter(unit => !isBeneath(unit)).reverse()
    if (units.length === 0) return undefined
    return this.#script(
      'stop',
      `stops ${namesOf(units)}`,
      `systemctl disable --quiet --now ${units.join(' ')}`
    )
  }

  glusterd(): ChangeScript | undefined {
    if (!this.#added.includes(GLUSTERD)) return undefined
    return this.#script('glusterd', 'starts glusterd', `systemctl start ${GLUSTERD}`)
  }

  start(): ChangeScript | undefined {
    const units = this.#added.filter(unit => unit !== GLUSTERD && unit !== KEEPALIVED)
    if (units.length === 0) return undefined
    const starts = units.map(unit => `systemctl start ${unit}`)
    return this.#script('start', `starts ${namesOf(units)}`, `${starts.join('\n')}\n${this.#untilReady()}`)
  }

  restart(): ChangeScript | undefined {
    const units = this.#host.units.filter(unit => this.#changed.has(unit) && !this.#added.includes(unit))
    const restarted = units.filter(unit => unit !== KEEPALIVED)
    const stopped = this.#gone.filter(isBeneath).reverse()
    const commands = [
      ...restarted.map(unit => `systemctl restart ${unit}`),
      // Its own restart would let go of the address.
      ...(units.length > restarted.length ? [`systemctl reload ${KEEPALIVED}`] : []),
      ...stopped.map(unit => `systemctl disable --quiet --now ${unit}`)
    ]
    if (commands.length === 0) return undefined
    const does = [
      ...(restarted.length > 0 ? [`restarts ${namesOf(restarted)}`] : []),
      ...(units.length > restarted.length ? ['has keepalived read its file'] : []),
      ...(stopped.length > 0 ? [`stops ${namesOf(stopped)}`] : [])
    ]
    return this.#script('restart', does.join(', '), `${commands.join('\n')}\n${this.#untilReady()}`)
  }

  address(): ChangeScript | undefined {
    if (!this.#added.includes(KEEPALIVED)) return undefined
    return this.#script('address', 'starts keepalived', `systemctl start ${KEEPALIVED}`)
  }

  /** Where the next host would go down before this one is there, nobody would be. */
  #untilReady(): string {
    if (this.#ready.length === 0) return ''
    const { name, address } = this.#host
    return `for port in ${this.#ready.join(' ')}; do
  ready=
  for try in {1..${READY_TRIES}}; do
    if curl --silent --fail --output /dev/null --max-time 2 "http://${address}:$port/readyz"; then
      ready=yes
      break
    fi
    sleep 1
  done
  [[ -n "$ready" ]] || { echo "${name} is not ready: http://${address}:$port/readyz says why. Mend it before you go on" >&2; exit 1; }
done
echo '${name} is ready'
`
  }

  #script(kind: string, does: string, commands: string): ChangeScript {
    const { name } = this.#host
    return {
      file: `${kind}.${name}.sh`,
      summary: `${name}: ${does}`,
      text: `#!/bin/bash
# ${name}: ${does}. Run it on ${name}, after its files were put in place and 05-prepare was run.
set -euo pipefail
${commands.trimEnd()}
`
    }
  }
}

/** Units that have read, at their start, what is another file now. A mount takes its options at the next mount. */
function changedUnits({ name, units }: PlanHost, differing: readonly string[]): Set<string> {
  const prefix = `hosts/${name}/`
  const changed = new Set<string>()
  for (const path of differing) {
    if (!path.startsWith(prefix)) continue
    const file = path.slice(prefix.length - 1)
    const [, ownUnit] = UNIT_FILE.exec(file) ?? []
    if (ownUnit !== undefined) changed.add(ownUnit)
    for (const [pattern, unit] of FILE_UNITS) if (pattern.test(file)) changed.add(unit)
    if (file === CONFIG_FILE || file === CLUSTER_KEY_FILE)
      for (const unit of units.filter(isServer)) changed.add(unit)
  }
  return changed
}

/** A server that goes on may hold it until it was restarted. */
const isBeneath = (unit: string): boolean => unit === GLUSTERD || unit.endsWith('.mount')

/** Reads tributary.toml. */
const isServer = (unit: string): boolean => /^tributary-(?:tracker|id|storage|gateway|worker)\b/.test(unit)

/** Ports that answer /readyz, in the order of the units' start. */
function readyPorts({ groups }: Plan, { name, roles }: PlanHost): number[] {
  const storages = groups.filter(({ members }) => members.includes(name))
  return [
    ...(roles.includes('tracker') ? [PORTS.trackerAdmin] : []),
    ...(roles.includes('id') ? [PORTS.idAdmin] : []),
    ...storages.map((_, at) => PORTS.storageAdmin + at),
    ...(roles.includes('gateway') ? [PORTS.gateway] : []),
    ...(roles.includes('worker') ? [PORTS.workerAdmin] : [])
  ]
}

function namesOf(units: readonly string[]): string {
  return units.map(unit => unit.replace(/\.service$/, '')).join(', ')
}
