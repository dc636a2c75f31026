/** A service unit: started, watched, started again and stopped as systemd.service(5) says. Hardening keys change nothing here. */
import type { ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { commandOf, launch, prepare, type Setting } from './launch.ts'
import { NotifySocket } from './notify-socket.ts'
import { isRunning, processesOf, type HostProcess } from './process-table.ts'
import type { UnitFile } from './unit-file.ts'
import type { Unit, UnitState } from './unit.ts'

/** Ours alone, where systemd would wait for minutes or for ever: nobody watches a lab that long. */
const STOP_MS_MAX = 60_000
const START_MS_MAX = 120_000
const START_MS = 90_000
const STOP_MS = 90_000
const RESTART_DELAY_MS = 100
const START_LIMIT_INTERVAL_MS = 10_000
const START_LIMIT_BURST = 5
/** How soon the end of a process is seen that is no child of ours: a daemon that forked. */
const WATCH_MS = 50
/** Type=notify, but silent unless its parent is process 1 and is called systemd: taken as ready when it runs. */
const SILENT_PROGRAMS = new Set(['/usr/sbin/keepalived'])
const CLEAN_SIGNALS = new Set<string | null>(['SIGHUP', 'SIGINT', 'SIGTERM', 'SIGPIPE'])

interface Ending {
  code: number | null
  signal: string | null
}

export class Service implements Unit {
  readonly name: string
  readonly #read: () => Promise<UnitFile>
  readonly #require: (unit: UnitFile) => Promise<void>
  readonly #tell: (text: string) => void
  #unit: UnitFile | undefined
  #state: UnitState = 'inactive'
  #result = ''
  #restarts = 0
  #mainPid: number | undefined
  /** One for the life of the host: what an earlier start left running belongs to the unit, as in its control group. */
  readonly #invocation = randomUUID().replaceAll('-', '')
  /** Counts starts; 0: never started. */
  #run = 0
  #setting: Setting | undefined
  #extra: Readonly<Record<string, string>> = {}
  readonly #startsMs: number[] = []
  /** What is under way: starts, stops and restarts of one unit never overlap. */
  #turn: Promise<unknown> = Promise.resolve()
  /** Changes with every order, so that a restart that waits is given up. */
  #epoch = 0

  /**
   * @param require brings up what the unit needs first (its mounts); throws where that cannot be
   * @param tell    takes a sentence about every change, for the host's log
   */
  constructor(
    name: string,
    read: () => Promise<UnitFile>,
    require: (unit: UnitFile) => Promise<void>,
    tell: (text: string) => void
  ) {
    this.name = name
    this.#read = read
    this.#require = require
    this.#tell = tell
  }

  get state(): UnitState {
    return this.#state
  }

  get detail(): string {
    const restarts = this.#restarts > 0 ? `started again ${this.#restarts} times` : ''
    return [this.#result, restarts].filter(Boolean).join(', ')
  }

  get restarts(): number {
    return this.#restarts
  }

  get mainPid(): number | undefined {
    return this.#mainPid
  }

  processes(): HostProcess[] {
    return this.#run === 0 ? [] : processesOf(this.#invocation, this.#mainPid)
  }

  start(extra: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#epoch++
    return this.#inTurn(async () => {
      if (this.#state === 'active') return
      this.#extra = extra
      this.#startsMs.length = 0
      await this.#startOnce()
    })
  }

  stop(): Promise<void> {
    this.#epoch++
    return this.#inTurn(() => this.#stopNow('inactive', ''))
  }

  /** ExecReload=, or SIGHUP to the main process where there is none. */
  reload(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#state !== 'active') throw new Error(`${this.name} is ${this.#state}`)
      const commands = this.#unit!.list('Service.ExecReload')
      if (commands.length === 0) process.kill(this.#mainPid!, 'SIGHUP')
      await this.#runAll('Service.ExecReload', { MAINPID: String(this.#mainPid) })
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => {}) // told to whoever asked
    return turn
  }

  async #startOnce(): Promise<void> {
    const unit = (this.#unit = await this.#read())
    this.#become('activating', '')
    try {
      if (!conditionsHold(unit)) {
        this.#become('inactive', 'a condition does not hold')
        return
      }
      this.#keepStartLimit(unit)
      await this.#require(unit)
      this.#run++
      this.#setting = await prepare(unit, this.#invocation, this.#extra)
      await this.#runAll('Service.ExecStartPre')
      await withTimeout(this.#startMain(unit), this.#startMs(unit), `${this.name} was not ready in time`)
      await this.#runAll('Service.ExecStartPost', { MAINPID: String(this.#mainPid ?? '') })
      if (this.#state === 'activating') this.#become('active', '')
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      await this.#stopNow('failed', reason)
      this.#startAgainLater(unit, { code: 1, signal: null })
      throw new Error(`${this.name} did not start: ${reason}`, { cause: error })
    }
  }

  #startMs(unit: UnitFile): number {
    const ms = unit.durationMs('Service.TimeoutStartSec', unit.durationMs('Service.TimeoutSec', START_MS))
    return Math.min(START_MS_MAX, ms === 0 ? Infinity : ms)
  }

  async #startMain(unit: UnitFile): Promise<void> {
    const type = unit.text('Service.Type') ?? 'simple'
    const text = unit.text('Service.ExecStart')
    if (text === undefined) throw new Error('it has no ExecStart=')
    if (type === 'oneshot') {
      await this.#runAll('Service.ExecStart')
      if (!unit.flag('Service.RemainAfterExit', false)) this.#become('inactive', '')
      return
    }
    const command = commandOf(text, this.#setting!)
    const speaks = type === 'notify' && !SILENT_PROGRAMS.has(command.words[0]!)
    const notify = speaks ? await NotifySocket.open(this.name) : undefined
    try {
      const env: Record<string, string> = notify ? { NOTIFY_SOCKET: notify.path } : {}
      const child = await launch(unit, command, this.#setting!, env)
      if (type === 'forking') {
        const ending = await endOf(child)
        if (ending.code !== 0) throw new Error(`ExecStart= ended with ${textOf(ending)}`)
        this.#watchDaemon(unit, await this.#daemonPid(unit))
        return
      }
      this.#mainPid = child.pid
      const run = this.#run
      const ended = endOf(child)
      let isReady = notify === undefined
      void ended.then(ending => {
        if (isReady && this.#run === run) this.#onEnd(unit, ending)
      })
      if (!notify) return
      const early = await Promise.race([notify.ready.then(() => undefined), ended])
      if (early) throw new Error(`it ended with ${textOf(early)} before it was ready`)
      isReady = true
    } finally {
      notify?.close()
    }
  }

  async #daemonPid(unit: UnitFile): Promise<number> {
    const path = unit.text('Service.PIDFile')
    if (path === undefined) throw new Error('Type=forking without a PIDFile= is not known here')
    const endMs = performance.now() + START_MS
    for (;;) {
      const pid = existsSync(path) ? Number(readFileSync(path, 'utf8').trim()) : 0
      if (pid > 0) return pid
      if (performance.now() > endMs) throw new Error(`${path} never came`)
      await sleep(WATCH_MS)
    }
  }

  #watchDaemon(unit: UnitFile, pid: number): void {
    this.#mainPid = pid
    const run = this.#run
    const timer = setInterval(() => {
      if (isRunning(pid)) return
      clearInterval(timer)
      // how it ended is known to its parent only, which is init; what nobody ordered counts as a crash
      if (this.#run === run) this.#onEnd(unit, { code: null, signal: 'SIGKILL' })
    }, WATCH_MS)
  }

  /** The main process is gone, and nobody ordered it. */
  #onEnd(unit: UnitFile, ending: Ending): void {
    if (this.#state === 'deactivating') return
    this.#mainPid = undefined
    void this.#inTurn(async () => {
      if (this.#state !== 'active' && this.#state !== 'activating') return
      const isClean = endedCleanly(unit, ending)
      await this.#stopNow(isClean ? 'inactive' : 'failed', `ended with ${textOf(ending)}`)
      this.#startAgainLater(unit, ending)
    })
  }

  #startAgainLater(unit: UnitFile, ending: Ending): void {
    if (!wantsRestart(unit, ending) || this.#result.includes('too often')) return
    const epoch = this.#epoch
    this.#become('restarting', this.#result)
    const delayMs = unit.durationMs('Service.RestartSec', RESTART_DELAY_MS)
    setTimeout(() => {
      void this.#inTurn(async () => {
        if (this.#epoch !== epoch || this.#state !== 'restarting') return
        this.#restarts++
        await this.#startOnce()
      }).catch(() => {}) // its state says so
    }, delayMs)
  }

  #keepStartLimit(unit: UnitFile): void {
    const spanMs = unit.durationMs(
      'Unit.StartLimitIntervalSec',
      unit.durationMs('Service.StartLimitInterval', START_LIMIT_INTERVAL_MS)
    )
    const burst = Number(
      unit.text('Unit.StartLimitBurst') ?? unit.text('Service.StartLimitBurst') ?? START_LIMIT_BURST
    )
    const nowMs = performance.now()
    while (this.#startsMs.length > 0 && nowMs - this.#startsMs[0]! > spanMs) this.#startsMs.shift()
    if (spanMs > 0 && this.#startsMs.length >= burst) throw new Error(`it was started too often`)
    this.#startsMs.push(nowMs)
  }

  async #stopNow(next: UnitState, result: string): Promise<void> {
    const unit = this.#unit
    if (!unit || this.#run === 0) {
      this.#become(next, result)
      return
    }
    this.#become('deactivating', result)
    const mainPid = this.#mainPid
    if (mainPid !== undefined && isRunning(mainPid))
      await this.#runAll('Service.ExecStop', { MAINPID: String(mainPid) }).catch(() => {}) // then signals do it
    const mode = unit.text('Service.KillMode') ?? 'control-group'
    const stopMs = unit.durationMs('Service.TimeoutStopSec', unit.durationMs('Service.TimeoutSec', STOP_MS))
    const waitMs = Math.min(STOP_MS_MAX, stopMs === 0 ? Infinity : stopMs)
    if (mode !== 'none') {
      const main = () => this.processes().filter(({ pid }) => pid === mainPid)
      const all = () => this.processes()
      const left = mode === 'process' ? main : all
      signal(mode === 'control-group' ? all() : main(), unit.text('Service.KillSignal') ?? 'SIGTERM')
      if (mode === 'mixed') {
        await untilNone(main, waitMs)
        signal(all(), 'SIGKILL')
      }
      if (!(await untilNone(left, waitMs))) {
        signal(left(), 'SIGKILL')
        await untilNone(left, STOP_MS)
      }
    }
    await this.#runAll('Service.ExecStopPost').catch(() => {}) // as systemd, which only logs it
    this.#mainPid = undefined
    this.#become(next, result)
  }

  /** @throws one of them failed, and its line does not begin with `-` */
  async #runAll(key: string, extra: Readonly<Record<string, string>> = {}): Promise<void> {
    const setting = { ...this.#setting!, values: { ...this.#setting!.values, ...extra } }
    for (const text of this.#unit!.list(key)) {
      const command = commandOf(text, setting)
      const ending = await endOf(await launch(this.#unit!, command, setting))
      if (ending.code !== 0 && !command.mayFail)
        throw new Error(`${key.split('.')[1]}=${command.words[0]} ended with ${textOf(ending)}`)
    }
  }

  #become(state: UnitState, result: string): void {
    if (this.#state === state && this.#result === result) return
    this.#state = state
    this.#result = result
    this.#tell(`${this.name} is ${state}${result === '' ? '' : `: ${result}`}`)
  }
}

function conditionsHold(unit: UnitFile): boolean {
  const holds = (key: string, test: (path: string) => boolean): boolean =>
    unit.list(`Unit.${key}`).every(text => (text.startsWith('!') ? !test(text.slice(1)) : test(text)))
  return (
    holds('ConditionPathExists', existsSync) &&
    holds('ConditionFileNotEmpty', path => existsSync(path) && statSync(path).size > 0)
  )
}

function endedCleanly(unit: UnitFile, { code, signal }: Ending): boolean {
  const accepted = new Set(unit.words('Service.SuccessExitStatus'))
  if (code !== null) return code === 0 || accepted.has(String(code))
  return CLEAN_SIGNALS.has(signal) || accepted.has(signal ?? '')
}

function wantsRestart(unit: UnitFile, ending: Ending): boolean {
  if (ending.code !== null && unit.words('Service.RestartPreventExitStatus').includes(String(ending.code)))
    return false
  const isClean = endedCleanly(unit, ending)
  switch (unit.text('Service.Restart') ?? 'no') {
    case 'always':
      return true
    case 'on-failure':
      return !isClean
    case 'on-abnormal':
    case 'on-abort':
      return !isClean && ending.signal !== null
    case 'on-success':
      return isClean
    default:
      return false
  }
}

function endOf(child: ChildProcess): Promise<Ending> {
  if (child.exitCode !== null || child.signalCode !== null)
    return Promise.resolve({ code: child.exitCode, signal: child.signalCode })
  return new Promise(resolve => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
}

const textOf = ({ code, signal }: Ending): string => signal ?? `exit code ${code}`

export function signal(processes: readonly HostProcess[], name: string): void {
  for (const { pid } of processes) {
    try {
      process.kill(pid, name as NodeJS.Signals)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // it ended by itself
    }
  }
}

async function untilNone(list: () => readonly HostProcess[], waitMs: number): Promise<boolean> {
  const endMs = performance.now() + waitMs
  while (list().length > 0) {
    if (performance.now() > endMs) return false
    await sleep(WATCH_MS)
  }
  return true
}

async function withTimeout(work: Promise<void>, ms: number, message: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(message)), Math.min(ms, 2 ** 31 - 1))
  })
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
