/** Content of a request that follows its head, handed to the handler chunk by chunk with back-pressure. */
import { UnavailableError } from '@tributary/protocol'

/**
 * Takes one chunk. A chunk is the taker's for good. A promise holds the sender back until it settles; its
 * rejection ends the reading (the rest is dropped).
 */
export type ChunkTaker = (chunk: Buffer) => void | Promise<void>

export class IncomingContent {
  /** Bytes that the frame's length announced. */
  readonly lengthBytes: number
  readonly #onChange: () => void
  #remainingBytes: number
  #taker: ChunkTaker | undefined
  /** Came before somebody asked for it. */
  #early: Buffer[] = []
  /** Chunks whose taker has not settled. */
  #heldChunks = 0
  #failed = false
  #failure: unknown
  #dropping = false
  #settle: { resolve: () => void; reject: (error: unknown) => void } | undefined

  /** @param onChange Called when `holds` may have changed, except from within `push`. */
  constructor(lengthBytes: number, onChange: () => void = () => {}) {
    this.lengthBytes = lengthBytes
    this.#remainingBytes = lengthBytes
    this.#onChange = onChange
  }

  /** Bytes not yet received. */
  get remainingBytes(): number {
    return this.#remainingBytes
  }

  /** The sender is to be held back: what came is not taken yet. */
  get holds(): boolean {
    return this.#remainingBytes > 0 && !this.#dropping && (this.#early.length > 0 || this.#heldChunks > 0)
  }

  /**
   * Reads all of it. Call once. Settles only after every promise of the taker has settled, so that what the taker
   * writes to may be closed then.
   *
   * @throws {UnavailableError} CONNECTION_LOST: the sender went away, or fell silent. Or what the taker threw.
   */
  read(taker: ChunkTaker): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#taker = taker
      this.#settle = { resolve, reject }
      const early = this.#early
      this.#early = []
      for (const chunk of early) if (!this.#dropping) this.#give(chunk)
      this.#settleIfDone()
      if (early.length > 0) this.#onChange()
    })
  }

  /** All of it at once where it is here already, in the usual case of a small one; else undefined. */
  takeIfComplete(): Buffer | undefined {
    if (this.#remainingBytes > 0 || this.#taker) return undefined
    const early = this.#early
    this.#early = []
    return early.length === 1 ? early[0]! : Buffer.concat(early)
  }

  /** For the connection: takes what of `chunk` is content, and says how many bytes that was. */
  push(chunk: Buffer): number {
    const bytes = Math.min(chunk.byteLength, this.#remainingBytes)
    this.#remainingBytes -= bytes
    if (this.#dropping || bytes === 0) return bytes
    const content = bytes === chunk.byteLength ? chunk : chunk.subarray(0, bytes)
    if (this.#taker) {
      this.#give(content)
      this.#settleIfDone()
    } else this.#early.push(content)
    return bytes
  }

  /** For the connection: the sender is gone. What came whole stays good. */
  fail(error: Error): void {
    if (this.#remainingBytes > 0) this.#end(error)
  }

  /** For the connection: nobody wants the rest. */
  drop(): void {
    this.#dropping = true
    this.#early = []
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
    this.#heldChunks++
    held.then(
      () => {
        this.#heldChunks--
        this.#settleIfDone()
        this.#onChange()
      },
      error => {
        this.#heldChunks--
        this.#end(error)
        this.#onChange()
      }
    )
  }

  #end(error: unknown): void {
    if (!this.#failed) this.#failure = error
    this.#failed = true
    this.drop()
    this.#settleIfDone()
  }

  #settleIfDone(): void {
    const settle = this.#settle
    if (!settle || this.#heldChunks > 0 || (this.#remainingBytes > 0 && !this.#failed)) return
    this.#settle = undefined
    if (this.#failed) settle.reject(this.#failure)
    else settle.resolve()
  }
}

export function senderGone(): UnavailableError {
  return new UnavailableError('CONNECTION_LOST', 'the sender went away in mid-body')
}
