/** Memory of a lab's processes, and how often each unit had to be started again. */
import type { Lab, LabHost } from '../lab.ts'
import type { ProcessMemory } from './memory.ts'

/** Of a line of /proc/PID/stat, counted from 1. */
const BORN_FIELD = 22
const RESIDENT_FIELD = 24
const FIRST_FIELD_OF_REST = 3
/** Beyond its own kills, what a fault of another process may cost a unit that cannot start without it. */
const RESTARTS_OF_OTHERS = 30

/** Every process of every unit of the hosts that are up. One whose host dies meanwhile is left out. */
export async function measureResident(lab: Lab): Promise<ProcessMemory[]> {
  const parts = lab.hosts.filter(({ isUp }) => isUp).map(host => residentOf(host).catch(() => []))
  return (await Promise.all(parts)).flat()
}

async function residentOf(host: LabHost): Promise<ProcessMemory[]> {
  const { units } = await host.status()
  const { stdout } = await host.run('getconf PAGESIZE; cat /proc/[0-9]*/stat 2>/dev/null; true')
  const found = readStats(stdout)
  return units.flatMap(({ name, mainPid, processes }) =>
    processes.flatMap(({ pid, command }) => {
      const memory = found.get(pid)
      if (!memory) return []
      const unit = `${host.name}/${name}`
      const program = command.split(' ')[0]!.split('/').at(-1)!
      const part = pid === mainPid ? unit : `${unit}/${command.includes('worker/main') ? 'worker' : program}`
      return [{ name: part, pid, ...memory }]
    })
  )
}

/** @param text bytes of a page, and then lines of proc_pid_stat(5) */
export function readStats(text: string): Map<number, { born: string; bytes: number }> {
  const [page, ...lines] = text.split('\n')
  return new Map(
    lines.filter(Boolean).map(line => {
      // The second field is a name in brackets, which may hold anything.
      const rest = line.slice(line.lastIndexOf(')') + 2).split(' ')
      const bytes = Number(rest[RESIDENT_FIELD - FIRST_FIELD_OF_REST]) * Number(page)
      return [Number.parseInt(line, 10), { born: rest[BORN_FIELD - FIRST_FIELD_OF_REST]!, bytes }]
    })
  )
}

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
