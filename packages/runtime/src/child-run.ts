import { fork as nodeFork, type ChildProcess, type SendHandle } from 'node:child_process'
import { isFailed, isPong, isReady, type ReadyFields } from './child-message.ts'
import { LineSplitter } from './line-splitter.ts'
import { SERVER_NODE_FLAGS } from './server-node-flags.ts'

/** A process that does not die of SIGKILL within this is stuck in the kernel, as in a hung file system. */
const KILL_WAIT_MS = 2_000
/** After its exit, what a child wrote last is waited for; a grandchild may hold its pipes open for ever. */
const LAST_OUTPUT_WAIT_MS = 250

export type OutputStream = 'stdout' | 'stderr'
export type Fork = typeof nodeFork

export interface ChildCommand {
  /** Path of the module to run. */
  module: string
  args?: readonly string[]
  /** The child's whole environment; nothing is inherited that is not in here. */
  env: Readonly<Record<string, string | undefined>>
  /** Node's flags beside those of all servers, which they override; as `port.execArgv` has them. */
  execArgv?: readonly string[]
  cwd?: string
}

export interface HangDetection {
  /** Between two pings, in milliseconds. */
  intervalMs: number
  /** Without an answer for this long the child counts as hung. */
  toleranceMs: number
}

export interface ChildRunOptions {
  command: ChildCommand
  /** From the start to `ready`. */
  readyTimeoutMs: number
  hang?: HangDetection
  onLine?: (stream: OutputStream, line: string) => void
  onMessage?: (message: unknown, handle: unknown) => void
  /** Node's own, unless a test takes its place. */
  fork?: Fork
}

/** How one run of a child came to its end. */
export interface ChildEnd {
  pid: number | undefined
  code: number | null
  signal: NodeJS.Signals | null
  /** It had been ready. */
  wasReady: boolean
  /** In words: "killed by SIGKILL", "did not answer for 5000 ms", or the child's own sentence. */
  reason: string
  /** It did not even die of SIGKILL, and was left behind. */
  abandoned: boolean
}

/** One process from its start to its end; see ProcessSupervisor for a series of them. */
export class ChildRun {
  /** Resolves with what the child says it is ready with; never, if it ends before. */
  readonly ready: Promise<ReadyFields>
  /** Always resolves in the end. */
  readonly ended: Promise<ChildEnd>
  readonly #child: ChildProcess
  readonly #options: ChildRunOptions
  readonly #resolveReady: (fields: ReadyFields) => void
  readonly #resolveEnded: (end: ChildEnd) => void
  readonly #readyTimer: NodeJS.Timeout
  #pingTimer: NodeJS.Timeout | undefined
  #killTimer: NodeJS.Timeout | undefined
  #wasReady = false
  #over = false
  #reason = ''
  #pingId = 0
  #pongId = 0
  #unanswered = 0

  constructor(options: ChildRunOptions) {
    this.#options = options
    const ready = Promise.withResolvers<ReadyFields>()
    const ended = Promise.withResolvers<ChildEnd>()
    this.ready = ready.promise
    this.ended = ended.promise
    this.#resolveReady = ready.resolve
    this.#resolveEnded = ended.resolve
    const { command } = options
    this.#child = (options.fork ?? nodeFork)(command.module, [...(command.args ?? [])], {
      env: { ...command.env },
      execArgv: [...SERVER_NODE_FLAGS, ...(command.execArgv ?? [])],
      cwd: command.cwd,
      // A process group of its own: Ctrl-C at the terminal reaches the parent alone, which stops its children
      // in order.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      serialization: 'advanced' // carries bigint and Buffer
    })
    this.#readLines('stdout')
    this.#readLines('stderr')
    this.#child.on('message', (message: unknown, handle: unknown) => this.#hear(message, handle))
    this.#child.on('error', error => {
      if (this.#child.pid === undefined) this.#end(null, null, `cannot be started: ${error.message}`)
    })
    this.#child.on('exit', (code, signal) => this.#exited(code, signal))
    this.#readyTimer = setTimeout(
      () => this.kill(`was not ready within ${options.readyTimeoutMs} ms`),
      options.readyTimeoutMs
    )
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get wasReady(): boolean {
    return this.#wasReady
  }

  /** False where the channel is closed; a message may still be lost with the child. */
  send(message: object, handle?: SendHandle): boolean {
    if (this.#over || !this.#child.connected) return false
    this.#child.send(message, handle, {}, () => {}) // the error of a dying child; its end tells more
    return true
  }

  /** Asks it to stop in order. */
  terminate(): void {
    if (!this.#over) this.#child.kill('SIGTERM')
  }

  /** Has it read its configuration again; before it is ready it would not know what the signal means. */
  reload(): void {
    if (!this.#over && this.#wasReady) this.#child.kill('SIGHUP')
  }

  /** Ends it at once; if the kernel cannot, it is left behind after 2 s and `ended` resolves all the same. */
  kill(reason: string): void {
    if (this.#over || this.#killTimer) return
    this.#reason ||= reason
    this.#child.kill('SIGKILL')
    this.#killTimer = setTimeout(() => this.#abandon(), KILL_WAIT_MS)
  }

  #hear(message: unknown, handle: unknown): void {
    if (this.#over) return
    if (isPong(message)) {
      this.#pongId = Math.max(this.#pongId, message.id)
    } else if (isReady(message)) {
      if (this.#wasReady) return
      this.#wasReady = true
      clearTimeout(this.#readyTimer)
      this.#startPings()
      this.#resolveReady(message.fields ?? {})
    } else if (isFailed(message)) {
      this.#reason ||= message.message
    } else {
      this.#options.onMessage?.(message, handle)
    }
  }

  #startPings(): void {
    const { hang } = this.#options
    if (!hang) return
    this.#pingTimer = setInterval(() => {
      // Pings without answer are counted, not time: after a pause of this process itself the answers lie
      // unread in the pipe, and the child is not to blame.
      this.#unanswered = this.#pongId === this.#pingId ? 0 : this.#unanswered + 1
      if (this.#unanswered * hang.intervalMs >= hang.toleranceMs) {
        this.kill(`did not answer for ${this.#unanswered * hang.intervalMs} ms`)
      } else if (this.#unanswered === 0) {
        this.send({ type: 'ping', id: ++this.#pingId })
      }
    }, hang.intervalMs)
  }

  #readLines(name: OutputStream): void {
    const stream = this.#child[name]
    if (!stream) return
    const lines = new LineSplitter(line => this.#options.onLine?.(name, line))
    stream.on('data', (chunk: Buffer) => lines.push(chunk))
    stream.on('end', () => lines.end())
    stream.on('error', () => {})
  }

  #exited(code: number | null, signal: NodeJS.Signals | null): void {
    const plain = signal ? `killed by ${signal}` : `ended with exit code ${code}`
    // Its last lines and its last message may still be in the pipes.
    const timer = setTimeout(() => this.#end(code, signal, plain), LAST_OUTPUT_WAIT_MS)
    this.#child.once('close', () => {
      clearTimeout(timer)
      this.#end(code, signal, plain)
    })
  }

  #abandon(): void {
    if (this.#over) return
    this.#end(null, null, `${this.#reason}; not even SIGKILL ended it, it is left behind`, true)
    if (this.#child.connected) this.#child.disconnect()
    this.#child.stdout?.destroy()
    this.#child.stderr?.destroy()
    this.#child.unref()
  }

  #end(code: number | null, signal: NodeJS.Signals | null, plain: string, abandoned = false): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#readyTimer)
    clearInterval(this.#pingTimer)
    clearTimeout(this.#killTimer)
    this.#resolveEnded({
      pid: this.#child.pid,
      code,
      signal,
      wasReady: this.#wasReady,
      reason: abandoned ? plain : this.#reason || plain,
      abandoned
    })
  }
}
