import { isatty } from 'node:tty'
import pino from 'pino'
import { formatLogLine } from './log-line.ts'
import { LogOutput, type LogDestination } from './log-output.ts'
import { redactJsonLine } from './redaction.ts'

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]
export type LogFields = Readonly<Record<string, unknown>>

export interface LogMethod {
  (message: string): void
  /** An error goes under `err`: it is printed with its stack and its causes. */
  (fields: LogFields, message: string): void
}

/** What every package logs through; message last, as in pino: `log.warn({ err }, 'database does not answer')`. */
export interface Log {
  readonly fatal: LogMethod
  readonly error: LogMethod
  readonly warn: LogMethod
  readonly info: LogMethod
  readonly debug: LogMethod
  /** A log that adds these fields to each of its lines. Its level is this one's, also when that changes. */
  child(fields: LogFields): Log
  /** From now on; of every child too. */
  setLevel(level: LogLevel): void
  /** Writes what is buffered before it returns; for the last lines before an exit. */
  flush(): void
}

export interface LogOptions {
  /** The role, as in `tracker`. */
  name: string
  level?: LogLevel
  /** `auto`: short coloured lines on a terminal, JSON everywhere else. */
  format?: 'auto' | 'json' | 'pretty'
  /** Default: standard error, so that standard output stays free for results. */
  destination?: LogDestination
}

const STANDARD_ERROR = 2

/** Makes the log of one process. No line leaves it with a secret in it: see redaction.ts. */
export function createLog({ name, level = 'info', format = 'auto', destination }: LogOptions): Log {
  const pretty = format === 'pretty' || (format === 'auto' && !destination && isatty(STANDARD_ERROR))
  const out = destination ?? new LogOutput(STANDARD_ERROR)
  const stream = {
    write(line: string) {
      const safe = redactJsonLine(line)
      out.write(pretty ? formatLogLine(safe) : safe)
    }
  }
  const logger = pino(
    {
      name,
      level,
      base: { name },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      serializers: { err: pino.stdSerializers.err }
    },
    stream
  )
  return wrap(logger, undefined, () => out.flushSync?.())
}

/** A log that says nothing, for tests and for callers that give none. */
export function silentLog(): Log {
  return createLog({ name: 'silent', level: 'silent', destination: { write() {} } })
}

type MethodName = 'fatal' | 'error' | 'warn' | 'info' | 'debug'

/** The logger's own children each keep the level they began with; these ask it for every line. */
function wrap(logger: pino.Logger, bound: LogFields | undefined, flush: () => void): Log {
  const method =
    (name: MethodName): LogMethod =>
    (first: LogFields | string, message?: string): void => {
      if (typeof first !== 'string') logger[name](bound ? { ...bound, ...first } : first, message)
      else if (bound) logger[name](bound, first)
      else logger[name](first)
    }
  return {
    fatal: method('fatal'),
    error: method('error'),
    warn: method('warn'),
    info: method('info'),
    debug: method('debug'),
    child: fields => wrap(logger, { ...bound, ...fields }, flush),
    setLevel(level) {
      logger.level = level
    },
    flush
  }
}
