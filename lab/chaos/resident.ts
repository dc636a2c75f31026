/** Memory of a lab's processes, and how often each unit had to be started again. */
import type { Lab, LabHost } from '../lab.ts'

const KIB = 1024
/** A process may take so much more than at the beginning: caches fill, and allocators keep what a busy moment needed. */
const GROWTH_BYTES_MAX = 256 * KIB * KIB
const GROWTH_FACTOR_MAX = 2
/** Beyond its own kills, what a fault of another process may cost a unit that cannot start without it. */
const RESTARTS_OF_OTHERS = 30

/** `host/unit`, and `host/unit/worker` where a unit has several processes → bytes. */
export type Resident = Readonly<Record<string, number>>

export async function measureResident(lab: Lab): Promise<Resident> {
  const parts = await Promise.all(lab.hosts.filter(({ isUp }) => isUp).map(host => residentOf(host)))
  return Object.assign({}, ...parts) as Resident
}

async function residentOf(host: LabHost): Promise<Record<string, number>> {
  const { units } = await host.status()
  const { stdout } = await host.run("grep -H '^VmRSS:' /proc/[0-9]*/status 2>/dev/null; true")
  const byPid = new Map(
    [...stdout.matchAll(/^\/proc\/(\d+)\/status:VmRSS:\s+(\d+) kB$/gm)].map(([, pid, kib]) => [
      Number(pid),
      Number(kib) * KIB
    ])
  )
  const sums: Record<string, number> = {}
  for (const { name, mainPid, processes } of units) {
    for (const { pid, command } of processes) {
      const bytes = byPid.get(pid)
      if (bytes === undefined) continue
      const unit = `${host.name}/${name}`
      const program = command.split(' ')[0]!.split('/').at(-1)!
      const part = pid === mainPid ? unit : `${unit}/${command.includes('worker/main') ? 'worker' : program}`
      sums[part] = Math.max(sums[part] ?? 0, bytes)
    }
  }
  return sums
}

/** @returns a sentence for each that grew beyond its bound */
export function whatGrew(before: Resident, after: Resident): string[] {
  return Object.entries(after).flatMap(([name, bytes]) => {
    const from = before[name]
    if (from === undefined || bytes <= from * GROWTH_FACTOR_MAX + GROWTH_BYTES_MAX) return []
    return [`${name} grew from ${mebibytes(from)} to ${mebibytes(bytes)} MiB`]
  })
}

export const mebibytes = (bytes: number): number => Math.round(bytes / (KIB * KIB))

/** `host/unit` → how often its supervisor has started it again, of those where it has. */
export async function countRestarts(lab: Lab): Promise<Record<string, number>> {
  const statuses = await Promise.all(lab.hosts.map(host => host.status()))
  return Object.fromEntries(
    statuses.flatMap(({ name: host, units }) =>
      units.flatMap(({ name, detail }) => {
        const count = Number(/started again (\d+) times/.exec(detail)?.[1] ?? 0)
        return count > 0 ? [[`${host}/${name}`, count] as const] : []
      })
    )
  )
}

/**
 * @param before   when the cluster had been left in peace
 * @param after    some time later, at peace
 * @param inflicted how many faults there were
 * @returns a sentence for each unit that starts again and again by itself
 */
export function whatLoops(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
  inflicted: number
): string[] {
  return Object.entries(after).flatMap(([name, count]) => {
    if (count > (before[name] ?? 0)) return [`${name} was started again when the cluster was at peace`]
    return count > inflicted + RESTARTS_OF_OTHERS
      ? [`${name} was started again ${count} times in ${inflicted} faults`]
      : []
  })
}
