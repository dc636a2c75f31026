/** The process as the commands see it: streams, terminal, environment. Made in main.ts, and by tests. */
import type { Readable, Writable } from 'node:stream'
import { TributaryError } from '@tributary/protocol'
import type { ProcessPort } from '@tributary/runtime'

export interface Terminal {
  readonly port: ProcessPort
  readonly stdin: Readable
  readonly stdout: Writable
  /** Whether a person watches: progress goes to standard error, results to standard output. */
  readonly stderrIsTty: boolean
  readonly stdoutIsTty: boolean
  /** Any of the three streams is a terminal: when that is closed, the process is told so by SIGHUP. */
  readonly hasTerminal: boolean
  /** Version of Node, without its v. */
  readonly nodeVersion: string
  columns(): number
  readonly folder: string
  readonly homeFolder: string
  isAlive(pid: number): boolean
  /** @throws where it is gone, or is somebody else's (EPERM). */
  signal(pid: number, name: 'SIGUSR2' | 'SIGTERM'): void
}

/** What went wrong, in words that a person can use. */
export function sentenceOf(error: unknown): string {
  const { code, path, message } = (error ?? {}) as { code?: unknown; path?: unknown; message?: unknown }
  if (typeof path === 'string') {
    if (code === 'ENOENT') return `${path} does not exist`
    if (code === 'EACCES' || code === 'EPERM') return `${path} may not be opened by this user`
    if (code === 'EISDIR') return `${path} is a folder`
    if (code === 'ENOSPC') return `${path} cannot be written: no space is left`
  }
  if (code === 'ENOSPC') return 'no space is left on this disk'
  const text = typeof message === 'string' && message !== '' ? message : String(error)
  // A server puts its name in brackets before its sentence: whoever stands at a terminal asked the cluster, not it.
  return error instanceof TributaryError ? text.replace(/^\[[^\]]*\] /, '') : text
}
