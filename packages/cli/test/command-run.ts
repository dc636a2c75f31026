/** Runs the real command: in this process where that makes no difference, else as a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { processPort, type ProcessPort } from '@tributary/runtime'
import { runCommand as command } from '../src/run-command.ts'

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const OWN_PORT = processPort(process)
const NODE_FLAGS = ['--conditions=tributary-source']

export interface After {
  after(callback: () => unknown): void
}

export interface Run {
  code: number | null
  stdout: Buffer
  out: string
  err: string
}

export function spawnCommand(
  args: readonly string[],
  folder: string,
  env: Record<string, string> = {}
): ChildProcess {
  const { PATH = '' } = process.env
  return spawn(process.execPath, [...NODE_FLAGS, MAIN, ...args], {
    cwd: folder,
    env: { PATH, HOME: folder, ...env },
    stdio: ['pipe', 'pipe', 'pipe']
  })
}

/** The command as a process of its own, with pipes. */
export async function runProcess(
  args: readonly string[],
  folder: string,
  { env = {}, input }: RunOptions = {}
): Promise<Run> {
  const child = spawnCommand(args, folder, env)
  child.stdin!.on('error', () => {})
  child.stdin!.end(input)
  const [stdout, err, [code]] = await Promise.all([
    buffer(child.stdout!),
    text(child.stderr!),
    once(child, 'exit') as Promise<[number | null]>
  ])
  return { code, stdout, out: stdout.toString(), err }
}

interface RunOptions {
  env?: Record<string, string>
  input?: Buffer
}

class Exit extends Error {
  readonly exitCode: number
  constructor(exitCode: number) {
    super(`exit ${exitCode}`)
    this.exitCode = exitCode
  }
}

/** The same in this process, which is much quicker: only the process object is another one. */
export async function runCommand(
  args: readonly string[],
  folder: string,
  { env = {}, input }: RunOptions = {}
): Promise<Run> {
  const out: Buffer[] = []
  let err = ''
  let exitCode: number | undefined
  const unsubscribe = (): void => {}
  const port: ProcessPort = {
    ...OWN_PORT,
    pid: process.pid,
    args,
    env,
    hasParent: false,
    parentConnected: false,
    onSignal: () => unsubscribe,
    onFault: () => unsubscribe,
    onMessage: () => unsubscribe,
    onDisconnect: () => unsubscribe,
    send: () => false,
    disconnect: unsubscribe,
    exit(code) {
      exitCode = code
      throw new Exit(code)
    },
    setExitCode: code => (exitCode = code),
    writeOut: chunk => void out.push(Buffer.from(chunk)),
    writeError: chunk => (err += chunk)
  }
  const stdout = new Writable({
    write(chunk: Buffer, _, done) {
      out.push(Buffer.from(chunk))
      done()
    }
  })
  const code = await command(args, {
    port,
    stdin: Readable.from(input ? [input] : []),
    stdout,
    stderrIsTty: false,
    stdoutIsTty: false,
    hasTerminal: false,
    nodeVersion: process.versions.node,
    columns: () => 80,
    folder,
    homeFolder: folder,
    isAlive: pid => existsSync(`/proc/${pid}`),
    signal: (pid, name) => void process.kill(pid, name)
  }).catch((error: unknown) => {
    if (error instanceof Exit) return error.exitCode
    throw error
  })
  const bytes = Buffer.concat(out)
  return { code: exitCode ?? code, stdout: bytes, out: bytes.toString(), err }
}

export async function temporaryFolder(t: After): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-cli-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

export interface RunningUp {
  child: ChildProcess
  folder: string
  /** What it printed so far. */
  out(): string
  err(): string
  note(): Promise<{ pid: number; trackers: string[]; httpUrl: string }>
  /** Sends the signal, waits for the end. */
  end(signal?: NodeJS.Signals): Promise<number | null>
}

export const FREE_PORTS = ['--tracker-port', '0', '--id-port', '0', '--storage-port', '0', '--http-port', '0']

/** Resolves when it has printed its `ready` line and what follows. */
export async function startUp(t: After, folder: string, flags: readonly string[] = []): Promise<RunningUp> {
  const child = spawnCommand(['up', ...FREE_PORTS, ...flags], folder)
  let out = ''
  let err = ''
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (out += chunk))
  child.stderr!.setEncoding('utf8').on('data', (chunk: string) => (err += chunk))
  const exited = once(child, 'exit') as Promise<[number | null]>
  const end = async (signal: NodeJS.Signals = 'SIGINT'): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal)
    return (await exited)[0]
  }
  t.after(() => end('SIGTERM'))
  await new Promise<void>((resolve, reject) => {
    child.stdout!.on('data', () => {
      if (/^ready /m.test(out) && out.includes('Ctrl-C')) resolve()
    })
    void exited.then(([code]) => reject(new Error(`up ended with ${code}: ${err}`)))
  })
  return {
    child,
    folder,
    out: () => out,
    err: () => err,
    note: async () => JSON.parse(await readFile(join(folder, 'data', 'up.json'), 'utf8')),
    end
  }
}

/** Processes whose arguments hold `text`, by number. */
export async function processesWith(text: string): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const args = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
    if (args.replaceAll('\0', ' ').includes(text)) found.push(Number(name))
  }
  return found
}
