import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

// A shell stands between this process and the service: it gives the service's pid away, and when this
// process ends, however it ends, its standard input ends and it takes the service with it.
// (A shell gives its background jobs no standard input, hence the descriptor 4.)
const WATCHDOG = `
exec 4<&0
"$@" </dev/null >"$SERVICE_LOG" 2>&1 3>&- 4<&- &
service=$!
echo $service >&3
( while read -r _; do :; done; kill -CONT $service; kill -KILL $service ) 2>/dev/null 3>&- <&4 &
watcher=$!
exec 3>&- 4<&-
wait $service 2>/dev/null
code=$?
kill $watcher 2>/dev/null
exit $code
`

/** Places where Debian keeps servers, beside PATH. */
const SERVER_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/sbin']

/** The program's path; undefined where it is not installed. */
export function programPath(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...SERVER_FOLDERS]
  return folders
    .map(folder => join(folder, name))
    .find(path => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/**
 * Why tests that need these programs cannot run here; undefined where they can.
 *
 * @throws where nothing may be skipped (CI, TRIBUTARY_NO_SKIP).
 */
export function missingPrograms(names: readonly string[]): string | undefined {
  return skipFor(names.filter(name => programPath(name) === undefined))
}

/** The same for files, by their whole path. */
export function missingFiles(paths: readonly string[]): string | undefined {
  return skipFor(paths.filter(path => !existsSync(path)))
}

function skipFor(missing: readonly string[]): string | undefined {
  if (missing.length === 0) return undefined
  const text = `not installed here: ${missing.join(', ')}`
  if (process.env['CI'] || process.env['TRIBUTARY_NO_SKIP']) throw new Error(text)
  return text
}

/** A server of somebody else's, run for a test and never longer than the test. */
export class Service {
  readonly #command: readonly string[]
  readonly #logPath: string
  #shell: ChildProcess | undefined
  #pid = 0
  #exited: Promise<unknown> = Promise.resolve()

  constructor(command: readonly string[], logPath: string) {
    this.#command = command
    this.#logPath = logPath
  }

  /** Of the service itself, not of what watches it. */
  get pid(): number {
    return this.#pid
  }

  get isRunning(): boolean {
    return this.#shell !== undefined && this.#shell.exitCode === null && this.#shell.signalCode === null
  }

  async start(): Promise<void> {
    const shell = spawn('/bin/sh', ['-c', WATCHDOG, 'service', ...this.#command], {
      stdio: ['pipe', 'ignore', 'ignore', 'pipe'],
      env: { ...process.env, SERVICE_LOG: this.#logPath }
    })
    this.#shell = shell
    this.#exited = once(shell, 'exit')
    const [line] = (await once(shell.stdio[3] as NodeJS.ReadableStream, 'data')) as [Buffer]
    this.#pid = Number(line.toString())
  }

  kill(signal: NodeJS.Signals): void {
    if (!this.isRunning) return
    try {
      process.kill(this.#pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // it ended by itself a moment ago
    }
  }

  /** SIGSTOP, and waits until each of its threads has stopped: the last ones still answer for a moment. */
  async freeze(): Promise<void> {
    this.kill('SIGSTOP')
    for (;;) {
      const tasks = await readdir(`/proc/${this.#pid}/task`)
      const states = await Promise.all(
        tasks.map(async task => {
          const stat = await readFile(`/proc/${this.#pid}/task/${task}/stat`, 'utf8')
          return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3)
        })
      )
      if (states.every(state => state === 'T')) return
      await new Promise(resolve => setTimeout(resolve, 1))
    }
  }

  /** Resolves once the process is gone. */
  exited(): Promise<unknown> {
    return this.#exited
  }

  /** A test's server has nothing worth a goodbye. */
  async stop(): Promise<void> {
    this.kill('SIGCONT')
    this.kill('SIGKILL')
    await this.#exited
  }
}
