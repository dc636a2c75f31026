/** The processes of this host, as /proc lists them, and to which start of a unit each belongs. */
import { readdirSync, readFileSync } from 'node:fs'

export interface HostProcess {
  readonly pid: number
  readonly parent: number
  /** Programs and arguments, with blanks between. */
  readonly command: string
  /** R, S, D, T (stopped), Z … */
  readonly state: string
  /** What systemd gives each start of a unit, and every child inherits: our stand-in for its control group. */
  readonly invocation: string | undefined
}

/** Every process but kernel threads and zombies. One that ends meanwhile is left out. */
export function listProcesses(): HostProcess[] {
  return readdirSync('/proc').flatMap(name => {
    const found = /^\d+$/.test(name) ? readProcess(Number(name)) : undefined
    return found && found.state !== 'Z' ? [found] : []
  })
}

export function isRunning(pid: number): boolean {
  const found = readProcess(pid)
  return found !== undefined && found.state !== 'Z'
}

function readProcess(pid: number): HostProcess | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1')
    return {
      pid,
      parent: Number(parent),
      command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim(),
      state: state!,
      invocation: /(?:^|\0)INVOCATION_ID=([^\0]*)/.exec(environment)?.[1]
    }
  } catch {
    return undefined // it ended while we looked
  }
}

/**
 * The processes of one start of a unit: those that carry its mark, its main process, and all that descend from them. A
 * server that writes over its environment to show a title (Redis) has lost the mark, and is found by its pid.
 */
export function processesOf(invocation: string, mainPid: number | undefined): HostProcess[] {
  const all = listProcesses()
  const chosen = new Set(
    all.filter(process => process.invocation === invocation || process.pid === mainPid).map(({ pid }) => pid)
  )
  for (let size = -1; size !== chosen.size;) {
    size = chosen.size
    for (const { pid, parent } of all) if (chosen.has(parent)) chosen.add(pid)
  }
  return all.filter(({ pid }) => chosen.has(pid))
}
