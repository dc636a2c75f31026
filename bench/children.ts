/** Processes of the bench: started with a channel, and ended with it. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { SERVER_NODE_FLAGS } from '@tributary/runtime'
import type { Target, Task, TaskResult } from './task.ts'

const READY_MS = 20_000
const STOP_MS = 8_000
/** Of the clock that the kernel counts CPU time in. */
const TICKS_PER_S = 100

export interface Child {
  readonly pid: number
  readonly target: Target
  readonly process: ChildProcess
  stop(): Promise<void>
}

/** A server under test, `./role.ts`, as it is started where it is installed. */
export function startRole(
  role: string,
  flags: Record<string, string>,
  nodeFlags: readonly string[] = []
): Promise<Child> {
  const args = [role, JSON.stringify({ port: '0', ...flags })]
  return startChild('./role.ts', args, [...SERVER_NODE_FLAGS, ...nodeFlags])
}

export async function startChild(
  script: string,
  args: readonly string[] = [],
  nodeFlags: readonly string[] = []
): Promise<Child> {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const child = fork(path, [...args], {
    execArgv: ['--conditions=tributary-source', ...nodeFlags],
    // A Ctrl-C reaches the bench alone, which then ends everything in order.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc']
  })
  const signal = AbortSignal.timeout(READY_MS)
  const failed = once(child, 'exit', { signal }).then(([code]) => {
    throw new Error(`${script} ${args[0] ?? ''} ended with ${code} at its start`)
  })
  failed.catch(() => {})
  const [message] = (await Promise.race([once(child, 'message', { signal }), failed])) as [
    { type: string; message?: string; fields: { host?: string; port?: number } }
  ]
  if (message.type !== 'ready') throw new Error(`${script} ${args[0] ?? ''}: ${message.message}`)
  const { host = '127.0.0.1', port = 0 } = message.fields
  return {
    pid: child.pid!,
    target: { host, port },
    process: child,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
      await ended
      clearTimeout(timer)
    }
  }
}

export class Generator {
  readonly #child: Child

  private constructor(child: Child) {
    this.#child = child
  }

  static async start(): Promise<Generator> {
    return new Generator(await startChild('./generator.ts'))
  }

  /** @throws {Error} a server answered wrongly. */
  async run(task: Task): Promise<TaskResult> {
    const { process: child } = this.#child
    const settled = new AbortController()
    const answered = once(child, 'message', settled)
    const ended = once(child, 'exit', settled).then(() => {
      throw new Error('the generator ended')
    })
    ended.catch(() => {})
    child.send(task)
    const [answer] = (await Promise.race([answered, ended]).finally(() => settled.abort())) as [
      { type: 'result'; result: TaskResult } | { type: 'failed'; message: string }
    ]
    if (answer.type === 'failed') throw new Error(`${task.kind}: ${answer.message}`)
    return answer.result
  }

  stop(): Promise<void> {
    return this.#child.stop()
  }
}

/** A process and all below it, such as a storage server and its data workers. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    const fields = Number.isInteger(pid) ? statOf(pid) : undefined
    if (!fields) continue
    const parent = Number(fields[1])
    children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const tree: number[] = []
  const add = (pid: number): void => {
    tree.push(pid)
    for (const child of children.get(pid) ?? []) add(child)
  }
  add(root)
  return tree
}

/** User and system time of all threads, those that ended included, in seconds. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0
  for (const pid of pids) {
    const fields = statOf(pid)
    if (!fields) throw new Error(`process ${pid} is gone`)
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks / TICKS_PER_S
}

export function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line![1]) * 1024
}

/** Fields of /proc/PID/stat behind the name, which may contain anything. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}
