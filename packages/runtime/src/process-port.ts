/**
 * The one door to the operating-system process. Everything below a `main.ts` gets this object instead of
 * the `process` global, so that tests can hand in their own. This file is the declared exception to the
 * rule that only `main.ts` files know `process`: it wraps the object that a `main.ts` passes in, and names
 * the global for its type alone.
 */

export type StopSignal = 'SIGTERM' | 'SIGINT' | 'SIGHUP'
/** Node keeps SIGUSR1 for its debugger. */
export type ServerSignal = StopSignal | 'SIGUSR2'
export type Unsubscribe = () => void

export interface ProcessPort {
  readonly pid: number
  /** Arguments after the script's path. */
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** Node's own path and flags, as a child needs them that runs from the same sources. */
  readonly execPath: string
  readonly execArgv: readonly string[]
  /** True where a parent started this process with an IPC channel. */
  readonly hasParent: boolean
  /** False once that channel has closed, because the parent is gone or closed it. */
  readonly parentConnected: boolean

  onSignal(signal: ServerSignal, listener: () => void): Unsubscribe
  /** Errors that nobody caught; the process no longer knows its state. */
  onFault(listener: (error: unknown, origin: 'uncaughtException' | 'unhandledRejection') => void): Unsubscribe
  onMessage(listener: (message: unknown, handle: unknown) => void): Unsubscribe
  /** The parent is gone, or closed the channel. */
  onDisconnect(listener: () => void): Unsubscribe
  /** Sends to the parent; false where there is none, or the channel has closed. */
  send(message: object): boolean
  /** Closes the channel to the parent, so that it no longer keeps this process alive. */
  disconnect(): void
  exit(code: number): never
  setExitCode(code: number): void
  writeOut(text: string): void
  writeError(text: string): void

  /** Resident set size in bytes. */
  residentBytes(): number
  /** CPU time of all threads since start, in seconds. */
  cpuSeconds(): { user: number; system: number }
  /** Seconds since the process started. */
  uptimeSeconds(): number
  /** Bytes of the JavaScript heap in use. */
  heapUsedBytes(): number
}

/** Wraps the process object; call it once, in `main.ts`: `processPort(process)`. */
export function processPort(own: NodeJS.Process): ProcessPort {
  const listen = (event: string, listener: (...args: never[]) => void): Unsubscribe => {
    own.on(event as 'exit', listener as () => void)
    return () => {
      own.off(event as 'exit', listener as () => void)
    }
  }
  // A parent that is gone closes our pipes. Without listeners the next line written would crash the process
  // in the middle of its orderly stop.
  own.stdout.on('error', () => {})
  own.stderr.on('error', () => {})

  return {
    pid: own.pid,
    args: own.argv.slice(2),
    env: own.env,
    execPath: own.execPath,
    execArgv: own.execArgv,
    hasParent: own.send !== undefined,
    get parentConnected() {
      return own.send !== undefined && own.connected
    },
    onSignal: (signal, listener) => listen(signal, () => listener()),
    onFault(listener) {
      const onException = listen('uncaughtException', (error: unknown) =>
        listener(error, 'uncaughtException')
      )
      const onRejection = listen('unhandledRejection', (error: unknown) =>
        listener(error, 'unhandledRejection')
      )
      return () => {
        onException()
        onRejection()
      }
    },
    onMessage: listener =>
      listen('message', (message: unknown, handle: unknown) => listener(message, handle)),
    onDisconnect: listener => listen('disconnect', () => listener()),
    send(message) {
      if (own.send === undefined || !own.connected) return false
      // The callback takes the error of a channel that closes under our hands; `disconnect` tells the rest.
      own.send(message, undefined, undefined, () => {})
      return true
    },
    disconnect() {
      if (own.connected) own.disconnect()
    },
    exit: code => own.exit(code),
    setExitCode(code) {
      own.exitCode = code
    },
    writeOut(text) {
      own.stdout.write(text)
    },
    writeError(text) {
      own.stderr.write(text)
    },
    residentBytes: () => own.memoryUsage.rss(),
    cpuSeconds() {
      const { user, system } = own.cpuUsage()
      return { user: user / 1e6, system: system / 1e6 }
    },
    uptimeSeconds: () => own.uptime(),
    heapUsedBytes: () => own.memoryUsage().heapUsed
  }
}
