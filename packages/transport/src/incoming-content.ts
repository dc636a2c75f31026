/** Content of a request that follows its head, handed to the handler chunk by chunk with back-pressure. */
import { UnavailableError } from '@tributary/protocol'

/**
 * Takes one chunk. A chunk is the taker's for good. A promise holds the sender back until it settles; its
 * rejection ends the reading (the rest is dropped).
 */
export type ChunkTaker = (chunk: Buffer) => void | Promise<void>

/** What the connection gives and takes while content flows. */
export interface ContentControl {
  pause(): void
  resume(): void
}

export class IncomingContent {
  /** Bytes that the frame's length announced. */
  readonly lengthBytes: number
  readonly #control: ContentControl
  #remainingBytes: number
  #taker: ChunkTaker | undefined
  #early: Buffer[] = []
  #failure: Error | undefined
  #held = 0
  #settle: { resolve: () => void; reject: (error: unknown) => void } | undefined
  #dropping = false

  constructor(lengthBytes: number, control: ContentControl) {
    this.lengthBytes = lengthBytes
    this.#remainingBytes = lengthBytes
    this.#control = control
  }

  /** Bytes not yet received. */
  get remainingBytes(): number {
    return this.#remainingBytes
  }

  /**
   * Reads all of it. Call once.
   *
   * @throws {UnavailableError} CONNECTION_LOST: the sender went away, or fell silent.
   */
  read(taker: ChunkTaker): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#taker = taker
      this.#settle = { resolve, reject }
      const early = this.#early
      this.#early = []
      for (const chunk of early) this.#give(chunk)
      if (early.length > 0 && this.#held === 0) this.#control.resume()
      this.#finishIfDone()
    })
  }

  /** All of it at once where it is here already, in the usual case of a small one; else undefined. */
  takeIfComplete(): Buffer | undefined {
    if (this.#remainingBytes > 0 || this.#taker) return undefined
    const [only] = this.#early
    const whole = this.#early.length === 1 ? only! : Buffer.concat(this.#early)
    this.#early = []
    return whole
  }

  /** For the connection: takes what of `chunk` is content, and says how many bytes that was. */
  push(chunk: Buffer): number {
    const bytes = Math.min(chunk.byteLength, this.#remainingBytes)
    this.#remainingBytes -= bytes
    if (this.#dropping || bytes === 0) return bytes
    const content = bytes === chunk.byteLength ? chunk : chunk.subarray(0, bytes)
    if (this.#taker) {
      this.#give(content)
      this.#finishIfDone()
    } else {
      this.#early.push(content)
      this.#control.pause()
    }
    return bytes
  }

  /** For the connection: the sender is gone. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#early = []
    this.#finishIfDone()
  }

  /** For the connection: nobody wants the rest. */
  drop(): void {
    this.#dropping = true
    this.#early = []
    if (this.#held === 0) this.#control.resume()
  }

  #give(chunk: Buffer): void {
    let held: void | Promise<void>
    try {
      held = this.#taker!(chunk)
    } catch (error) {
      this.#end(error)
      return
    }
    if (held === undefined) return
    this.#held++
    this.#control.pause()
    held.then(
      () => {
        this.#held--
        if (this.#held === 0 && this.#early.length === 0) this.#control.resume()
        this.#finishIfDone()
      },
      error => {
        this.#held--
        this.#end(error)
      }
    )
  }

  #finishIfDone(): void {
    if (!this.#settle) return
    if (this.#failure) this.#end(this.#failure)
    else if (this.#remainingBytes === 0 && this.#held === 0) {
      const { resolve } = this.#settle
      this.#settle = undefined
      resolve()
    }
  }

  #end(error: unknown): void {
    this.#dropping = true
    const settle = this.#settle
    this.#settle = undefined
    this.#control.resume()
    settle?.reject(error)
  }
}

export function senderGone(): UnavailableError {
  return new UnavailableError('CONNECTION_LOST', 'the sender went away in mid-body')
}
