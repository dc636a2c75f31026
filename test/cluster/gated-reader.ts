/** A reader that takes no more than it is let, so that a test has all the time it needs in mid-transfer. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { EventEmitter } from 'node:events'

export class GatedReader {
  readonly #gate = new EventEmitter()
  #limitBytes: number
  #bytes = 0
  readonly #progress = new EventEmitter()
  /** What came, when it has ended. */
  readonly ended: Promise<{ sha256: string; bytes: number }>

  constructor(content: AsyncIterable<Uint8Array>, limitBytes: number) {
    this.#limitBytes = limitBytes
    this.ended = this.#read(content)
    this.ended.catch(() => {}) // the test awaits it later
  }

  get bytes(): number {
    return this.#bytes
  }

  allow(limitBytes: number): void {
    this.#limitBytes = limitBytes
    this.#gate.emit('open')
  }

  /** Resolves when so many bytes have come; rejects where they never will. */
  async reached(bytes: number): Promise<void> {
    while (this.#bytes < bytes) {
      await Promise.race([
        once(this.#progress, 'piece'),
        this.ended.then(end => assertReached(end.bytes, bytes))
      ])
    }
  }

  async #read(content: AsyncIterable<Uint8Array>): Promise<{ sha256: string; bytes: number }> {
    const hash = createHash('sha256')
    for await (const piece of content) {
      hash.update(piece)
      this.#bytes += piece.byteLength
      this.#progress.emit('piece')
      while (this.#bytes >= this.#limitBytes) await once(this.#gate, 'open')
    }
    return { sha256: hash.digest('hex'), bytes: this.#bytes }
  }
}

function assertReached(endBytes: number, bytes: number): void {
  if (endBytes < bytes) throw new Error(`it ended after ${endBytes} bytes`)
}
