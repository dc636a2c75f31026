/** A program that is run to its end, or ended: a player, a downloader. */
import { spawn, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const OUTPUT_CHARACTERS_MAX = 4 * 1024 * 1024

export interface ProgramOptions {
  timeoutMs?: number
  env?: Record<string, string | undefined>
  cwd?: string
  /** Runs as this user; only root may ask for it. */
  uid?: number
}

export interface ProgramEnd {
  /** null: it was ended by a signal. */
  exitCode: number | null
  stdout: string
  stderr: string
}

const TIMEOUT_MS = 60_000

/** @throws it did not end in time; it is killed then. */
export function runProgram(
  program: string,
  args: readonly string[],
  { timeoutMs = TIMEOUT_MS, ...options }: ProgramOptions = {}
): Promise<ProgramEnd> {
  const child = startProgram(program, args, options)
  let stdout = ''
  let stderr = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    if (stdout.length < OUTPUT_CHARACTERS_MAX) stdout += text
  })
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    if (stderr.length < OUTPUT_CHARACTERS_MAX) stderr += text
  })
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`${program} did not end within ${timeoutMs} ms:\n${stderr.slice(-2_000)}`))
    }, timeoutMs)
    child.once('error', error => {
      clearTimeout(late)
      reject(error)
    })
    child.once('close', exitCode => {
      clearTimeout(late)
      resolve({ exitCode, stdout, stderr })
    })
  })
}

/** The `tributary` command, from its sources. */
export function runTributary(args: readonly string[], options?: ProgramOptions): Promise<ProgramEnd> {
  const main = fileURLToPath(new URL('../../packages/cli/src/main.ts', import.meta.url))
  const command = ['--conditions=tributary-source', '--no-warnings', main, ...args]
  return runProgram(process.execPath, command, options)
}

/** Started and left to the caller, who ends it. */
export function startProgram(
  program: string,
  args: readonly string[],
  { env, cwd, uid }: Omit<ProgramOptions, 'timeoutMs'> = {}
): ChildProcess {
  return spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    ...(cwd !== undefined && { cwd }),
    ...(uid !== undefined && { uid, gid: uid })
  })
}
