/** Content on its way to a file: gathered to pieces, which are written one behind the other while its sender goes on. */
import { writev as writevCallback } from 'node:fs'
import { promisify } from 'node:util'
import { UnavailableError } from '@tributary/protocol'
import type { Volume } from './volume.ts'

const writev = promisify(writevCallback)

export class FileWrites {
  readonly #volume: Volume
  readonly #fd: number
  /** Where the next piece goes. */
  #at: number
  #gathered: Buffer[] = []
  #writing: Promise<void> = Promise.resolve()
  /** The calls themselves: on a volume that hangs they may outlast what waits for them. */
  #underway: Promise<unknown> = Promise.resolve()
  gatheredBytes = 0
  /** Flushed, and not written yet. */
  behindBytes = 0
  /** The first thing that went wrong; from then on nothing more is written. */
  failure: unknown

  constructor(volume: Volume, fd: number, at: number) {
    this.#volume = volume
    this.#fd = fd
    this.#at = at
  }

  /** @param chunk Its own from now on: its memory is given back as soon as it is written. */
  gather(chunk: Buffer): void {
    this.#gathered.push(chunk)
    this.gatheredBytes += chunk.byteLength
  }

  /** Lets what was gathered be written. */
  flush(): void {
    const pieces = this.#gathered
    const bytes = this.gatheredBytes
    if (bytes === 0) return
    this.#gathered = []
    this.gatheredBytes = 0
    this.behindBytes += bytes
    this.#writing = this.#writing.then(async () => {
      try {
        if (this.failure !== undefined) return
        await this.#volume.run('write', () => this.note(this.#writeAll(pieces, bytes)))
      } catch (error) {
        this.fail(error)
      } finally {
        this.behindBytes -= bytes
      }
    })
  }

  /** Ends it, unless something did before; what was gathered is forgotten. */
  drop(reason: unknown): void {
    this.#gathered = []
    this.gatheredBytes = 0
    this.fail(reason)
  }

  fail(reason: unknown): void {
    this.failure ??= reason
  }

  /** Never rejects: everything that was flushed is written, or `failure` says why not. */
  get written(): Promise<void> {
    return this.#writing
  }

  /** Another call on the file, which `ended` waits for. */
  note<T>(call: Promise<T>): Promise<T> {
    // Of what they resolve with nothing is kept: there may be very many.
    this.#underway = Promise.allSettled([this.#underway, call]).then(() => {})
    return call
  }

  /** Nothing is on its way to the file any more, however long the volume hangs. */
  async ended(): Promise<void> {
    await this.#writing
    await this.#underway
  }

  /** writev may write less than it was given, on a disk that is nearly full. */
  async #writeAll(pieces: Buffer[], bytes: number): Promise<void> {
    let { bytesWritten } = await writev(this.#fd, pieces, this.#at)
    if (bytesWritten < bytes) {
      const whole = Buffer.concat(pieces, bytes)
      while (bytesWritten < bytes) {
        const rest = await writev(this.#fd, [whole.subarray(bytesWritten)], this.#at + bytesWritten)
        if (rest.bytesWritten === 0) throw new UnavailableError('NO_SPACE', 'no space left for the upload')
        bytesWritten += rest.bytesWritten
      }
    }
    this.#at += bytes
    for (const piece of pieces) giveBack(piece)
  }
}

/**
 * Frees a chunk's memory now, where nothing else lies in it, instead of at the next garbage collection: chunks are
 * large and have few objects around them, so that it was their memory which set off collections of the whole heap, 22
 * in a gigabyte and a quarter of its CPU time.
 */
function giveBack({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && byteLength === buffer.byteLength) buffer.transfer(0)
}
