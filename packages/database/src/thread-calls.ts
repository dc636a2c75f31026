import { Worker } from 'node:worker_threads'
import { DatabaseUnavailableError } from './errors.ts'
import type { DatabaseEvent } from './database.ts'

/** A thread that dies on every call must not be started in a circle. */
const RESTART_AFTER_MS = 1_000

/** No answer came, and it is not known what the thread did. */
export class ThreadLostError extends Error {
  override readonly name = 'ThreadLostError'
}

interface Waiting {
  resolve: (answer: unknown) => void
  reject: (error: Error) => void
  timer: NodeJS.Timeout
}

/** Questions to a thread of ours and its answers. The thread keeps the process alive only while it owes one. */
export class ThreadCalls {
  readonly #file: string
  readonly #workerData: unknown
  readonly #onEvent: (event: DatabaseEvent) => void
  readonly #waiting = new Map<number, Waiting>()
  #worker: Worker | undefined
  #diedAtMs = -Infinity
  #nextId = 1
  #closed: Promise<void> | undefined

  /** @param file name beside this file, without its ending: `.ts` unbuilt, `.js` built. */
  constructor(file: string, workerData: unknown, onEvent: (event: DatabaseEvent) => void) {
    this.#file = file
    this.#workerData = workerData
    this.#onEvent = onEvent
  }

  /** @throws {ThreadLostError} silence for `timeoutMs`, or the thread died. */
  call(message: unknown, timeoutMs: number): Promise<unknown> {
    if (this.#closed) return Promise.reject(new DatabaseUnavailableError('the database is closed'))
    const worker = (this.#worker ??= this.#start())
    if (!worker) return Promise.reject(new DatabaseUnavailableError(`${this.#file} died and is not back yet`))
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle(id)?.reject(new ThreadLostError(`${this.#file} gave no answer in ${timeoutMs} ms`))
      }, timeoutMs)
      if (this.#waiting.size === 0) worker.ref()
      this.#waiting.set(id, { resolve, reject, timer })
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows, not threads
      worker.postMessage([id, message])
    })
  }

  /** The thread closes its connection and ends; calls in progress get their answer first. */
  close(timeoutMs: number): Promise<void> {
    return (this.#closed ??= this.#close(timeoutMs))
  }

  async #close(timeoutMs: number): Promise<void> {
    const worker = this.#worker
    if (!worker) return
    const exited = new Promise<void>(resolve => worker.once('exit', () => resolve()))
    const timer = setTimeout(() => void worker.terminate(), timeoutMs)
    worker.ref()
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows, not threads
    worker.postMessage('close')
    await exited
    clearTimeout(timer)
  }

  #start(): Worker | undefined {
    if (performance.now() - this.#diedAtMs < RESTART_AFTER_MS) return undefined
    const ending = import.meta.url.endsWith('.ts') ? '.ts' : '.js'
    const worker = new Worker(new URL(`./${this.#file}${ending}`, import.meta.url), {
      workerData: this.#workerData,
      // Not the process's own flags: some, such as the test runner's, are refused for threads.
      execArgv: ending === '.ts' ? ['--conditions=tributary-source'] : []
    })
    worker.on('message', ([id, answer]: [number, unknown]) => this.#settle(id)?.resolve(answer))
    worker.on('error', error => this.#died(worker, error))
    worker.on('exit', () => this.#died(worker, undefined))
    worker.unref()
    return worker
  }

  #settle(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id)
    if (!waiting) return undefined
    clearTimeout(waiting.timer)
    this.#waiting.delete(id)
    if (this.#waiting.size === 0) this.#worker?.unref()
    return waiting
  }

  #died(worker: Worker, error: Error | undefined): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    this.#diedAtMs = performance.now()
    if (!this.#closed) {
      this.#onEvent({ level: 'error', text: `${this.#file} ended: ${error?.message ?? 'without an error'}` })
    }
    const lost = new ThreadLostError(`${this.#file} ended`, { cause: error })
    for (const id of this.#waiting.keys()) this.#settle(id)?.reject(lost)
  }
}
