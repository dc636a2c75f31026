import { writeSync } from 'node:fs'

/** Where the lines of a log go, each with its line end. */
export interface LogDestination {
  write(line: string): void
  /** Writes what is waiting, if that is possible without waiting. */
  flushSync?(): void
}

/** Lines wait in memory while their reader is slow; beyond this they are dropped, as a log must not stop a server. */
const WAITING_BYTES_MAX = 1024 * 1024
const RETRY_MS = 20

/**
 * Writes lines to a file descriptor at once, so that the last ones before a crash are not lost. A reader that is
 * too slow costs lines, one that is gone costs all of them; neither stops or ends the process. (The usual
 * buffered writer of the logger waits for ever, inside its last flush, for a pipe whose reader was killed.)
 */
export class LogOutput implements LogDestination {
  readonly #descriptor: number
  readonly #waiting: Buffer[] = []
  #waitingBytes = 0
  #dropped = 0
  #broken = false
  #timer: NodeJS.Timeout | undefined

  constructor(descriptor: number) {
    this.#descriptor = descriptor
  }

  write(line: string): void {
    if (this.#broken) return
    const bytes = Buffer.from(line)
    if (this.#waitingBytes + bytes.length > WAITING_BYTES_MAX) {
      this.#dropped++
      return
    }
    this.#waiting.push(bytes)
    this.#waitingBytes += bytes.length
    if (!this.#timer) this.#drain()
  }

  /** One more try, without waiting: whoever exits must not hang on its log. */
  flushSync(): void {
    this.#drain()
  }

  #drain(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      let written = 0
      try {
        written = writeSync(this.#descriptor, next)
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        if (code === 'EAGAIN') this.#timer = setTimeout(() => this.#drain(), RETRY_MS).unref()
        else if (code !== 'EINTR') this.#giveUp()
        if (code !== 'EINTR') return
      }
      this.#waitingBytes -= written
      if (written < next.length) this.#waiting[0] = next.subarray(written)
      else this.#waiting.shift()
    }
    if (this.#dropped > 0) {
      const lines = this.#dropped
      this.#dropped = 0
      const time = new Date().toISOString()
      this.write(
        `${JSON.stringify({ level: 'warn', time, msg: 'the log was too slow; lines were left out', lines })}\n`
      )
    }
  }

  #giveUp(): void {
    this.#broken = true
    this.#waiting.length = 0
    this.#waitingBytes = 0
  }
}
