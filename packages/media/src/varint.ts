/** Whole numbers below 2^53 in as few bytes as they need: seven bits each, the lowest first. */
import { damaged } from './errors.ts'

export class VarintWriter {
  #bytes = Buffer.alloc(4096)
  #at = 0

  unsigned(value: number): void {
    if (this.#at + 8 > this.#bytes.byteLength) {
      const room = Buffer.alloc(this.#bytes.byteLength * 2)
      this.#bytes.copy(room)
      this.#bytes = room
    }
    let left = value
    while (left >= 128) {
      this.#bytes[this.#at++] = (left % 128) | 128
      left = Math.floor(left / 128)
    }
    this.#bytes[this.#at++] = left
  }

  signed(value: number): void {
    this.unsigned(value < 0 ? -value * 2 - 1 : value * 2)
  }

  /** A copy of all that was written. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#at))
    this.#at = 0
    return taken
  }
}

export class VarintReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get left(): number {
    return this.#bytes.byteLength - this.#at
  }

  unsigned(): number {
    let value = 0
    let scale = 1
    for (let length = 0; length < 8; length++) {
      const byte = this.#bytes[this.#at++]
      if (byte === undefined) break
      value += (byte & 127) * scale
      if (byte < 128) return value
      scale *= 128
    }
    throw damaged('a number of the index is cut off')
  }

  signed(): number {
    const value = this.unsigned()
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2
  }

  /** A count of things that take at least a byte each. */
  count(): number {
    const count = this.unsigned()
    if (count > this.left) throw damaged('a count of the index is too high')
    return count
  }
}
