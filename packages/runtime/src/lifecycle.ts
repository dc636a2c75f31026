import { ConfigError } from './config.ts'
import { isPing, type ReadyFields } from './child-message.ts'
import type { Log } from './log.ts'
import type { ProcessPort, StopSignal } from './process-port.ts'
import { redactText } from './redaction.ts'

/** Exit codes of every server. */
export const EXIT = {
  /** Stopped in order. */
  ok: 0,
  /** The start failed, the stop did not end in time, or an error nobody caught. */
  failed: 1,
  /** The configuration or the arguments are wrong: starting again will not help. */
  misconfigured: 2,
  /** It left, as it was told to: whoever looks after it should not start it again. */
  left: 9
} as const

/** What a shell reports for a process that a signal ended. */
const SIGNAL_EXIT: Record<StopSignal, number> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }
/** After the deadline a stop has this long to notice its signal; then the process ends all the same. */
const STOP_GRACE_MS = 1_000

export interface RunnableServer {
  /** All or nothing. `signal` aborts when the process is told to stop before the start has ended. */
  start(signal: AbortSignal): Promise<unknown>
  /** Idempotent; ends by itself soon after `deadline` aborts; also called after a start that failed. */
  stop(deadline: AbortSignal): Promise<unknown>
}

export interface RunOptions {
  port: ProcessPort
  log: Log
  /** How long an orderly stop may take, in milliseconds. */
  stopMs: number
  /** Called when the server serves; what it returns goes to the parent with `ready`. */
  onReady?: () => ReadyFields | void | Promise<ReadyFields | void>
  /**
   * Called for each SIGHUP while the server serves; one that came during the start is taken up then. Must not throw.
   * Without it SIGHUP stops the server, as when its terminal is closed.
   */
  onReload?: () => void
  /**
   * Called for the first SIGUSR2 while the server serves: gives its work to others and resolves when none is left; then the
   * server is stopped and ends with EXIT.left. A signal to stop does not wait for that. Without it SIGUSR2 is ignored.
   */
  onLeave?: () => Promise<void>
}

/**
 * Runs one server until it is told to stop, and ends the process with one of EXIT.
 *
 * SIGTERM, SIGINT and the loss of the parent stop it in order, within `stopMs`; a second signal ends the
 * process at once. SIGHUP reloads and SIGUSR2 leaves, where that is provided for. An error that nobody caught is logged and ends the process at once: what its state is
 * nobody knows. With a parent it answers pings and says `ready`, or `failed` with a sentence.
 *
 * @returns only where the port's `exit` does, as in tests.
 */
export async function runUntilSignal(server: RunnableServer, options: RunOptions): Promise<void> {
  const { port, log, stopMs } = options
  const starting = new AbortController()
  const told = Promise.withResolvers<string>()
  let stopping = false
  let serving = false
  let reloadWanted = false
  let leaving = false
  let hasLeft = false

  const leave = (code: number): void => {
    log.flush()
    port.exit(code)
  }
  const tell = (why: string): void => {
    stopping = true
    starting.abort(new Error(why))
    told.resolve(why)
  }
  const reload = (): void => {
    if (!serving) reloadWanted = true
    else if (!stopping) options.onReload?.()
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    port.onSignal(signal, () => {
      if (signal === 'SIGHUP' && options.onReload) return reload()
      if (!stopping) return tell(signal)
      log.warn({ signal }, 'a second signal: leaving at once')
      leave(SIGNAL_EXIT[signal])
    })
  }
  port.onSignal('SIGUSR2', () => {
    if (!options.onLeave || !serving || stopping || leaving) return
    leaving = true
    options.onLeave().then(
      () => {
        if (stopping) return
        hasLeft = true
        tell('it has left')
      },
      (err: unknown) => log.error({ err }, 'leaving failed; a signal to stop ends it')
    )
  })
  port.onFault((err, origin) => {
    log.fatal({ err, origin }, 'an error that nobody caught: leaving at once')
    leave(EXIT.failed)
  })
  if (port.hasParent) {
    port.onMessage(message => {
      if (isPing(message)) port.send({ type: 'pong', id: message.id })
    })
    port.onDisconnect(() => {
      if (!stopping) tell('the parent is gone')
    })
    if (!port.parentConnected) tell('the parent is gone') // it went before anybody listened
  }

  let failure: unknown
  const started = Promise.resolve().then(() => server.start(starting.signal))
  try {
    await Promise.race([started, told.promise])
    if (!stopping) {
      const fields = (await options.onReady?.()) ?? {}
      port.send({ type: 'ready', pid: port.pid, fields })
      serving = true
      if (reloadWanted) reload()
    }
    log.info({ why: await told.promise }, 'stopping')
  } catch (error) {
    // A start that was told to stop fails by that: it is no failure.
    if (!stopping) {
      failure = error
      reportStartFailure(error, port, log)
    }
    stopping = true
  }
  // A start that does not heed its signal is waited for within the same time; then the process ends anyway.
  const clean = await stopWithin(
    started.catch(() => {}),
    server,
    stopMs,
    log
  )
  if (failure !== undefined) return leave(failure instanceof ConfigError ? EXIT.misconfigured : EXIT.failed)
  log.info(clean ? 'stopped' : 'stopped, but not in order')
  leave(clean ? (hasLeft ? EXIT.left : EXIT.ok) : EXIT.failed)
}

/**
 * Runs what comes before the server, reading the configuration first of all, and reports its failure in
 * one sentence, to the parent as well.
 *
 * @example await runMain(processPort(process), async port => { … await runUntilSignal(…) })
 */
export async function runMain(port: ProcessPort, body: (port: ProcessPort) => Promise<void>): Promise<void> {
  try {
    await body(port)
  } catch (error) {
    reportStartFailure(error, port, undefined)
    port.exit(error instanceof ConfigError ? EXIT.misconfigured : EXIT.failed)
  }
}

/**
 * The sentence for the person who started a server that could not start; no stack, no secret.
 */
export function describeStartFailure(error: unknown): string {
  const { code, address, port, path, message } = (error ?? {}) as Record<string, unknown>
  const where = typeof address === 'string' ? `${address}${typeof port === 'number' ? `:${port}` : ''}` : ''
  if (code === 'EADDRINUSE') return `${where || 'the address'} is taken by another program`
  if (code === 'EADDRNOTAVAIL') return `${where || 'the address'} is not an address of this machine`
  if (code === 'EACCES' && where) return `${where} may not be listened on by this user`
  if ((code === 'EACCES' || code === 'EPERM' || code === 'EROFS') && typeof path === 'string') {
    return `${path} cannot be written by this user`
  }
  if (code === 'ENOSPC') return `${typeof path === 'string' ? path : 'a file system'} has no space left`
  if (code === 'ENOENT' && typeof path === 'string') return `${path} does not exist`
  const text = typeof message === 'string' && message !== '' ? message : String(error)
  return redactText(text)
}

function reportStartFailure(error: unknown, port: ProcessPort, log: Log | undefined): void {
  const sentence = describeStartFailure(error)
  if (log) log.error({ err: error }, `cannot start: ${sentence}`)
  else port.writeError(`cannot start: ${sentence}\n`)
  port.send({ type: 'failed', message: sentence })
}

async function stopWithin(
  started: Promise<unknown>,
  server: RunnableServer,
  stopMs: number,
  log: Log
): Promise<boolean> {
  const deadline = new AbortController()
  const timers = [
    setTimeout(() => deadline.abort(new Error(`the stop took longer than ${stopMs} ms`)), stopMs)
  ]
  const tooLate = new Promise<false>(resolve => {
    timers.push(setTimeout(() => resolve(false), stopMs + STOP_GRACE_MS))
  })
  const stopped = started
    .then(() => server.stop(deadline.signal))
    .then(
      () => true,
      (err: unknown) => {
        log.error({ err }, 'the stop failed')
        return false
      }
    )
  const clean = await Promise.race([stopped, tooLate])
  for (const timer of timers) clearTimeout(timer)
  return clean
}
