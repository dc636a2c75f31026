/** Closes what was opened. It ends by itself soon after `deadline` aborts. */
export type Closer = (deadline: AbortSignal) => Promise<void> | void

/**
 * The one start and the one stop of a server: whoever asks for either sees the same outcome. What was opened is closed
 * in the reverse order, after a start that failed too.
 */
export class Lifespan<Started> {
  readonly #open: () => Promise<Started>
  readonly #onCloseFailure: (error: unknown) => void
  readonly #closers: Closer[] = []
  readonly #ending = new AbortController()
  #started: Promise<Started> | undefined
  #stopped: Promise<void> | undefined

  /**
   * @param open            starts the server; each thing it opens it gives to `onEnd` at once.
   * @param onCloseFailure  is told of a closer that failed; the others still run.
   */
  constructor(open: () => Promise<Started>, onCloseFailure: (error: unknown) => void) {
    this.#open = open
    this.#onCloseFailure = onCloseFailure
  }

  /** Aborts when the stop begins, before anything is closed: for what runs in the background. */
  get ending(): AbortSignal {
    return this.#ending.signal
  }

  onEnd(close: Closer): void {
    this.#closers.push(close)
  }

  /** Rejects with nothing left open. */
  start(): Promise<Started> {
    return (this.#started ??= this.#open().catch(async (error: unknown) => {
      await this.#close(AbortSignal.abort())
      throw error
    }))
  }

  /** Waits for a start that is under way, then closes everything. */
  stop(deadline: AbortSignal): Promise<void> {
    return (this.#stopped ??= this.#stop(deadline))
  }

  async #stop(deadline: AbortSignal): Promise<void> {
    await this.#started?.catch(() => {})
    await this.#close(deadline)
  }

  async #close(deadline: AbortSignal): Promise<void> {
    this.#ending.abort()
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close(deadline)
      } catch (error) {
        this.#onCloseFailure(error)
      }
    }
  }
}
