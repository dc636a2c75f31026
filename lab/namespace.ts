/** How a process of the lab gets a world of its own, and how it goes when whoever started it goes. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Arguments of unshare: all that is private to a host, and to the ground beneath the hosts. */
export const NAMESPACES: readonly string[] =
  '--net --mount --pid --uts --ipc --fork --kill-child --mount-proc --propagation private --'.split(' ')

// Process 1 of a process namespace must reap orphans, which Node does not; a shell does, and ends with its child.
const INIT = ['bash', '-c', '"$@" & wait "$!"', 'init']

/** The words that run one of the lab's own modules as the first program of a process namespace. */
export function nodeProgram(node: string, module: URL): string[] {
  return [...INIT, node, '--conditions=tributary-source', fileURLToPath(module)]
}

/** Words before a command: it dies with the process that starts it, even by kill -9. */
export const TIED: readonly string[] = ['setpriv', '--pdeathsig', 'KILL', '--']

/** Processes that `pid` has started. @throws it is gone */
export function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
}
