/** Bytes of a file as a reply: read and sent piece by piece, one piece in memory per transfer. */
import { read as readCallback, readSync } from 'node:fs'
import { promisify } from 'node:util'
import { UnavailableError } from '@tributary/protocol'
import type { Outlet, StreamedReply } from '@tributary/transport'
import type { OpenFile, OpenFiles } from './open-files.ts'
import { storeError } from './volume.ts'

const readAsync = promisify(readCallback)

export const PIECE_BYTES = 256 * 1024
/** Piece buffers kept for the next transfers. */
const SPARE_BUFFERS_MAX = 32
/** A synchronous read that took longer came from the disk: the next reads of the transfer leave the event loop alone. */
const SLOW_READ_MS = 4
/**
 * How many, doubled each time the next synchronous read is slow again: on a busy machine a read from memory may take as
 * long because the process had to wait for its turn.
 */
const ASYNC_READS_MIN = 4
const ASYNC_READS_MAX = 64

/** Piece buffers that are used again: new pages cost more than rewritten ones. */
export class PieceBuffers {
  readonly #spare: Buffer[] = []

  take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES)
  }

  give(buffer: Buffer): void {
    if (this.#spare.length < SPARE_BUFFERS_MAX) this.#spare.push(buffer)
  }
}

export class FileReply implements StreamedReply {
  readonly head: Buffer
  readonly contentBytes: number
  readonly #files: OpenFiles
  readonly #entry: OpenFile
  readonly #buffers: PieceBuffers
  readonly #release: () => void
  #offset: number
  #asyncReads = 0
  #asyncReadsNext = ASYNC_READS_MIN

  /** @param head Frame header and what precedes the content; the header counts `contentBytes` in. */
  constructor(
    files: OpenFiles,
    buffers: PieceBuffers,
    entry: OpenFile,
    head: Buffer,
    offset: number,
    contentBytes: number
  ) {
    this.head = head
    this.contentBytes = contentBytes
    this.#files = files
    this.#entry = entry
    this.#buffers = buffers
    this.#offset = offset
    this.#release = files.use(entry)
  }

  abandon(): void {
    this.#release()
  }

  async pump(out: Outlet): Promise<void> {
    const buffer = this.#buffers.take()
    let reading = false
    try {
      await new Promise<void>((resolve, reject) => {
        let leftBytes = this.contentBytes
        const step = (error?: Error | null): void => {
          if (error)
            return reject(new UnavailableError('CONNECTION_LOST', 'the receiver is gone', { cause: error }))
          if (leftBytes === 0) return resolve()
          const bytes = Math.min(leftBytes, PIECE_BYTES)
          const send = (): void => {
            leftBytes -= bytes
            this.#offset += bytes
            out.write(bytes === PIECE_BYTES ? buffer : buffer.subarray(0, bytes), step)
          }
          try {
            const read = this.#read(buffer, bytes)
            if (!read) return send()
            reading = true
            read.then(
              () => {
                reading = false
                send()
              },
              (cause: unknown) => reject(storeError(cause, 'the read'))
            )
          } catch (cause) {
            reject(storeError(cause, 'the read'))
          }
        }
        step()
      })
    } finally {
      // A read that was given up may still write into the buffer, when the volume answers again.
      if (!reading) this.#buffers.give(buffer)
      this.#release()
    }
  }

  #read(buffer: Buffer, bytes: number): Promise<void> | undefined {
    const { store, fd } = this.#entry
    if (!store.volume.local) {
      return store.volume
        .run('read', () => readAsync(fd, buffer, 0, bytes, this.#offset))
        .then(
          ({ bytesRead }) => this.#checkWhole(bytesRead, bytes),
          (error: unknown) => {
            this.#files.forget(this.#entry.row) // its descriptor may be what is wrong
            throw error
          }
        )
    }
    if (this.#asyncReads > 0) {
      this.#asyncReads--
      return readAsync(fd, buffer, 0, bytes, this.#offset).then(({ bytesRead }) =>
        this.#checkWhole(bytesRead, bytes)
      )
    }
    const startMs = performance.now()
    this.#checkWhole(readSync(fd, buffer, 0, bytes, this.#offset), bytes)
    if (performance.now() - startMs <= SLOW_READ_MS) this.#asyncReadsNext = ASYNC_READS_MIN
    else {
      this.#asyncReads = this.#asyncReadsNext
      this.#asyncReadsNext = Math.min(ASYNC_READS_MAX, 2 * this.#asyncReadsNext)
    }
    return undefined
  }

  #checkWhole(got: number, expected: number): void {
    if (got !== expected) {
      throw new UnavailableError(
        'CHECKSUM_MISMATCH',
        `${this.#entry.row.path} is shorter than the index says`
      )
    }
  }
}
