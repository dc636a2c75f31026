/**
 * The time by which a storage server deletes for good: what has been in the trash long enough, uploads that nobody goes on
 * with. A clock that jumps ahead, by a wrong time server or a wrong hand, is not to empty the trash in a second: it is
 * believed when it has said so for an hour. One that was set back is believed at once, as it deletes nothing.
 */
const JUMP_MS = 60_000
const BELIEVED_AFTER_MS = 3_600_000

export class PurgeClock {
  readonly #wallMs: () => number
  readonly #steadyMs: () => number
  /** When both were last believed. */
  #last: { wallMs: number; steadyMs: number }
  #jumpedSteadyMs: number | undefined

  /** @param wallMs UNIX milliseconds. @param steadyMs Of the monotonic clock. */
  constructor(wallMs: () => number = Date.now, steadyMs: () => number = () => performance.now()) {
    this.#wallMs = wallMs
    this.#steadyMs = steadyMs
    this.#last = { wallMs: wallMs(), steadyMs: steadyMs() }
  }

  /** It stands ahead of what it should say, and is not believed yet. */
  get isDoubted(): boolean {
    return this.#jumpedSteadyMs !== undefined
  }

  /** UNIX milliseconds. */
  nowMs(): number {
    const now = { wallMs: this.#wallMs(), steadyMs: this.#steadyMs() }
    const expectedMs = this.#last.wallMs + (now.steadyMs - this.#last.steadyMs)
    if (now.wallMs > expectedMs + JUMP_MS) {
      this.#jumpedSteadyMs ??= now.steadyMs
      if (now.steadyMs - this.#jumpedSteadyMs < BELIEVED_AFTER_MS) return expectedMs
    }
    this.#jumpedSteadyMs = undefined
    this.#last = now
    return now.wallMs
  }
}
