/** A film as a job reads it: ranges of one generation, never of another one that took its place. */
import type { Readable } from 'node:stream'
import type { Client } from '@tributary/client'
import type { FileKey } from '@tributary/protocol'

/** What a worker needs of a cluster; the client library has it. */
export type Cluster = Pick<Client, 'fetch' | 'download' | 'upload' | 'deleteGeneration' | 'index' | 'close'>

export interface FilmOfJob {
  key: FileKey
  generation: string
  sizeBytes: number
}

export class FilmAccess {
  readonly film: FilmOfJob
  readonly #cluster: Pick<Cluster, 'fetch' | 'download'>
  readonly #signal: AbortSignal
  #failure: Error | undefined

  constructor(film: FilmOfJob, cluster: Pick<Cluster, 'fetch' | 'download'>, signal: AbortSignal) {
    this.film = film
    this.#cluster = cluster
    this.#signal = signal
  }

  get sizeBytes(): number {
    return this.film.sizeBytes
  }

  /** Why the film could not be read: whoever read it through somebody else is told of it here. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** Bytes from `start` up to `end`, which is not among them. */
  async read(start: number, end: number): Promise<Uint8Array> {
    if (end <= start) return new Uint8Array(0)
    const { stream } = await this.open(start, end)
    const pieces: Uint8Array[] = []
    for await (const piece of stream) pieces.push(piece as Uint8Array)
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
  }

  /** The same as a stream, which reads no further than its reader does. */
  async open(start: number, end: number): Promise<{ stream: Readable }> {
    const { key, generation } = this.film
    const range = { start, end: end - 1, generation, signal: this.#signal }
    try {
      const { stream } = await this.#cluster.download(key, range)
      stream.on('error', error => this.#note(error))
      return { stream }
    } catch (error) {
      this.#note(error as Error)
      throw error
    }
  }

  #note(error: Error): void {
    // A reader that has enough destroys the stream: that is no failure of the film.
    const { code } = error as { code?: string }
    if (code !== 'ABORT_ERR' && code !== 'ERR_STREAM_PREMATURE_CLOSE' && code !== 'CANCELLED')
      this.#failure ??= error
  }
}
