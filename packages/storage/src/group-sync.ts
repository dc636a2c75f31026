/** One sync for all who wait: whoever asks while one is under way shares the next. */
export class GroupSync {
  readonly #sync: () => Promise<void>
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(sync: () => Promise<void>) {
    this.#sync = sync
  }

  /** Resolves when a sync that began after this call has ended. */
  wait(): Promise<void> {
    if (!this.#running) return this.#start()
    return (this.#next ??= this.#running.then(
      () => this.#startNext(),
      () => this.#startNext()
    ))
  }

  #startNext(): Promise<void> {
    this.#next = undefined
    return this.#start()
  }

  #start(): Promise<void> {
    const run = this.#sync().finally(() => {
      if (this.#running === run) this.#running = undefined
    })
    this.#running = run
    return run
  }
}
