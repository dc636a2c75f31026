/** Plays, summed here for some seconds before they are added up in the index. */
import { PLAYS_BATCH_MAX, PLAY_TENTHS, type PlaySum } from '@tributary/calls'
import { OutcomeUnknownError, type FileKey } from '@tributary/protocol'
import type { Clock, Log } from '@tributary/runtime'
import type { FileService } from '../file-service.ts'

const FLUSH_INTERVAL_MS = 5_000
/** Films whose sums wait; plays of further ones are not counted until there is room. */
const FILMS_MAX = 5_000
const DAY_MS = 86_400_000

export interface Play extends FileKey {
  generation: string
  started: boolean
  playedS: number
  /** How far this viewing is, and the furthest it had come before this report: 0 to 1; undefined: that is not told. */
  position: number
  before: number | undefined
}

export class PlaySums {
  readonly #files: Pick<FileService, 'index'>
  readonly #clock: Clock
  readonly #log: Log
  #sums = new Map<string, PlaySum>()
  #timer: NodeJS.Timeout | undefined
  #flushing: Promise<void> | undefined

  constructor(files: Pick<FileService, 'index'>, clock: Clock, log: Log) {
    this.#files = files
    this.#clock = clock
    this.#log = log
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.flush(), FLUSH_INTERVAL_MS)
    this.#timer.unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.flush()
  }

  add({ application, user, file, generation, started, playedS, position, before }: Play): void {
    const day = Math.floor(this.#clock.nowMs() / DAY_MS)
    const key = [application, user, file, generation, day].join('\0')
    let sum = this.#sums.get(key)
    if (!sum) {
      if (this.#sums.size >= FILMS_MAX) return
      const reached = Array.from({ length: PLAY_TENTHS }, () => 0)
      sum = { application, user, file, generation, day, starts: 0, seconds: 0, reached }
      this.#sums.set(key, sum)
    }
    if (started) sum.starts++
    sum.seconds += Math.round(playedS)
    const from = started ? 0 : before === undefined ? Infinity : tenthOf(before) + 1
    for (let tenth = from; tenth <= tenthOf(position); tenth++) sum.reached[tenth]!++
  }

  /** Never rejects. */
  flush(): Promise<void> {
    this.#flushing ??= this.#flush().finally(() => (this.#flushing = undefined))
    return this.#flushing
  }

  async #flush(): Promise<void> {
    const sums = [...this.#sums.values()]
    this.#sums = new Map()
    for (let at = 0; at < sums.length; at += PLAYS_BATCH_MAX) {
      const batch = sums.slice(at, at + PLAYS_BATCH_MAX)
      try {
        await this.#files.index('plays.add', { sums: batch })
      } catch (error) {
        this.#log.debug({ err: error }, 'plays could not be added up')
        // Counted once too few rather than twice: what may have been added is not added again.
        if (!(error instanceof OutcomeUnknownError)) for (const sum of batch) this.#putBack(sum)
      }
    }
  }

  #putBack(sum: PlaySum): void {
    const key = [sum.application, sum.user, sum.file, sum.generation, sum.day].join('\0')
    const now = this.#sums.get(key)
    if (!now) {
      if (this.#sums.size < FILMS_MAX) this.#sums.set(key, sum)
      return
    }
    now.starts += sum.starts
    now.seconds += sum.seconds
    now.reached = now.reached.map((count, tenth) => count + sum.reached[tenth]!)
  }
}

function tenthOf(position: number): number {
  return Math.floor(Math.min(1, Math.max(0, position)) * (PLAY_TENTHS - 1) + 1e-9)
}
