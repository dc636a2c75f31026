/** A mount unit, as systemd.mount(5) says. */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { logPathOf } from './launch.ts'
import { processesOf, type HostProcess } from './process-table.ts'
import type { UnitFile } from './unit-file.ts'
import type { Unit, UnitState } from './unit.ts'

const MOUNT_MS = 90_000
/** A mount that hangs is left behind lazily after this. */
const UNMOUNT_MS = 10_000

export class Mount implements Unit {
  readonly name: string
  readonly #read: () => Promise<UnitFile>
  readonly #tell: (text: string) => void
  #where = ''
  readonly #invocation = randomUUID().replaceAll('-', '')
  #failure = ''
  #turn: Promise<unknown> = Promise.resolve()

  constructor(name: string, read: () => Promise<UnitFile>, tell: (text: string) => void) {
    this.name = name
    this.#read = read
    this.#tell = tell
  }

  /** A FUSE mount whose server died is mounted still, as systemd sees it. */
  get state(): UnitState {
    if (this.#where !== '' && isMounted(this.#where)) return 'active'
    return this.#failure === '' ? 'inactive' : 'failed'
  }

  get detail(): string {
    return this.#failure
  }

  /** systemd never mounts again by itself. */
  get restarts(): number {
    return 0
  }

  get mainPid(): number | undefined {
    return this.processes()[0]?.pid
  }

  processes(): HostProcess[] {
    return processesOf(this.#invocation, undefined)
  }

  start(): Promise<void> {
    return this.#inTurn(async () => {
      const unit = await this.#read()
      this.#where = unit.text('Mount.Where') ?? ''
      if (this.state === 'active') return
      const what = unit.text('Mount.What')
      if (this.#where === '' || what === undefined) throw new Error(`${this.name} has no What= or no Where=`)
      mkdirSync(this.#where, { recursive: true })
      const type = unit.text('Mount.Type')
      const options = unit.text('Mount.Options')
      const words = [
        ...(type === undefined ? [] : ['-t', type]),
        ...(options === undefined ? [] : ['-o', options]),
        what,
        this.#where
      ]
      this.#failure = await this.#execute('mount', words, unit.durationMs('Mount.TimeoutSec', MOUNT_MS))
      if (this.#failure === '' && !isMounted(this.#where)) this.#failure = 'mount did not mount it'
      this.#tell(`${this.name} is ${this.state}${this.#failure === '' ? '' : `: ${this.#failure}`}`)
      if (this.#failure !== '') throw new Error(`${this.name} did not start: ${this.#failure}`)
    })
  }

  stop(): Promise<void> {
    return this.#inTurn(async () => {
      while (this.#where !== '' && isMounted(this.#where)) {
        const failure = await this.#execute('umount', [this.#where], UNMOUNT_MS)
        const lazy = failure === '' ? '' : await this.#execute('umount', ['-l', this.#where], UNMOUNT_MS)
        if (lazy !== '') throw new Error(`${this.name} did not stop: ${lazy}`)
      }
      this.#failure = ''
      this.#tell(`${this.name} is inactive`)
    })
  }

  async reload(): Promise<void> {
    await this.stop()
    await this.start()
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => {}) // told to whoever asked
    return turn
  }

  /** @returns why it failed; empty where it did not */
  #execute(program: string, words: readonly string[], timeoutMs: number): Promise<string> {
    mkdirSync(dirname(logPathOf(this.name)), { recursive: true })
    const log = openSync(logPathOf(this.name), 'a')
    const child = spawn(program, words, {
      stdio: ['ignore', log, log],
      detached: true,
      timeout: Math.min(timeoutMs, 2 ** 31 - 1),
      killSignal: 'SIGKILL',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', INVOCATION_ID: this.#invocation }
    })
    closeSync(log)
    return new Promise(resolve => {
      child.once('error', error => resolve(error.message))
      child.once('exit', (code, signal) =>
        resolve(code === 0 ? '' : `${program} ended with ${signal ?? `exit code ${code}`}`)
      )
    })
  }
}

function isMounted(path: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some(
      line =>
        line
          .split(' ')[4]
          ?.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))) ===
        path
    )
}
