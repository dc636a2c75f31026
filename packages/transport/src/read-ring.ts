/** Two large read buffers of one streamed reply, filled in turn; what is given away waits for its release. */

const BUFFER_BYTES = 256 * 1024

export class ReadRing {
  readonly #buffers = [Buffer.allocUnsafeSlow(BUFFER_BYTES), Buffer.allocUnsafeSlow(BUFFER_BYTES)] as const
  /** Pieces of each buffer that are not released. */
  readonly #taken: [number, number] = [0, 0]
  #at: 0 | 1 = 0

  /** The buffer that the next read fills. */
  get current(): Buffer {
    return this.#buffers[this.#at]
  }

  /** Nobody holds a piece of the current buffer. */
  get free(): boolean {
    return this.#taken[this.#at] === 0
  }

  /** The other buffer's turn. */
  turn(): void {
    this.#at = this.#at === 0 ? 1 : 0
  }

  /**
   * Gives a piece of the current buffer away.
   *
   * @returns What releases it; calling it again changes nothing.
   */
  take(onReleased: () => void): () => void {
    const at = this.#at
    let taken = true
    this.#taken[at]++
    return () => {
      if (!taken) return
      taken = false
      this.#taken[at]--
      onReleased()
    }
  }
}
