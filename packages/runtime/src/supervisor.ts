import type { SendHandle } from 'node:child_process'
import { ChildRun, type ChildEnd, type ChildRunOptions } from './child-run.ts'
import type { ReadyFields } from './child-message.ts'
import { systemClock, type Clock } from './clock.ts'

/** The second crash waits this long, each further one twice as long as the one before. */
const BACKOFF_MS_MIN = 100
const BACKOFF_MS_MAX = 5_000
const READY_TIMEOUT_MS = 30_000
const CRASHES_MAX = 5
const CRASH_WINDOW_MS = 60_000

export interface SupervisorOptions extends Omit<ChildRunOptions, 'readyTimeoutMs'> {
  /** For messages: `storage 1`. */
  name: string
  /** Default 30,000. */
  readyTimeoutMs?: number
  /** That many crashes within `crashWindowMs` and it is given up. Default 5 within 60,000 ms. */
  crashesMax?: number
  crashWindowMs?: number
  clock?: Clock
  /** At the first start and after every restart. */
  onReady?: (fields: ReadyFields, pid: number) => void
  /** It ended without being asked to; `restartInMs` undefined: given up. */
  onCrash?: (end: ChildEnd, restartInMs: number | undefined) => void
  onGivenUp?: (end: ChildEnd) => void
}

export type SupervisorState =
  | 'idle'
  | 'starting'
  | 'running'
  | 'waiting'
  | 'given-up'
  | 'stopping'
  | 'stopped'

/** The child ended, or fell silent, before it was ready for the first time. */
export class ChildStartError extends Error {
  readonly end: ChildEnd
  constructor(name: string, end: ChildEnd) {
    super(`${name} could not be started: ${end.reason}`)
    this.name = 'ChildStartError'
    this.end = end
  }
}

/**
 * Keeps one child process running: starts it, waits for its `ready`, replaces it when it dies, hangs or cannot
 * be killed (at once, then with a growing wait), gives it up when it crashes again and again, stops it in order.
 */
export class ProcessSupervisor {
  readonly #options: SupervisorOptions
  readonly #clock: Clock
  readonly #stopping = new AbortController()
  readonly #crashesMs: number[] = []
  #state: SupervisorState = 'idle'
  #run: ChildRun | undefined
  #restarts = 0
  #started: Promise<ReadyFields> | undefined
  #supervised: Promise<void> | undefined
  #stopped: Promise<void> | undefined

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock()
  }

  get name(): string {
    return this.#options.name
  }

  get state(): SupervisorState {
    return this.#state
  }

  get pid(): number | undefined {
    return this.#run?.pid
  }

  /** Replacements so far. */
  get restarts(): number {
    return this.#restarts
  }

  /**
   * Resolves when the child is ready for the first time. From then on it is replaced whenever it ends.
   *
   * @throws {ChildStartError} it ended, or was not ready in time; nothing is left running.
   */
  start(signal?: AbortSignal): Promise<ReadyFields> {
    return (this.#started ??= this.#startFirst(signal))
  }

  /** Stops the child in order; whatever still runs when `deadline` aborts is killed. */
  stop(deadline: AbortSignal): Promise<void> {
    return (this.#stopped ??= this.#stop(deadline))
  }

  /** False where no child is there to hear it. Handles are sockets and servers of node:net. */
  send(message: object, handle?: SendHandle): boolean {
    return this.#run?.send(message, handle) ?? false
  }

  /** Has the child read its configuration again, where it runs. */
  reload(): void {
    this.#run?.reload()
  }

  /** Kills the child at once, as one that is known to hang; it is replaced like one that crashed. */
  kill(reason: string): void {
    this.#run?.kill(reason)
  }

  async #startFirst(signal: AbortSignal | undefined): Promise<ReadyFields> {
    signal?.throwIfAborted()
    if (this.#stopping.signal.aborted) throw new Error(`${this.name} is stopped`)
    this.#state = 'starting'
    const run = this.#spawn()
    const giveUp = (): void => run.kill('the start was called off')
    signal?.addEventListener('abort', giveUp, { once: true })
    const first = await Promise.race([run.ready, run.ended.then(end => new ChildStartError(this.name, end))])
    signal?.removeEventListener('abort', giveUp)
    if (first instanceof ChildStartError) {
      this.#run = undefined
      if (this.#state === 'starting') this.#state = 'stopped'
      signal?.throwIfAborted()
      throw first
    }
    this.#isReady(run, first)
    this.#supervised = this.#supervise(run)
    return first
  }

  async #supervise(first: ChildRun): Promise<void> {
    let run = first
    for (;;) {
      const end = await run.ended
      this.#run = undefined
      if (this.#stopping.signal.aborted) return
      const waitMs = this.#afterCrash()
      this.#state = waitMs === undefined ? 'given-up' : 'waiting'
      this.#options.onCrash?.(end, waitMs)
      if (waitMs === undefined) return this.#options.onGivenUp?.(end)
      if (waitMs > 0) await this.#clock.sleep(waitMs, this.#stopping.signal).catch(() => {})
      if (this.#stopping.signal.aborted) return
      this.#state = 'starting'
      this.#restarts++
      run = this.#spawn()
      const current = run
      void current.ready.then(fields => this.#isReady(current, fields))
    }
  }

  #spawn(): ChildRun {
    const { readyTimeoutMs = READY_TIMEOUT_MS } = this.#options
    this.#run = new ChildRun({ ...this.#options, readyTimeoutMs })
    return this.#run
  }

  #isReady(run: ChildRun, fields: ReadyFields): void {
    if (this.#run !== run || this.#state !== 'starting') return
    this.#state = 'running'
    this.#options.onReady?.(fields, run.pid ?? 0)
  }

  /** How long the next start waits; undefined: too many crashes. */
  #afterCrash(): number | undefined {
    const { crashesMax = CRASHES_MAX, crashWindowMs = CRASH_WINDOW_MS } = this.#options
    const nowMs = this.#clock.monotonicMs()
    this.#crashesMs.push(nowMs)
    while (nowMs - (this.#crashesMs[0] ?? nowMs) > crashWindowMs) this.#crashesMs.shift()
    const crashes = this.#crashesMs.length
    if (crashes >= crashesMax) return undefined
    return crashes === 1 ? 0 : Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** (crashes - 2))
  }

  async #stop(deadline: AbortSignal): Promise<void> {
    this.#stopping.abort(new Error(`${this.name} is being stopped`))
    const givenUp = this.#state === 'given-up'
    this.#state = 'stopping'
    const run = this.#run
    if (run) {
      const kill = (): void => run.kill('did not stop in time')
      run.terminate()
      if (deadline.aborted) kill()
      else deadline.addEventListener('abort', kill, { once: true })
      await run.ended
      deadline.removeEventListener('abort', kill)
    }
    await this.#started?.catch(() => {})
    await this.#supervised
    this.#state = givenUp ? 'given-up' : 'stopped'
  }
}
