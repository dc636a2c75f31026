/**
 * One run of ffmpeg, in bounds: time, CPU, memory, bytes written, bytes of output and of complaints; it reads from this worker and
 * nowhere else, it stands back behind other programs, and it does not outlive us.
 */
import { spawn } from 'node:child_process'
import type { FfmpegProgram } from './ffmpeg-program.ts'

/** Complaints that are kept: the last ones say why it ended. */
const STDERR_BYTES_MAX = 4_096
const STDOUT_BYTES_MAX = 64 * 1024
/** Files it may have open: its input, its output, and its libraries. */
const FILES_MAX = 64
/** A process that the kernel cannot end at once, as one that waits for a disk. */
const KILL_WAIT_MS = 5_000
/** What its own handling of the limit of CPU time may take. */
const CPU_GRACE_S = 5

export interface FfmpegRun {
  args: readonly string[]
  /** Where it runs, and the only place it is told to write to. */
  folder: string
  timeoutMs: number
  outputBytesMax: number
  signal: AbortSignal
  /** Seconds of the film that were written. */
  onTime?: (seconds: number) => void
}

export interface FfmpegLimits {
  threads: number
  memoryBytes: number
  niceness: number
}

/** It ended otherwise than it should have; the message is for people. */
export class FfmpegError extends Error {
  override readonly name = 'FfmpegError'
  /** `bound`: it met one of ours, and trying again would not help; `missing`: it is not there now. */
  readonly kind: 'failed' | 'bound' | 'missing'
  constructor(message: string, kind: FfmpegError['kind']) {
    super(message)
    this.kind = kind
  }
}

/**
 * @returns what it wrote to its standard output, without the lines that tell its progress
 * @throws {FfmpegError}; the reason of `signal`, once the process is gone
 */
export async function runFfmpeg(
  { command, path }: FfmpegProgram,
  { threads, memoryBytes, niceness }: FfmpegLimits,
  { args, folder, timeoutMs, outputBytesMax, signal, onTime }: FfmpegRun
): Promise<Buffer> {
  signal.throwIfAborted()
  const cpuS = Math.ceil((timeoutMs / 1_000) * threads)
  const limits = [
    `--cpu=${cpuS}:${cpuS + CPU_GRACE_S}`,
    `--fsize=${outputBytesMax}`,
    `--as=${memoryBytes}`,
    `--nofile=${FILES_MAX}`,
    '--core=0'
  ]
  // Each becomes the next one, so that there is one process to end. The signal of a parent's death is kept through that.
  const child = spawn(
    'prlimit',
    [
      ...limits,
      'setpriv',
      '--pdeathsig',
      'KILL',
      'nice',
      '-n',
      String(niceness),
      command,
      ...BASE_ARGS,
      ...args
    ],
    {
      cwd: folder,
      // No proxy, no report file, nothing else of ours.
      env: { PATH: path, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A process group of its own: Ctrl-C at a terminal is for the worker, which gives its jobs back in order.
      detached: true
    }
  )
  let killedBecause: string | undefined
  const kill = (why: string): void => {
    killedBecause ??= why
    child.kill('SIGKILL')
  }
  const timer = setTimeout(() => kill(`it took longer than ${Math.round(timeoutMs / 1_000)} s`), timeoutMs)
  const abort = (): void => kill('')
  signal.addEventListener('abort', abort, { once: true })

  const output: Buffer[] = []
  let outputBytes = 0
  let line = ''
  child.stdout.on('data', (bytes: Buffer) => {
    if (!onTime) {
      outputBytes += bytes.byteLength
      if (outputBytes > STDOUT_BYTES_MAX)
        return kill(`it wrote more than ${STDOUT_BYTES_MAX} bytes of output`)
      output.push(bytes)
      return
    }
    const lines = (line + bytes.toString('latin1')).split('\n')
    line = lines.pop()!.slice(0, 1_000)
    for (const text of lines) {
      const [, microseconds] = /^out_time_us=(\d+)/.exec(text) ?? []
      if (microseconds !== undefined) onTime(Number(microseconds) / 1e6)
    }
  })
  let complaints = Buffer.alloc(0)
  child.stderr.on('data', (bytes: Buffer) => {
    complaints = Buffer.concat([complaints, bytes]).subarray(-STDERR_BYTES_MAX)
  })
  try {
    const { code, endedBy } = await ended(child, signal)
    if (signal.aborted) throw signal.reason
    if (killedBecause !== undefined) throw new FfmpegError(`ffmpeg was ended: ${killedBecause}`, 'bound')
    if (code === 0) return Buffer.concat(output)
    const bound = BOUNDS[endedBy ?? '']
    if (bound) throw new FfmpegError(`ffmpeg was ended: it needed more ${bound} than it may have`, 'bound')
    const why = lastWords(complaints) || (endedBy ? `killed by ${endedBy}` : `exit code ${code}`)
    throw new FfmpegError(`ffmpeg failed: ${why}`, NOT_STARTED.has(code ?? 0) ? 'missing' : 'failed')
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', abort)
  }
}

const BASE_ARGS = ['-nostdin', '-hide_banner', '-nostats', '-loglevel', 'error', '-y']
/** Of a program that could not be found, or not be run. */
const NOT_STARTED = new Set([126, 127])
const BOUNDS: Record<string, string> = { SIGXFSZ: 'room for its output', SIGXCPU: 'CPU time' }

function ended(
  child: ReturnType<typeof spawn>,
  signal: AbortSignal
): Promise<{ code: number | null; endedBy: string | null }> {
  return new Promise((resolve, reject) => {
    child.once('error', error =>
      reject(new FfmpegError(`ffmpeg cannot be started: ${error.message}`, 'missing'))
    )
    child.once('close', (code, endedBy) => resolve({ code, endedBy }))
    signal.addEventListener(
      'abort',
      () => setTimeout(() => resolve({ code: null, endedBy: 'SIGKILL' }), KILL_WAIT_MS).unref(),
      { once: true }
    )
  })
}

/** The last lines, without control characters: they are shown to people. Addresses of ours are secrets. */
function lastWords(complaints: Buffer): string {
  return (
    complaints
      .toString('utf8')
      .replaceAll(/http:\/\/127\.0\.0\.1:\d+\/[\w-]+/g, 'the film')
      // oxlint-disable-next-line no-control-regex
      .replaceAll(/[\u0000-\u0009\u000b-\u001f\u007f]/g, '')
      .split('\n')
      .filter(Boolean)
      .slice(-3)
      .join('; ')
      .slice(-700)
      .toWellFormed()
  )
}
