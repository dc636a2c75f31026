/** The `tributary` command as a process of its own, as a user starts it; it never outlives the test. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const PACKAGES = fileURLToPath(new URL('../../packages/', import.meta.url))
const MAIN = `${PACKAGES}cli/src/main.ts`
/** An orderly stop takes 15 s at most; whoever is slower is killed, and the test fails. */
const STOP_WITHIN_MS = 30_000
const POLL_MS = 10

/** When the process that runs the test ends, however it ends, its standard input ends, and so does the command. */
const WATCHDOG = 'while read -r _; do :; done; kill -TERM "$1"'

export interface ProcessEnd {
  exitCode: number | null
  signal: NodeJS.Signals | null
}

export interface TributaryOptions {
  folder: string
  env?: Readonly<Record<string, string>>
}

export class TributaryProcess {
  readonly #child: ChildProcess
  readonly #watchdog: ChildProcess
  readonly ended: Promise<ProcessEnd>
  #out = ''
  #err = ''
  /** Every process seen under it; none may be left when it has ended. */
  readonly #family = new Set<number>()

  constructor(args: readonly string[], { folder, env = {} }: TributaryOptions) {
    const { PATH = '' } = process.env
    this.#child = spawn(process.execPath, ['--conditions=tributary-source', '--no-warnings', MAIN, ...args], {
      cwd: folder,
      env: { PATH, HOME: folder, ...env },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.#out += text))
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#err += text
      if (process.env['TRIBUTARY_TEST_LOG']) process.stderr.write(text)
    })
    this.#watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'watchdog', String(this.#child.pid)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true
    })
    this.ended = once(this.#child, 'exit').then(([exitCode, signal]) => {
      this.#watchdog.kill('SIGKILL')
      return { exitCode: exitCode as number | null, signal: signal as NodeJS.Signals | null }
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** What it printed so far. */
  get out(): string {
    return this.#out
  }

  get err(): string {
    return this.#err
  }

  send(signal: NodeJS.Signals): void {
    if (this.isRunning) this.#child.kill(signal)
  }

  /** This process and all below it, parents first. */
  async family(): Promise<number[]> {
    const pids = [this.pid]
    for (let i = 0; i < pids.length; i++) pids.push(...(await childrenOf(pids[i]!)))
    for (const pid of pids) this.#family.add(pid)
    return pids
  }

  /**
   * Sends the signal and waits for the end.
   *
   * @throws it had to be killed, or processes of it were left behind; they are gone then.
   */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<ProcessEnd> {
    if (this.isRunning) await this.family()
    this.send(signal)
    const late = setTimeout(() => this.send('SIGKILL'), STOP_WITHIN_MS)
    const end = await this.ended
    clearTimeout(late)
    const left = await this.#leftBehind()
    for (const pid of left) sendSignal(pid, 'SIGKILL')
    if (end.signal === 'SIGKILL' && signal !== 'SIGKILL') throw new Error(`it did not stop:\n${this.#err}`)
    if (left.length > 0 && signal !== 'SIGKILL')
      throw new Error(`it left processes behind: ${left.join(', ')}`)
    return end
  }

  /** Of processes that were killed the numbers may be somebody else's by now: only ours carry the command's path. */
  async #leftBehind(): Promise<number[]> {
    const left: number[] = []
    for (const pid of this.#family) if (pid !== this.pid && (await isOurs(pid))) left.push(pid)
    return left
  }

  /** Kills one of the processes below it. */
  kill(pid: number): void {
    sendSignal(pid, 'SIGKILL')
  }
}

export async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  return text.split(' ').filter(Boolean).map(Number)
}

/** Its command line; empty where there is no such process any more. */
export async function argumentsOf(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  return text.split('\0').slice(0, -1)
}

/** Resident memory, in bytes; 0 where the process is gone. */
export async function residentBytesOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024
}

/** @throws naming what was waited for. */
export async function until<T>(
  what: string,
  withinMs: number,
  look: () => Promise<T | false | undefined> | T | false | undefined
): Promise<T> {
  for (const endMs = performance.now() + withinMs; ;) {
    const found = await look()
    if (found !== false && found !== undefined) return found
    if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}`)
    await sleep(POLL_MS)
  }
}

async function isOurs(pid: number): Promise<boolean> {
  const args = await argumentsOf(pid)
  return args.some(arg => arg.startsWith(PACKAGES))
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // gone by itself
  }
}
