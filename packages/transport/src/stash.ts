/** The front of a frame that arrives in more than one chunk, gathered until it is whole. */

/** First allocation; it doubles as bytes really come, so that a claimed length reserves nothing. */
const STASH_BYTES_MIN = 512

export class Stash {
  #buffer = Buffer.alloc(0)
  #bytes = 0

  /** Bytes gathered so far. */
  get bytes(): number {
    return this.#bytes
  }

  /** What was gathered; a view that the next `fill` may outgrow. */
  get gathered(): Buffer {
    return this.#buffer.subarray(0, this.#bytes)
  }

  /** Forgets all but the first `bytes`. */
  rewind(bytes: number): void {
    this.#bytes = bytes
  }

  /**
   * Takes bytes of `source` from `offset` on until `wantedBytes` are here.
   *
   * @returns The offset of the first byte not taken.
   */
  fill(source: Buffer, offset: number, wantedBytes: number): number {
    const takenBytes = Math.min(wantedBytes - this.#bytes, source.byteLength - offset)
    if (takenBytes <= 0) return offset
    const bytes = this.#bytes + takenBytes
    if (bytes > this.#buffer.byteLength) {
      const grown = Buffer.allocUnsafeSlow(Math.min(wantedBytes, Math.max(2 * bytes, STASH_BYTES_MIN)))
      this.#buffer.copy(grown, 0, 0, this.#bytes)
      this.#buffer = grown
    }
    source.copy(this.#buffer, this.#bytes, offset, offset + takenBytes)
    this.#bytes = bytes
    return offset + takenBytes
  }
}
