/**
 * Content of small files that are read again and again, so that a storage server is only asked whether it is still the
 * one. Nothing is answered from here alone: what a server has deleted or replaced is never given.
 */
import type { FileFacts } from '@tributary/protocol'

/** Content of one generation, never changed: a request that is under way may still refer to it. */
export interface KeptContent {
  readonly generation: string
  readonly content: Buffer
  /** The question whether it is still the one, made once. */
  askFrame: Buffer | undefined
  /** The answer that it is: its facts, and their bytes, to be compared before they are decoded again. */
  unchanged: { readonly bytes: Buffer; readonly facts: FileFacts } | undefined
}

/** What is known of a file, and may have its content. */
export interface KnownFile {
  kept: KeptContent | undefined
}

export class KeptContents {
  readonly #bytesMax: number
  /** In the order in which they came; the first goes first. */
  readonly #bytesOf = new Map<KnownFile, number>()
  #bytes = 0

  /** @param bytesMax 0: nothing is kept. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Keeps a copy: what came lies in a larger buffer of the connection. */
  keep(file: KnownFile, generation: string, content: Buffer): void {
    this.drop(file)
    // A legacy server tells no generation, and so cannot be asked about one.
    if (content.byteLength > this.#bytesMax || content.byteLength === 0 || generation === '') return
    this.#bytes += content.byteLength
    this.#bytesOf.set(file, content.byteLength)
    file.kept = {
      generation,
      content: Buffer.from(content),
      askFrame: undefined,
      unchanged: undefined
    }
    for (const oldest of this.#bytesOf.keys()) {
      if (this.#bytes <= this.#bytesMax) break
      this.drop(oldest)
    }
  }

  drop(file: KnownFile): void {
    const bytes = this.#bytesOf.get(file)
    if (bytes === undefined) return
    this.#bytes -= bytes
    this.#bytesOf.delete(file)
    file.kept = undefined
  }
}
